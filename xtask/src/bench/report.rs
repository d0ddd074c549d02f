//! `docs/benchmarks.md`, from the tables that were measured.

use crate::paths;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// Where the tables are kept.
pub(super) fn dir() -> PathBuf {
    paths::target().join("bench")
}

/// Parts of the document: file, heading, what the table says.
const PARTS: [(&str, &str, &str); 9] = [
    (
        "pipeline",
        "The pure pipeline",
        "Records as the kernel writes them, through decoding, reassembly, protocol, provider and \
         spans, on one core. A plain call is a request of 2 KiB and an answer of 1 KiB; a chunk is \
         one event of a streamed answer, and the time of its row that of a stream of 104. Without \
         more it is HTTP/1 and an event stream, with the rules of redaction that are the default; \
         `distinct` events differ in more than their text, so that each is parsed whole; `lines` are \
         Ollama's lines of JSON, `amazon` Bedrock's frames, `websocket` responses of the \
         Realtime API. Rows of `redaction` are the rules alone on a text of 64 KiB, which holds \
         nothing (`prose`) or something every few lines (`mixed`), and on a model's name (`short`). Wanted of HTTP/1: 20,000 calls and \
         500,000 chunks per second, and memory that does not grow; compressed WebSocket messages are each \
         inflated anew and parsed whole. Again: `cargo xtask bench pipeline`.",
    ),
    (
        "probes",
        "One TLS read or write",
        "CPU time of the traced thread, per call, in a program that does nothing else than requests \
         and answers of one size: bare; with a pair of empty probes at the places that genspan uses \
         (instructions that the kernel emulates); with a pair that copies the bytes and does nothing else, not even tell anybody, \
         below which nothing can be that takes them along; with genspan's. Interleaved in one run, \
         medians of what was added in a round. The last columns are multiples of the empty pair. \
         Wanted: at most x1.5. What a call of 16 KiB takes by itself differs from round to round by as \
         much as is measured here: in two runs of one day the copying pair was x1.4 and x2.1, genspan's \
         x1.1 and x2.3. Again: `cargo xtask bench probes`.",
    ),
    (
        "overhead",
        "Added cost to the traced program",
        "A FastAPI application with the openai package, against a provider stand-in that answers at \
         once; bare, traced by genspan, and with the in-process instrumentations, interleaved. \
         `plain` is one JSON answer, `stream` 40 events. Added CPU is the median over rounds of the \
         difference to the bare program of the same round. Wanted: at most a tenth (plain) and a \
         quarter (stream) of the cheapest peer's, and 97% of the bare throughput with eight clients. \
         Again: `cargo xtask bench overhead` (needs the lab beside the repository).",
    ),
    (
        "frameworks",
        "Added cost to a program with LangChain, and with FastAPI",
        "A chain of four runs (the sequence, a prompt, `FakeListLLM`, a parser), one after the other \
         in one thread, by `invoke` (`sync`) and `ainvoke` (`async`), with no callback handler of its own; \
         and requests, one after the other, to a FastAPI application that calls a model for each with the \
         openai package (`fastapi`): traced by genspan, and with the in-process instrumentations of LangChain, \
         or of FastAPI and openai, which export in batches over HTTP. Each process is measured \
         bare first; what is added is the median over rounds of the difference within one process. \
         `own process` is what genspan itself spends, on another processor. Again: `cargo xtask bench frameworks`.",
    ),
    (
        "sockets",
        "Plain sockets of a server that makes no calls",
        "The smallest application there is (an ASGI function with a fixed answer of 16 bytes or 8 KiB), \
         so the worst case; `wrk` with one thread and eight connections that are kept. The server has \
         one processor, genspan and `wrk` the other. CPU time of the server per request; what is added \
         is the median over rounds of the ratio to the bare server of the same round. `no contexts` is \
         `--no-python`: Python's contexts, which event loops copy many times for a request, are not \
         followed. Without `HTTP spans` it is `--http-spans off`, where of a connection without calls \
         only the heads of requests are copied; with them each request is told. Requests per second are \
         of a processor that genspan shares with `wrk`. Sampled is the server alone, in a run of its \
         own, and each sample counted by its call chain: the `kernel` serves what the program asks for, \
         `waking the client` is a part of that which grows when `wrk`, given less to do, sleeps more; \
         `traps` and `eBPF programs` are what is genspan's. Again: `cargo xtask bench sockets --profile`.",
    ),
    (
        "soak",
        "A collector that fails half of the time",
        "Four programs call a provider on loopback over TLS at a steady rate, every fourth call streamed, under \
         two agents at the same time: what waits for the collector is in the memory of the one and on the disk \
         of the other (`--spool`). Each has a collector of its own, which takes all, then refuses connections, \
         answers 503, does not answer, closes in the middle of a request, or is slow, for 3 to 90 seconds each, \
         and half of the time one of these. Memory and descriptors are medians over a third of the time. \
         Lost unexplained is the number of calls less those that the collector acknowledged, each once, and those \
         that the agent's counters say it dropped. Wanted: none, and nothing that grows. Again: `cargo xtask \
         bench soak 30 200`.",
    ),
    (
        "hour",
        "An hour without the collector, by the clock",
        "The same programs and agents, and a collector that is away once (connections are refused): a minute with \
         it, an hour without, a minute with it again. Again: `cargo xtask bench soak --outage 60 100`.",
    ),
    (
        "outage",
        "An hour's spans without the collector",
        "The spans of 200 calls a second for an hour, with the content that recordings of real traffic have, \
         through the exporter as it is when nothing is set (OTLP over HTTP, uncompressed), faster than they come \
         in an hour, from a process that does nothing else. The collector refuses connections, or answers 503, \
         until all were handed over; then it takes all. Memory is that of one process after the other, with the \
         recordings that spans are made of; where none is told it lived too shortly. Wanted: each span arrives \
         once or is counted as dropped, none of what fits is dropped, and memory that does not grow. Of one that \
         is killed while it delivers, the batch of the last request (at most 512 spans) may come again. A \
         collector that comes back is noticed after the pause between two attempts, at most ten seconds. Again: \
         `cargo xtask bench outage`.",
    ),
    (
        "swarm",
        "Programs that come and go",
        "Small Pythons are started at a steady rate; each lives for some seconds, makes one call over a plain \
         socket, and ends. Wanted: the call of each is told, whole, and nothing of them stays. Again: `cargo xtask \
         bench swarm --rate 50 --seconds 600 --life 10`.",
    ),
];

