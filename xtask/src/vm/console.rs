//! What a machine tells on its console, between what its kernel says.

use serde::{Deserialize, Serialize};

/// What its lines begin with; `tests/python/vm/guest.py` writes them.
const MARK: &str = "@genspan-vm ";

/// The check that comes last.
pub(super) const END: &str = "end";

/// How a check came out.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should.
    Ok,
    /// This kernel does without it, and genspan with this kernel.
    Poor,
    /// Not.
    Failed,
}

/// A check of the machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at.
    pub(super) check: String,
    /// How it came out.
    pub(super) verdict: Verdict,
    /// What was found.
    #[serde(default)]
    pub(super) found: String,
    /// What genspan warned of.
    #[serde(default)]
    pub(super) said: Vec<String>,
    /// Seconds since the machine's start.
    #[serde(default)]
    pub(super) seconds: u64,
}

/// The checks that a console has. Lines of others, and lines that another cut in two, are passed over:
/// what they told of is missing then.
pub(super) fn checks(console: &str) -> Vec<Check> {
    let told = |line: &str| {
        let (_, document) = line.split_once(MARK)?;
        serde_json::from_str(document.trim_end()).ok()
    };
    console.lines().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_found_among_other_lines() {
        let console = "[    0.1] Linux\r\n\
            @genspan-vm {\"check\": \"tls\", \"verdict\": \"ok\", \"found\": \"\", \"said\": [\"a\"]}\r\n\
            [    2.1] oops @genspan-vm {\"check\": \"stacks\", \"verdict\": \"failed\"}\r\n\
            @genspan-vm {\"check\": \"cu[    3.0] x\r\n\
            @genspan-vm {\"check\": \"x\", \"verdict\": \"strange\"}\n";
        let all = checks(console);
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].check.as_str(), all[0].verdict),
            ("tls", Verdict::Ok)
        );
        assert_eq!(all[0].said, ["a"]);
        assert_eq!(
            (all[1].check.as_str(), all[1].verdict),
            ("stacks", Verdict::Failed)
        );
    }

    #[test]
    fn any_bytes_are_no_panic() {
        let line = "@genspan-vm {\"check\": \"tls\", \"verdict\": \"ok\"}";
        for end in 0..line.len() {
            assert!(checks(&line[..end]).is_empty());
        }
        assert_eq!(checks(line).len(), 1);
    }
}
