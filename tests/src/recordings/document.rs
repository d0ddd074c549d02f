//! The page that says what was compared and what came of it.

use super::allowed::ALLOWED;
use super::compare::Tally;
use super::replayed::{Encoding, Replayed};
use super::{Lab, Report};
use anyhow::{Context as _, Result};
use std::fmt::Write as _;

const INTRODUCTION: &str = "\
# Correctness

How spans of recorded traffic compare with those of an in-process instrumentation. This page is made
by

```sh
cargo xtask correctness
```

which fails when there is a difference that is not in the table below. It needs the recordings
(`shared/lab`, beside the repository) and their environment (`setup.sh replay`), and port 443 on
loopback.

## What is compared

";

/// The instrumentation that is the reference.
const PEER: &str = "opentelemetry-instrumentation-genai-openai";

const METHOD: &str = "\
The recordings are of OpenAI, Azure and providers that speak OpenAI's protocol: chat completions,
responses, completions, embeddings; sync and async; streamed and not; tool calls, errors, reasoning.
A server on loopback plays them back over TLS, the real SDK sends the recorded requests to it, and
`genspan trace` watches the SDK's process: real probes, real TLS, nothing fed by hand. Each span is
put beside the one that the instrumentation inside the process reported for the same request, and
compared attribute by attribute, name and status included; messages and tools are compared as JSON,
wherein a null is the same as nothing.

Of legacy completions, and of what is sent without the SDK's methods, that instrumentation makes no
spans. There each attribute is compared with what the recording itself says. Exchanges of no model
(assistants, threads, other services) must give no span.

Answers are sent once for each of these encodings:

| Encoding | Answers are |
| --- | --- |
| `none` | as they were recorded, one chunk for each event |
| `gzip`, `br`, `zstd` | compressed, flushed after each event |
| `bytes` | as they were recorded, each byte of a stream in a chunk and a TLS record of its own |

";

/// The page.
///
/// # Errors
///
/// When the peer's report cannot be read.
pub fn page(lab: &Lab, files: &[String], runs: &[(Encoding, Replayed)]) -> Result<String> {
    let peer = lab.peer(files.first().context("no recordings")?)?;
    let sdk = runs.first().map_or("", |(_, r)| r.sdk.as_str());
    let mut out = INTRODUCTION.to_owned();
    writeln!(out, "| | |\n| --- | --- |")?;
    writeln!(out, "| recordings | {} |", files.len())?;
    writeln!(out, "| SDK | {sdk} |")?;
    writeln!(
        out,
        "| peer | OpenTelemetry's `{PEER}`, with {} |\n",
        peer.sdk
    )?;
    out.push_str(METHOD);
    out.push_str("## Result\n\n");
    row(&mut out, "", runs, |e, _| format!("`{}`", e.name()))?;
    row(&mut out, "---", runs, |_, _| "---:".to_owned())?;
    row(&mut out, "recordings", runs, |_, r| {
        r.report.recordings.to_string()
    })?;
    row(&mut out, "exchanges", runs, |_, r| {
        r.report.exchanges.to_string()
    })?;
    row(&mut out, "answers sent in this encoding", runs, |_, r| {
        r.coded.to_string()
    })?;
    for (what, of) in [
        ("the peer", peers as fn(&Report) -> Tally),
        ("the recording", own),
    ] {
        let name = |part: &str| format!("{part} compared with {what}");
        row(&mut out, &name("spans"), runs, |_, r| {
            of(&r.report).spans.to_string()
        })?;
        row(&mut out, &name("attributes"), runs, |_, r| {
            of(&r.report).attributes.to_string()
        })?;
        row(&mut out, "of them equal", runs, |_, r| {
            of(&r.report).equal.to_string()
        })?;
    }
    row(
        &mut out,
        "exchanges of no model, without a span",
        runs,
        |_, r| r.report.silent.to_string(),
    )?;
    row(&mut out, "differences that are right", runs, |_, r| {
        r.report.allowed.values().sum::<usize>().to_string()
    })?;
    row(&mut out, "**bugs**", runs, |_, r| {
        format!("**{}**", r.report.bugs.len())
    })?;

    out.push_str("\n## Differences that are right\n\n");
    row(&mut out, "Why", runs, |e, _| format!("`{}`", e.name()))?;
    row(&mut out, "---", runs, |_, _| "---:".to_owned())?;
    let count = |r: &Replayed, why: &str| r.report.allowed.get(why).copied().unwrap_or(0);
    for why in ALLOWED.iter().map(|a| a.why) {
        if runs.iter().any(|(_, r)| count(r, why) > 0) {
            row(&mut out, why, runs, |_, r| count(r, why).to_string())?;
        }
    }

    out.push_str("\n## Bugs\n\n");
    if runs.iter().all(|(_, r)| r.report.bugs.is_empty()) {
        out.push_str("None.\n");
    }
    for (encoding, run) in runs {
        for bug in &run.report.bugs {
            writeln!(out, "`{}`: {bug}\n", encoding.name())?;
        }
    }
    Ok(out)
}

fn peers(report: &Report) -> Tally {
    report.peer
}

fn own(report: &Report) -> Tally {
    report.own
}

fn row(
    out: &mut String,
    what: &str,
    runs: &[(Encoding, Replayed)],
    cell: impl Fn(Encoding, &Replayed) -> String,
) -> Result<()> {
    let cells: Vec<String> = runs.iter().map(|(e, r)| cell(*e, r)).collect();
    Ok(writeln!(out, "| {what} | {} |", cells.join(" | "))?)
}
