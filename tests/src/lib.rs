//! Helpers of the integration tests: programs that are traced, the provider that they speak to,
//! the agent that traces them, and what came out.
//!
//! Everything started here ends with the value that stands for it, and nothing else is touched.

pub mod agent;
pub mod call;
pub mod cgroup;
pub mod client;
pub mod interrupt;
pub mod kernel;
pub mod memory;
pub mod namespaces;
pub mod need;
pub mod otlp;
pub mod outage;
pub mod privileges;
pub mod process;
pub mod provider;
pub mod recordings;
pub mod scene;
pub mod soak;
pub mod span;
pub mod swarm;
pub mod temp;
pub mod tree;

pub use agent::{Agent, Finished};
pub use call::Call;
pub use cgroup::Cgroup;
pub use client::Client;
pub use process::Process;
pub use provider::Provider;
pub use scene::Scene;
pub use span::Span;
pub use temp::Temp;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails: generous, since machines are busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The Python programs of the tests.
#[must_use]
pub fn programs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// Asks again and again until there is an answer.
///
/// # Errors
///
/// When there is none after [`PATIENCE`], or this is to end ([`interrupt`]); `what` says what was waited for.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        interrupt::check()?;
        anyhow::ensure!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
