//! The provider stand-in of `tests/python/provider.py`.

use crate::certs::Certs;
use crate::cmd::Cmd;
use crate::paths;
use anyhow::{Result, bail};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

/// The stand-in; it ends with this value.
pub(crate) struct Provider {
    child: Child,
    /// Where it listens, on loopback.
    pub(crate) port: u16,
}

impl Provider {
    /// Starts it and waits until it listens.
    pub(crate) fn start(python: &Path, certs: &Certs) -> Result<Self> {
        let mut child = Cmd::new(python)
            .arg(paths::python_programs().join("provider.py"))
            .arg("--certs")
            .arg(&certs.dir)
            // Its standard input is held open by us: if we die, it ends.
            .arg("--stop-with-stdin")
            .spawn(|c| {
                c.stdin(Stdio::piped()).stdout(Stdio::piped());
            })?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).ok();
        }
        let Ok(port) = line.trim().parse() else {
            child.kill().ok();
            child.wait().ok();
            bail!("the provider stand-in did not start; its complaint is above");
        };
        Ok(Self { child, port })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