/// Writes the document. What was not measured here stays as it stands there.
pub(super) fn write() -> Result<()> {
    let path = paths::root().join("docs/benchmarks.md");
    let before = fs::read_to_string(&path).unwrap_or_default();
    let mut text = String::from(
        "# Benchmarks\n\nMade by `cargo xtask bench`, on a virtual machine with two cores. Absolute \
         figures are that machine's; the ratios were measured side by side in one run.\n",
    );
    for (file, heading, about) in PARTS {
        let table = fs::read_to_string(dir().join(format!("{file}.md")));
        let body = match (table, section(&before, heading)) {
            (Ok(table), _) => format!("{about}\n\n{}", table.trim_end()),
            (Err(_), Some(standing)) => standing.to_owned(),
            (Err(_), None) => format!("{about}\n\n(not measured yet)"),
        };
        let _ = write!(text, "\n## {heading}\n\n{body}\n");
    }
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", paths::shown(&path));
    Ok(())
}

/// What stands below a heading.
fn section<'a>(document: &'a str, heading: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("\n## {heading}\n"))?;
    let body = rest.split_once("\n## ").map_or(rest, |(body, _)| body);
    Some(body.trim())
}

/// The table of what criterion printed.
pub(super) fn pipeline_table(log: &str) -> String {
    let mut table = String::from("| | median time | per second |\n| --- | ---: | ---: |\n");
    let middle = |line: &str| {
        let inside = line.split_once('[').and_then(|(_, r)| r.split_once(']'));
        let words: Vec<&str> = inside
            .map(|(i, _)| i.split_whitespace().collect())
            .unwrap_or_default();
        words.get(2..4).map(|w| w.join(" "))
    };
    let mut time = None;
    let mut name = String::new();
    // What changed since the last run has lines of the same names.
    let mut change = false;
    for line in log.lines() {
        // A long name stands on a line of its own.
        let head = line.split_once("time:").map_or(line, |(head, _)| head);
        let named = ["pipeline/", "redaction/"]
            .iter()
            .any(|group| head.starts_with(group));
        if named {
            change = false;
            let head = head.trim();
            name = match head.strip_prefix("redaction/") {
                Some(rules) => format!("redaction: {rules}"),
                None => head.trim_start_matches("pipeline/").to_owned(),
            }
            .replace('_', " ");
        }
        change |= line.trim() == "change:";
        if change {
            continue;
        }
        if line.contains("time:") {
            time = middle(line);
        } else if line.trim_start().starts_with("thrpt:") {
            let rate = middle(line)
                .unwrap_or_default()
                .replace("Kelem/s", "thousand")
                .replace("Melem/s", "million");
            let _ = writeln!(
                table,
                "| {name} | {} | {rate} |",
                time.take().unwrap_or_default()
            );
        }
    }
    if let Some(memory) = log.lines().find(|l| l.starts_with("memory over")) {
        let _ = writeln!(table, "\n{memory}");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{pipeline_table, section};

    #[test]
    fn sections_end_where_the_next_one_begins() {
        let document = "# Benchmarks\n\n## One\n\nfirst\n\n| a |\n\n## One and two\n\nlast\n";
        assert_eq!(section(document, "One"), Some("first\n\n| a |"));
        assert_eq!(section(document, "One and two"), Some("last"));
        assert_eq!(section(document, "Two"), None);
    }

    #[test]
    fn criterion_is_read() {
        let log = "pipeline/plain_call     time:   [17.5 µs 17.7 µs 17.8 µs]\n\
                   \x20                       thrpt:  [55.9 Kelem/s 56.4 Kelem/s 56.8 Kelem/s]\n\
                   \x20                change:\n\
                   \x20                       time:   [-1.0% -2.0% -3.0%] (p = 0.00 < 0.05)\n\
                   \x20                       thrpt:  [+1.0% +2.0% +3.0%]\n\
                   redaction/keys_prose\n\
                   \x20                       time:   [60.0 µs 61.0 µs 62.0 µs]\n\
                   \x20                       thrpt:  [0.9 GiB/s 1.0 GiB/s 1.1 GiB/s]\n\
                   memory over a million calls: 1 KiB before, 1 KiB after\n";
        let table = pipeline_table(log);
        assert!(
            table.contains("| plain call | 17.7 µs | 56.4 thousand |"),
            "{table}"
        );
        assert!(
            table.contains("| redaction: keys prose | 61.0 µs | 1.0 GiB/s |"),
            "{table}"
        );
        assert!(
            table.contains("memory over a million calls: 1 KiB"),
            "{table}"
        );
    }
}
