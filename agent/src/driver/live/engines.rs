//! What model servers say of themselves, joined to what is told of their calls.

use std::net::IpAddr;

use super::{Live, LiveError};
use crate::driver::wait;
use crate::export::metrics::Source;
use crate::model::process::ProcessFacts;
use crate::scrape::engine::Engine;
use crate::scrape::{Scraper, Server};
use crate::target::classify;
use crate::target::process;

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
        let servers = traced.filter_map(|t| server(&t.target.facts, t.pod));
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

/// A process as a server that may be asked, at the address of its `pod`. That is none of its resource attributes:
/// whoever writes annotations of a pod could have us ask anybody.
fn server(facts: &ProcessFacts, pod: Option<IpAddr>) -> Option<Server> {
    let engine = Engine::of(facts.model_server.as_deref()?)?;
    // A scheduler is traced as well, and asked by nobody.
    if classify::server::of(&facts.command, "").is_some_and(|found| !found.part.speaks_http()) {
        return None;
    }
    Some(Server {
        pid: facts.pid,
        start_ticks: facts.start_ticks,
        engine,
        port: classify::server::port(&facts.command),
        network: facts.network,
        pod,
    })
}

#[cfg(test)]
mod tests {
    use super::server;
    use crate::model::process::{Detected, ProcessFacts};

    #[test]
    fn servers_are_asked_at_no_address_that_a_resource_names() {
        let named = |ip: &str| vec![("k8s.pod.ip".to_owned(), Detected::Text(ip.to_owned()))];
        let own = Some("10.0.0.7".parse().unwrap());
        for (detected, pod, want) in [
            (named("127.0.0.1"), own, own),
            (named("192.0.2.1"), None, None),
            (Vec::new(), own, own),
        ] {
            let facts = ProcessFacts {
                model_server: Some("vllm".to_owned()),
                detected,
                ..ProcessFacts::default()
            };
            assert_eq!(server(&facts, pod).unwrap().pod, want);
        }
        for (title, asked) in [("sglang::scheduler_TP0", false), ("python", true)] {
            let facts = ProcessFacts {
                model_server: Some("sglang".to_owned()),
                command: vec![title.to_owned()],
                ..ProcessFacts::default()
            };
            assert_eq!(server(&facts, None).is_some(), asked, "{title}");
        }
    }
}
