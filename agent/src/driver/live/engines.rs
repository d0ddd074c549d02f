//! What model servers say of themselves, joined to what is told of their calls.

use super::{Live, LiveError};
use crate::driver::wait;
use crate::export::metrics::Source;
use crate::model::process::{Detected, ProcessFacts};
use crate::scrape::engine::Engine;
use crate::scrape::{Scraper, Server};
use crate::target::classify;
use crate::target::process;
use crate::vocabulary::resource;

/// Who asks them, and where what they say goes.
pub struct Engines {
    /// Who asks.
    pub scraper: Scraper,
    /// Where it goes.
    pub source: Source,
}

impl Live {
    /// Says which servers are traced, and so are asked.
    pub(super) fn ask_engines(&self) {
        let Some(engines) = self.engines() else {
            return;
        };
        let traced = self.attachments.iter().filter(|t| t.target.python);
        let servers = traced.filter_map(|t| server(&t.target.facts));
        engines.scraper.ask(servers.collect());
    }

    /// Takes what they said.
    pub(super) fn take_engines(&mut self) -> Result<(), LiveError> {
        while let Some(scraped) = self.engines().and_then(|e| e.scraper.take()) {
            let pid = scraped.pid;
            let Some(traced) = self.attachments.get(pid) else {
                continue;
            };
            if !process::is_same(pid, scraped.start_ticks) {
                continue;
            }
            // Nobody may have asked it anything yet.
            if !self.core.announced.contains(&pid) {
                self.core.announce(&traced.target)?;
            }
            let resource = self.core.pipeline.resource(pid);
            if let (Some(engines), Some(resource)) = (self.engines(), resource) {
                let now = wait::clock_offset().wall(wait::boot_time());
                engines.source.observe(&resource, now, &scraped.found);
            }
        }
        Ok(())
    }

    fn engines(&self) -> Option<&Engines> {
        self.host.as_ref()?.engines.as_ref()
    }
}

/// A process as a server that may be asked.
fn server(facts: &ProcessFacts) -> Option<Server> {
    let engine = Engine::of(facts.model_server.as_deref()?)?;
    let pod = facts.detected.iter().find_map(|(key, value)| match value {
        Detected::Text(text) if key == resource::K8S_POD_IP => text.parse().ok(),
        _ => None,
    });
    Some(Server {
        pid: facts.pid,
        start_ticks: facts.start_ticks,
        engine,
        port: classify::server::port(&facts.command),
        network: facts.network,
        pod,
    })
}
