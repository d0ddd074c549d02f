//! A live run that traces what it finds: takes up and lets go of processes as the scout tells.

use std::collections::HashSet;

use crate::driver::budget::{Budget, Governor};
use crate::driver::live::Engines;
use crate::driver::scout::{Report, Scout};
use crate::export::status::Exports;
use crate::export::{FanOut, Sent};
use crate::state::handle::State;
use crate::target::rules::{NotTraced, Rules};

/// What can be set anew while it runs.
pub struct Reloaded {
    /// Which processes are traced.
    pub rules: Rules,
    /// What may be used.
    pub budget: Budget,
    /// Where what is told goes from here on, where that is another place.
    pub exports: Option<NewExports>,
}

/// Exporters that take the place of others.
pub struct NewExports {
    /// They.
    pub sent: Vec<Sent>,
    /// How they get on.
    pub told: Exports,
}

/// Reads it again: none where there is nothing to read, or what is wrong with it.
pub type Reload = Box<dyn FnMut() -> Result<Option<Reloaded>, String>>;

/// Where processes come from when nobody names them.
pub struct Host {
    /// Finds them.
    pub scout: Scout,
    /// What SIGHUP asks for; without it SIGHUP ends the run, as a terminal's end does.
    pub reload: Option<Reload>,
    /// What those who ask are told.
    pub state: State,
    /// Keeps to the limits.
    pub governor: Governor,
    /// Asks model servers for what they say of themselves, where that is wanted.
    pub engines: Option<Engines>,
}

/// Which of them are left alone, even as children of what is traced.
#[derive(Debug, Default)]
pub(super) struct Left(HashSet<u32>);

impl Left {
    /// Takes note of a report.
    pub(super) fn note(&mut self, report: &Report) {
        match report {
            Report::Placed { .. } => {}
            Report::Trace { pid, .. } | Report::Gone(pid) => {
                self.0.remove(pid);
            }
            Report::Leave { pid, why } => {
                if is_final(why) {
                    self.0.insert(*pid);
                } else {
                    self.0.remove(pid);
                }
            }
        }
    }

    /// It was traced by choice, and is not any more.
    pub(super) fn add(&mut self, pid: u32) {
        self.0.insert(pid);
    }

    /// It runs another program now.
    pub(super) fn forget(&mut self, pid: u32) {
        self.0.remove(&pid);
    }

    /// Whether it is to be left alone.
    pub(super) fn has(&self, pid: u32) -> bool {
        self.0.contains(&pid)
    }
}

/// Whether a process is not traced although its parent is. A child that does nothing of interest
/// itself is a part of what its parent does; the inside of a model server is not, and an operator's
/// rule is one.
fn is_final(why: &NotTraced) -> bool {
    matches!(
        why,
        NotTraced::Excluded(_)
            | NotTraced::NotIncluded
            | NotTraced::InnerPart(_)
            | NotTraced::PodUnknown(_)
    )
}

impl Host {
    /// Reads the configuration again, as SIGHUP asks for. False where it asks for nothing of the kind.
    pub(super) fn reload(&mut self, exporters: &mut FanOut) -> bool {
        let Some(reload) = &mut self.reload else {
            return false;
        };
        match reload() {
            Ok(Some(Reloaded {
                rules,
                budget,
                exports,
            })) => {
                let others = match rules.include_other.len() {
                    0 => String::new(),
                    n => format!(", {n} include_other"),
                };
                tracing::info!(
                    "the configuration was read again: {} include, {} exclude{others}",
                    rules.include.len(),
                    rules.exclude.len()
                );
                self.scout.set_rules(rules);
                self.governor.set(budget);
                if let Some(new) = exports {
                    let replaced = self.state.exports().replace(&new.told);
                    exporters.replace_sent(new.sent, || replaced.ended());
                }
            }
            Ok(None) => tracing::info!("SIGHUP: there is no configuration to read again"),
            Err(error) => tracing::error!("the configuration stays as it was: {error}"),
        }
        true
    }
}
