//! What nearly every test begins with: a directory and a provider.

use crate::temp::Temp;
use crate::{Agent, Client, Provider, need, programs};
use anyhow::Result;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The key that clients send; it must be in nothing that the agent writes.
pub const KEY: &str = "sk-test-0123456789abcdef";

/// The cookie that clients send; likewise.
pub const COOKIE: &str = "cookie-secret-0123456789";

/// A provider, and a place for files.
#[derive(Debug)]
pub struct Scene {
    /// The provider.
    pub provider: Provider,
    /// The directory.
    pub temp: Temp,
    programs: AtomicU32,
}

impl Scene {
    /// A new one; none when something is missing.
    ///
    /// # Errors
    ///
    /// When something is missing under `CI=true`, or does not start.
    pub fn new() -> Result<Option<Self>> {
        Self::with(Provider::start)
    }

    /// The same with a provider that speaks HTTP/2.
    ///
    /// # Errors
    ///
    /// As [`Scene::new`].
    pub fn http2() -> Result<Option<Self>> {
        Self::with(Provider::start_http2)
    }

    /// A new one whose provider is a real server with the stand-in's answers.
    ///
    /// # Errors
    ///
    /// As [`Scene::new`].
    pub fn served(server: &str, plain: bool) -> Result<Option<Self>> {
        Self::with(|temp| Provider::start_served(temp, server, plain))
    }

    /// The same with a provider that speaks WebSocket, with or without TLS.
    ///
    /// # Errors
    ///
    /// As [`Scene::new`].
    pub fn websocket(plain: bool) -> Result<Option<Self>> {
        Self::with(|temp| Provider::start_websocket(temp, plain))
    }

    fn with(start: impl FnOnce(&Temp) -> Result<Option<Provider>>) -> Result<Option<Self>> {
        if need::root()?.is_none() {
            return Ok(None);
        }
        let temp = Temp::new()?;
        let provider = start(&temp)?;
        Ok(provider.map(|provider| Self {
            provider,
            temp,
            programs: AtomicU32::new(0),
        }))
    }

    /// A new one whose provider speaks without TLS; none when something is missing.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn plain() -> Result<Option<Self>> {
        if need::root()?.is_none() {
            return Ok(None);
        }
        let temp = Temp::new()?;
        let provider = Provider::start_plain(&temp)?;
        Ok(provider.map(|provider| Self {
            provider,
            temp,
            programs: AtomicU32::new(0),
        }))
    }

    /// A command with the environment that clients of the provider have.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_for(program, &self.provider)
    }

    /// The same for another provider.
    pub fn command_for(&self, program: impl AsRef<OsStr>, provider: &Provider) -> Command {
        let mut command = Command::new(program);
        command
            .env("OPENAI_BASE_URL", provider.url())
            .env("OPENAI_API_KEY", KEY)
            .env("SSL_CERT_FILE", provider.authority())
            .env("REQUESTS_CA_BUNDLE", provider.authority())
            .env("NO_PROXY", "localhost,127.0.0.1")
            .env("no_proxy", "localhost,127.0.0.1")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The command of a program in `python/live`.
    #[must_use]
    pub fn live(&self, python: &Path, program: &str) -> Command {
        let mut command = self.command(python);
        command.arg(programs().join("live").join(program));
        command
    }

    /// A file for what the next program complains of.
    pub fn next_log(&self) -> std::path::PathBuf {
        let number = self.programs.fetch_add(1, Ordering::Relaxed);
        self.temp.file(&format!("program-{number}.err"))
    }

    /// A client program that is ready.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn client(&self, python: &Path, arguments: &[&str]) -> Result<Client> {
        let mut command = self.live(python, "client.py");
        Client::start(command.args(arguments), &self.next_log())
    }

    /// The agent, attached to a client.
    ///
    /// # Errors
    ///
    /// When it does not attach.
    pub fn attach(&self, client: &Client) -> Result<Agent> {
        Agent::attach(&self.temp, &[client.pid()], &[])
    }
}
