//! `python/live/client.py`: a program that makes the calls that a test tells it to make.

use crate::{Call, Process};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A running client program.
#[derive(Debug)]
pub struct Client(pub Process);

impl Client {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not get so far.
    pub fn start(command: &mut Command, stderr: &Path) -> Result<Self> {
        let mut process = Process::start(command, stderr)?;
        let line = process.line()?;
        anyhow::ensure!(
            line == "ready",
            "the client said {line:?}: {}",
            process.complaints()
        );
        Ok(Self(process))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Tells it what to do, without waiting for it.
    ///
    /// # Errors
    ///
    /// When it ended.
    pub fn tell(&mut self, step: &Value) -> Result<()> {
        self.0.tell(&step.to_string())
    }

    /// What it saw of the oldest step not answered yet.
    ///
    /// # Errors
    ///
    /// When it ended.
    pub fn answer(&mut self) -> Result<Value> {
        let line = self.0.line()?;
        serde_json::from_str(&line).with_context(|| format!("the client printed {line:?}"))
    }

    /// Has it do something and tells what it saw.
    ///
    /// # Errors
    ///
    /// When it ended.
    pub fn ask(&mut self, step: &Value) -> Result<Value> {
        self.tell(step)?;
        self.answer()
    }

    /// Has it make a call that must succeed.
    ///
    /// # Errors
    ///
    /// When the call failed.
    pub fn call(&mut self, step: &Value) -> Result<Call> {
        let answer = self.ask(step)?;
        anyhow::ensure!(
            answer.get("error").is_none(),
            "{step} failed: {answer}; {}",
            self.0.complaints()
        );
        Call::of_answer(&answer)
    }
}
