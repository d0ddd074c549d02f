//! How it stands with the processes of a host: what those who ask for the state are told.

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use super::Live;
use crate::driver::scout::Sighting;
use crate::export::Loss;
use crate::model::process::AppType;
use crate::probe::attach::Traced;
use crate::state::handle::State;
use crate::state::mechanisms::Way;
use crate::state::status::{
    Attached, ByCode, Count, Counts, Limits, Mechanism, Phase, ProcessStatus, Status,
};
use crate::target::process;

/// Most processes of which it is remembered that they could not be traced.
const MAX_FAILED: usize = 4096;

/// What is remembered for that alone.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Processes that could not be traced, with their start, and why.
    failed: HashMap<u32, (u64, String)>,
}

impl Standing {
    /// A process could not be traced.
    pub(super) fn failed(&mut self, pid: u32, why: String) {
        if self.failed.len() < MAX_FAILED
            && let Some(stat) = crate::target::discover::stat(pid)
        {
            self.failed.insert(pid, (stat.start_ticks, why));
        }
    }

    /// A process is traced, or over.
    pub(super) fn forget(&mut self, pid: u32) {
        self.failed.remove(&pid);
    }

    /// Forgets those that are gone.
    pub(super) fn prune(&mut self) {
        self.failed
            .retain(|pid, (start, _)| process::is_same(*pid, *start));
    }
}

impl Live {
    /// Comes round: lets those who look know that we do, and tells those who wait.
    pub(super) fn tell_state(&mut self) {
        let Some(state) = self.state() else {
            return;
        };
        if state.phase() != Phase::Ready {
            let host = self.host.as_ref();
            state.enter(if host.is_none_or(|host| host.scout.has_looked()) {
                Phase::Ready
            } else {
                Phase::Looking
            });
        }
        if state.beat() {
            state.publish(self.status());
        }
    }

    /// What those who ask are told.
    pub(super) fn state(&self) -> Option<&State> {
        let host = self.host.as_ref().map(|host| &host.state);
        host.or(self.state.as_ref())
    }

    fn status(&self) -> Status {
        let sums = self.core.output.sums();
        let (wiring, ..) = self.core.pipeline.counters();
        let redacted = self.core.pipeline.redacted().into_iter();
        let count = |loss: Loss| Count {
            what: loss.name,
            count: loss.count,
        };
        Status {
            counts: Counts {
                records: wiring.records,
                bytes: wiring.bytes,
                connections: wiring.connections,
                spans: sums.spans,
                calls: sums.calls,
                calls_incomplete: sums.incomplete,
                spans_unsampled: sums.unsampled,
            },
            losses: self.losses().into_iter().map(count).collect(),
            redacted: redacted
                .map(|r| Count {
                    what: r.rule,
                    count: r.count,
                })
                .collect(),
            limits: self.limits(),
            processes: self.processes(),
            ..Status::default()
        }
    }

    fn limits(&self) -> Limits {
        let Some(host) = &self.host else {
            return Limits::default();
        };
        let governor = &host.governor;
        Limits {
            cpu_cores: governor.budget().cores,
            memory_bytes: governor.budget().memory,
            used_cpu_cores: governor.cores(),
            left_out: governor.shed(),
            calls_without_content: self.core.pipeline.counters().2.calls_shed,
        }
    }

    fn processes(&self) -> Vec<ProcessStatus> {
        let mut sightings = self
            .host
            .as_ref()
            .map(|host| host.scout.sightings())
            .unwrap_or_default();
        let mut all: Vec<ProcessStatus> = self
            .attachments
            .iter()
            .map(|traced| {
                let sighting = sightings.remove(&traced.target.pid);
                self.traced_status(traced, sighting.as_ref())
            })
            .collect();
        let rest = sightings.iter();
        all.extend(rest.map(|(pid, sighting)| self.other_status(*pid, sighting)));
        all.sort_unstable_by_key(|process| process.pid);
        all
    }

    fn traced_status(&self, traced: &Traced, sighting: Option<&Sighting>) -> ProcessStatus {
        let facts = &traced.target.facts;
        let told = self.core.output.of(facts.pid);
        let read = traced.libraries.iter().filter(|l| l.is_read());
        let problems = traced.libraries.iter().filter_map(|l| l.failed.clone());
        let unread = sighting.and_then(|s| s.unread.clone());
        let since = traced.since.duration_since(UNIX_EPOCH).ok();
        let reads = traced.reachable() || traced.sockets.are_read();
        ProcessStatus {
            pid: facts.pid,
            start_ticks: facts.start_ticks,
            state: if reads {
                Attached::Attached
            } else {
                Attached::Waiting
            },
            why_not: problems.chain(unread).collect(),
            service: facts.service_name.clone(),
            // To the last digit, once its memory was read.
            python: sighting
                .and_then(|s| s.python.clone())
                .or_else(|| facts.runtime_version.clone()),
            parent: traced.parent,
            since_unix_seconds: since.map(|since| since.as_secs()),
            tls: read
                .map(|l| l.path.to_string_lossy().into_owned())
                .collect(),
            tls_by_code: by_code(traced),
            sockets: traced.sockets.are_read(),
            spans: told.spans,
            calls: told.calls,
            calls_incomplete: told.incomplete,
            mechanisms: self.mechanisms(traced),
            ..seen(sighting)
        }
    }

    fn mechanisms(&self, traced: &Traced) -> Vec<Mechanism> {
        let mut all = self.functions.mechanisms(traced.target.pid);
        if traced.interpreter.is_followed() {
            all.push(Way::Contexts.used_by(Vec::new(), 0));
        }
        if traced.interpreter.tells_pools() {
            all.push(Way::Pools.used_by(Vec::new(), 0));
        }
        all
    }

    fn other_status(&self, pid: u32, sighting: &Sighting) -> ProcessStatus {
        let failed = self.standing.failed.get(&pid);
        let failed = failed.filter(|(start, _)| *start == sighting.start_ticks);
        let (state, why_not) = match (failed, &sighting.verdict) {
            (Some((_, why)), _) => (Attached::Failed, vec![why.clone()]),
            (None, Err(why)) => (Attached::NotTraced, vec![why.to_string()]),
            // On its way to us, or over.
            (None, Ok(())) => (Attached::Waiting, Vec::new()),
        };
        ProcessStatus {
            pid,
            start_ticks: sighting.start_ticks,
            state,
            why_not,
            service: sighting.service.clone(),
            python: sighting.python.clone(),
            ..seen(Some(sighting))
        }
    }
}

/// The libraries of a process whose functions were found by their code.
fn by_code(traced: &Traced) -> Vec<ByCode> {
    let all = traced.libraries.iter().filter_map(|library| {
        Some(ByCode {
            library: library.path.to_string_lossy().into_owned(),
            verified: library.verified_by_calls()?,
        })
    });
    all.collect()
}

/// What the scout knows better than the probes.
fn seen(sighting: Option<&Sighting>) -> ProcessStatus {
    ProcessStatus {
        kind: sighting.and_then(|s| Some(AppType::name(s.kind?).to_owned())),
        evidence: sighting.and_then(|s| s.evidence.clone()),
        ..ProcessStatus::default()
    }
}
