//! The page that says what was compared and what came of it.

use super::allowed::ALLOWED;
use super::compare::Tally;
use super::packages::{Group, Http};
use super::replayed::Replayed;
use super::server::Encoding;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

const INTRODUCTION: &str = "\
# Correctness

How spans of recorded traffic compare with what was recorded, and with those of an in-process
instrumentation. This page is made by

```sh
cargo xtask correctness
```

which fails when there is a difference that is not in the table below. It needs the recordings
(`shared/lab`, beside the repository) and their environment (`setup.sh replay`); the environments of
the packages it makes itself.

## What is compared

Recorded exchanges of many providers: chats, responses, completions, embeddings, reranking, images;
sync and async; streamed and not; tool calls, errors, reasoning. A server on loopback plays them back
over TLS, the provider's real package (its newest version and an old one) sends the recorded requests
to it, and `genspan trace` watches the package's process: real probes, real TLS, nothing fed by hand.
What a package cannot express its HTTP client sends as it was recorded (column *raw*).

Of what OpenAI's package sends there are the spans that OpenTelemetry's
`opentelemetry-instrumentation-genai-openai` reported inside the process for the same requests. Each of
ours is put beside it and compared attribute by attribute, name and status included; messages and
tools are compared as JSON, wherein a null is the same as nothing. All other spans are compared with
what the recording itself says, read by code that has nothing in common with the agent's: model,
settings, ids, token counts, finish reasons, errors, texts, reasoning and calls of tools. Exchanges of
no model (vector databases, assistants, tasks that are asked after, other services) must give no span.

All recordings are sent once for each of these encodings, over HTTP/1.1 and, where the package can,
over HTTP/2. An encoding that a package never accepts is not sent to it (–).

| Encoding | Answers are |
| --- | --- |
| `none` | as they were recorded, one chunk for each event |
| `gzip`, `br`, `zstd` | compressed, flushed after each event |
| `bytes` | as they were recorded, each byte of a stream in a chunk and a TLS record of its own |

";

const TABLE: &str = "\
## Result

A cell has the spans that were compared and, after the slash, their attributes.

| Recordings of | Package | HTTP | Recordings | Exchanges | Raw | Silent | \
`none` | `gzip` | `br` | `zstd` | `bytes` | Differences that are right | **Bugs** |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
";

/// The page.
///
/// # Errors
///
/// None: a string takes everything.
pub fn page(runs: &[Replayed], unsent: &[String]) -> Result<String, fmt::Error> {
    let mut out = INTRODUCTION.to_owned();
    out.push_str(TABLE);
    for run in runs {
        row(&mut out, run)?;
    }
    let all = |of: fn(&Tally) -> usize| -> usize {
        let reports = runs.iter().flat_map(|r| &r.passes).map(|p| &p.report);
        reports.map(|r| of(&r.peer) + of(&r.own)).sum()
    };
    let (spans, attributes) = (all(|t| t.spans), all(|t| t.attributes));
    writeln!(
        out,
        "\nIn all: {spans} spans, {attributes} attributes, {} of them equal.",
        all(|t| t.equal)
    )?;
    if !unsent.is_empty() {
        writeln!(out, "\nNot to be had here: {}.", unsent.join(", "))?;
    }
    out.push_str("\n## Differences that are right\n\n");
    out.push_str("Of the newest package of each provider, HTTP/1.1, encoding `none`.\n\n");
    out.push_str("| Why | How often | Of all runs |\n| --- | ---: | ---: |\n");
    let (newest, every) = (reasons(newest(runs)), reasons(every(runs)));
    for why in ALLOWED.iter().map(|a| a.why) {
        if let Some(n) = every.get(why) {
            let first = newest.get(why).copied().unwrap_or(0);
            writeln!(out, "| {why} | {first} | {n} |")?;
        }
    }
    out.push_str("\n## Bugs\n\n");
    let mut bugs = 0;
    for run in runs {
        for pass in &run.passes {
            for bug in &pass.report.bugs {
                bugs += 1;
                let (http, encoding) = (run.http.name(), pass.encoding.name());
                writeln!(out, "{}, HTTP/{http}, `{encoding}`: {bug}\n", run.sdk)?;
            }
        }
    }
    if bugs == 0 {
        out.push_str("None.\n");
    }
    Ok(out)
}

fn row(out: &mut String, run: &Replayed) -> fmt::Result {
    let Some(first) = run.passes.first().map(|p| &p.report) else {
        return Ok(());
    };
    let cell = |encoding: Encoding| {
        let pass = run.passes.iter().find(|p| p.encoding == encoding);
        pass.map_or("–".to_owned(), |pass| {
            let (peer, own) = (pass.report.peer, pass.report.own);
            format!(
                "{} / {}",
                peer.spans + own.spans,
                peer.attributes + own.attributes
            )
        })
    };
    let reports = || run.passes.iter().map(|p| &p.report);
    let allowed: usize = reports().flat_map(|r| r.allowed.values()).sum();
    let bugs: usize = reports().map(|r| r.bugs.len()).sum();
    write!(
        out,
        "| {} | {} | {} | {} | {} | {} | {} |",
        run.package.group.name(),
        run.sdk,
        run.http.name(),
        first.recordings,
        first.exchanges,
        run.raw,
        first.silent
    )?;
    for encoding in Encoding::ALL {
        write!(out, " {} |", cell(encoding))?;
    }
    writeln!(out, " {allowed} | **{bugs}** |")
}

type Reasons = BTreeMap<&'static str, usize>;

fn reasons<'a>(reports: impl Iterator<Item = &'a super::Report>) -> Reasons {
    let mut all = Reasons::new();
    for (why, n) in reports.flat_map(|r| &r.allowed) {
        *all.entry(*why).or_default() += n;
    }
    all
}

fn every(runs: &[Replayed]) -> impl Iterator<Item = &super::Report> {
    runs.iter().flat_map(|r| &r.passes).map(|p| &p.report)
}

/// The first package of each group, in its plainest pass.
fn newest(runs: &[Replayed]) -> impl Iterator<Item = &super::Report> {
    let mut seen: BTreeSet<Group> = BTreeSet::new();
    let first = move |r: &&Replayed| r.http == Http::One && seen.insert(r.package.group);
    let plain = runs.iter().filter(first);
    plain.filter_map(|r| Some(&r.passes.first()?.report))
}
