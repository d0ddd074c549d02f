//! The demo: a stand-in for a provider, an OpenAI program, and genspan watching it.

use crate::progress::heading;
use crate::provider::Provider;
use crate::{build, certs, host, paths, setup};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Seconds after which something must have gone wrong; a run takes about six.
const LONGEST: u64 = 90;

/// The subcommand.
pub(crate) fn run() -> Result<()> {
    let python = setup::for_demo()?;
    let binary = build::run()?;
    let certs = certs::ensure()?;
    let dir = paths::target().join("demo");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let files = Files {
        report: dir.join("calls.json"),
        recording: dir.join("demo.rec"),
    };
    files.clear();

    let provider = Provider::start(&python.path, &certs)?;
    let program = paths::python_programs().join(if python.has_openai {
        "demo_app.py"
    } else {
        "demo_app_stdlib.py"
    });
    introduce(&program, python.has_openai);
    let base = format!("https://localhost:{}/v1", provider.port);
    let authority = certs.authority();
    host::privileged(
        &binary,
        &[
            ("OPENAI_BASE_URL", base.as_ref()),
            ("OPENAI_API_KEY", "sk-test-demo".as_ref()),
            ("SSL_CERT_FILE", authority.as_os_str()),
            ("DEMO_REPORT", files.report.as_os_str()),
        ],
    )?
    .args(["trace", "--format", "pretty", "--record"])
    .arg(&files.recording)
    .arg("--")
    .arg(&python.path)
    .arg(&program)
    .timeout(LONGEST)
    .run()
    .context("the traced run failed (`genspan doctor` tells what this machine lacks)")?;
    drop(provider);

    let (made, seen) = (files.calls_made()?, files.spans_recorded(&binary)?);
    if seen != made {
        bail!(
            "the program made {made} calls and genspan told {seen} spans: \
             `{} doctor` tells what this machine lacks; the recording is {}",
            paths::shown(&binary),
            paths::shown(&files.recording)
        );
    }
    conclude(made, &binary, &files.recording);
    Ok(())
}

fn introduce(program: &Path, has_openai: bool) {
    let what = if has_openai {
        "a program that uses the openai package"
    } else {
        "a program that uses Python's own HTTP client, since the openai package could not be had,"
    };
    heading(&format!(
        "\ngenspan traces {what} and has not changed a line of it: {}",
        paths::shown(program)
    ));
    if !host::is_root() {
        heading("Tracing needs root: sudo may ask for your password.");
    }
    println!();
}

fn conclude(calls: usize, binary: &Path, recording: &Path) {
    let binary = paths::shown(binary);
    println!("\n{calls} calls made, {calls} spans told.");
    println!(
        "\nSee what was said:  {binary} replay {} -v",
        paths::shown(recording)
    );
    println!("Trace your own:     sudo {binary} trace --pid PID");
    println!("              or:   sudo {binary} trace -- python app.py");
}

/// What a run leaves, below `target/demo`.
struct Files {
    /// The calls that the program says it made.
    report: PathBuf,
    /// What genspan saw.
    recording: PathBuf,
}

impl Files {
    fn clear(&self) {
        for file in [&self.report, &self.recording] {
            fs::remove_file(file).ok();
        }
    }

    fn calls_made(&self) -> Result<usize> {
        let text = fs::read_to_string(&self.report)
            .context("the demo's program did not get to its end")?;
        count_calls(&text).context("the demo's program wrote a report that cannot be read")
    }

    /// The spans that the recording gives: the same that the run gave.
    fn spans_recorded(&self, binary: &Path) -> Result<usize> {
        let lines = host::privileged(binary, &[])?
            .args(["replay", "--format", "json"])
            .arg(&self.recording)
            .read()
            .context("the recording of the demo cannot be replayed")?;
        Ok(count_spans(&lines))
    }
}

fn count_calls(report: &str) -> Option<usize> {
    let report: serde_json::Value = serde_json::from_str(report).ok()?;
    Some(report["calls"].as_array()?.len())
}

fn count_spans(lines: &str) -> usize {
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|span| span["span_id"].is_string())
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_spans_are_counted() {
        assert_eq!(count_calls(r#"{"calls":["chat","embeddings"]}"#), Some(2));
        assert_eq!(count_calls("{}"), None);
        let lines = "{\"span_id\":\"a\"}\nnot json\n{\"other\":1}\n{\"span_id\":\"b\"}\n";
        assert_eq!(count_spans(lines), 2);
    }
}
