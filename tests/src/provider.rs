//! The provider stand-in of `python/provider.py`, and other servers of the tests.

use crate::{Process, need, programs, temp::Temp};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server on loopback that prints its port.
#[derive(Debug)]
pub struct Provider {
    process: Process,
    /// Where it listens.
    pub port: u16,
    certs: PathBuf,
    plain: bool,
}

impl Provider {
    /// The stand-in for OpenAI.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(temp: &Temp) -> Result<Option<Self>> {
        let Some(python) = need::any_python()? else {
            return Ok(None);
        };
        let program = programs().join("provider.py");
        Self::start_program(temp, &python, &program, "provider").map(Some)
    }

    /// The same over HTTP/2, where the client wants that.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_http2(temp: &Temp) -> Result<Option<Self>> {
        let Some(python) = need::environment("http2")? else {
            return Ok(None);
        };
        let program = programs().join("provider.py");
        Self::start_with(temp, &python, &program, "provider", &["--http2"]).map(Some)
    }

    /// The same without TLS.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_plain(temp: &Temp) -> Result<Option<Self>> {
        let Some(python) = need::any_python()? else {
            return Ok(None);
        };
        let program = programs().join("provider.py");
        let provider = Self::start_with(temp, &python, &program, "plain-provider", &["--plain"])?;
        Ok(Some(Self {
            plain: true,
            ..provider
        }))
    }

    /// A server of our own; `name` tells its log apart.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_program(temp: &Temp, python: &Path, program: &Path, name: &str) -> Result<Self> {
        Self::start_with(temp, python, program, name, &[])
    }

    /// The stand-in's answers behind a real server (`python/live/served.py`).
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_served(temp: &Temp, server: &str, plain: bool) -> Result<Option<Self>> {
        let Some(python) = need::environment("servers")? else {
            return Ok(None);
        };
        let program = programs().join("live/served.py");
        let mut options = vec!["--server", server];
        if plain {
            options.push("--plain");
        }
        let provider = Self::start_with(temp, &python, &program, server, &options)?;
        Ok(Some(Self { plain, ..provider }))
    }

    /// A gateway to another provider (`python/live/gateway.py`).
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_gateway(
        temp: &Temp,
        server: &str,
        plain: bool,
        upstream: &Self,
        passes: bool,
    ) -> Result<Option<Self>> {
        let Some(python) = need::environment("servers")? else {
            return Ok(None);
        };
        let program = programs().join("live/gateway.py");
        let mut options = vec!["--server", server];
        if plain {
            options.push("--plain");
        }
        let mut command = Command::new(python);
        command
            .env("OPENAI_BASE_URL", upstream.url())
            .env("SSL_CERT_FILE", upstream.authority());
        if passes {
            command.env("GATEWAY_PASSES", "1");
        }
        let name = format!("gateway-{server}");
        let mut gateway = Self::run(temp, command, &program, &name, &options)?;
        gateway.plain = plain;
        Ok(Some(gateway))
    }

    fn start_with(
        temp: &Temp,
        python: &Path,
        program: &Path,
        name: &str,
        options: &[&str],
    ) -> Result<Self> {
        Self::run(temp, Command::new(python), program, name, options)
    }

    fn run(
        temp: &Temp,
        mut command: Command,
        program: &Path,
        name: &str,
        options: &[&str],
    ) -> Result<Self> {
        let certs = match std::env::var_os("GENSPAN_CERTS") {
            Some(dir) => PathBuf::from(dir),
            // The stand-in makes them when they are not there.
            None => temp.file("certs"),
        };
        command
            .arg(program)
            .arg("--certs")
            .arg(&certs)
            .arg("--stop-with-stdin")
            .args(options);
        let mut process = Process::start(&mut command, &temp.file(&format!("{name}.err")))?;
        let line = process.line()?;
        let port = line
            .trim()
            .parse()
            .with_context(|| format!("{name} printed {line:?}"))?;
        Ok(Self {
            process,
            port,
            certs,
            plain: false,
        })
    }

    /// What clients are to trust.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.certs.join("ca.pem")
    }

    /// The base URL of its API.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        format!("{scheme}://localhost:{}/v1", self.port)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}
