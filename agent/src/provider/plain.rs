//! Requests that are no model calls: what their heads say, for plain HTTP spans.

use super::hosts;
use crate::model::defect::Defects;
use crate::model::exchange::{RequestHead, Role};
use crate::model::process::{AppType, ProcessFacts};
use crate::model::request::{Begun, HttpRequest};
use crate::model::time::BootTime;
use std::collections::HashMap;

/// Request headers that are read here, in lower case.
pub(super) const REQUEST_HEADERS: [&str; 1] = ["user-agent"];

/// Of which processes requests that are no model calls are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpSpans {
    /// Of all but model servers ([`AppType::Model`]).
    #[default]
    Auto,
    /// Of all.
    On,
    /// Of none.
    Off,
}

/// Which processes' requests are told.
#[derive(Debug, Default)]
pub(super) struct Told {
    setting: HttpSpans,
    /// None are told, whatever is set.
    shed: bool,
    processes: HashMap<u32, bool>,
}

/// Processes that are remembered; of others nothing is told unless all are.
const MAX_PROCESSES: usize = 16_384;

impl Told {
    pub(super) fn new(setting: HttpSpans) -> Self {
        Self {
            setting,
            shed: false,
            processes: HashMap::new(),
        }
    }

    /// Tells none from here on, or as it is set.
    pub(super) const fn shed(&mut self, shed: bool) {
        self.shed = shed;
    }

    /// What is known of a process from here on.
    pub(super) fn process(&mut self, facts: &ProcessFacts) {
        if self.processes.len() < MAX_PROCESSES || self.processes.contains_key(&facts.pid) {
            let serves_models = match facts.app_type {
                Some(app) => app == AppType::Model,
                None => facts.model_server.is_some(),
            };
            self.processes.insert(facts.pid, !serves_models);
        }
    }

    pub(super) fn process_exit(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }

    /// Whether requests of a process are told.
    pub(super) fn of(&self, pid: u32) -> bool {
        match self.setting {
            _ if self.shed => false,
            HttpSpans::On => true,
            HttpSpans::Off => false,
            HttpSpans::Auto => self.processes.get(&pid).copied().unwrap_or(false),
        }
    }
}

/// A request under way, as far as it matters when it is no model call.
#[derive(Debug)]
pub(super) struct Plain {
    method: String,
    path: String,
    query: String,
    host: Option<(String, u16)>,
    user_agent: Option<String>,
}

impl Plain {
    pub(super) fn new(begun: &Begun, head: &RequestHead) -> Self {
        let host = head.host.as_deref().filter(|h| !h.is_empty());
        let port = hosts::default_port(begun.connection);
        let agent = head.headers.get("user-agent");
        Self {
            method: head.method.clone(),
            path: head.path.clone(),
            query: head.query.clone(),
            host: host.map(|h| hosts::split(h, port)),
            user_agent: agent.map(str::to_owned),
        }
    }

    /// It is over.
    pub(super) fn finish(self, begun: Begun, end: End) -> HttpRequest {
        let (server_address, server_port) = self.host.unzip();
        let unseen = [
            Defects::RESPONSE_GAP,
            Defects::RESPONSE_MALFORMED,
            Defects::ATTACHED_MIDWAY,
        ];
        let unseen = end.stopping || unseen.iter().any(|d| end.defects.has(*d));
        let ended_by_server = end.defects.has(Defects::SERVER_ENDED);
        let cut = ended_by_server && end.defects.has(Defects::RESPONSE_CUT);
        let error = match end.status {
            None if !unseen => Some("connection_closed"),
            Some(status) if cut && status < 400 && begun.role == Role::Client => {
                Some("connection_reset")
            }
            _ => None,
        };
        HttpRequest {
            begun,
            method: self.method,
            path: self.path,
            query: self.query,
            server_address,
            server_port,
            user_agent: self.user_agent,
            status: end.status,
            error,
            end: end.time,
            peer: None,
            local: None,
            http2: false,
            defects: end.defects.without(Defects::SERVER_ENDED),
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) time: BootTime,
    pub(super) status: Option<u16>,
    pub(super) defects: Defects,
    /// It ends because nobody looks any more.
    pub(super) stopping: bool,
}

/// A request that was no candidate for a call from the start.
#[derive(Debug)]
pub(super) struct OpenPlain {
    pub(super) begun: Begun,
    pub(super) plain: Plain,
    pub(super) status: Option<u16>,
    pub(super) defects: Defects,
}
