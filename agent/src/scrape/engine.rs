//! What vLLM and SGLang say on their pages, under one name each. Pure.
//!
//! Sources: `vllm/v1/metrics/loggers.py` of vLLM (0.6 to 0.11; names of before 0.9 where they differ), and
//! `python/sglang/srt/metrics/collector.py` of SGLang (0.4, 0.5).

use std::collections::BTreeSet;

use super::text::{self, Sample};
use crate::metrics::instrument::{self as on, Instrument};
use crate::metrics::{Label, Observation, Observed};
use crate::vocabulary::{attr, metric};

/// Most samples of a page that are taken: a page has some for each model and each of its replicas.
const MAX_SAMPLES: usize = 512;
/// Most bytes of a label's value that is taken.
const MAX_VALUE: usize = 255;

/// A server whose page is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// vLLM.
    Vllm,
    /// SGLang, with `--enable-metrics`.
    Sglang,
}

/// The names of a server's samples, and what they are here.
type Names = &'static [(&'static str, &'static Instrument)];

const VLLM: Names = &[
    ("vllm:num_requests_running", &on::ENGINE_RUNNING),
    ("vllm:num_requests_waiting", &on::ENGINE_WAITING),
    ("vllm:kv_cache_usage_perc", &on::ENGINE_CACHE_USAGE),
    ("vllm:gpu_cache_usage_perc", &on::ENGINE_CACHE_USAGE),
    (
        "vllm:prefix_cache_queries_total",
        &on::ENGINE_PREFIX_QUERIES,
    ),
    (
        "vllm:gpu_prefix_cache_queries_total",
        &on::ENGINE_PREFIX_QUERIES,
    ),
    ("vllm:prefix_cache_hits_total", &on::ENGINE_PREFIX_HITS),
    ("vllm:gpu_prefix_cache_hits_total", &on::ENGINE_PREFIX_HITS),
    ("vllm:num_preemptions_total", &on::ENGINE_PREEMPTIONS),
    ("vllm:prompt_tokens_total", &on::ENGINE_INPUT),
    ("vllm:generation_tokens_total", &on::ENGINE_OUTPUT),
];

const SGLANG: Names = &[
    ("sglang:num_running_reqs", &on::ENGINE_RUNNING),
    ("sglang:num_queue_reqs", &on::ENGINE_WAITING),
    ("sglang:token_usage", &on::ENGINE_CACHE_USAGE),
    ("sglang:cache_hit_rate", &on::ENGINE_HIT_RATE),
    ("sglang:prompt_tokens_total", &on::ENGINE_INPUT),
    ("sglang:generation_tokens_total", &on::ENGINE_OUTPUT),
];

/// What a page says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// What is of use. Sums are as they stand on the page.
    pub found: Vec<Observation>,
    /// Lines that make no sense.
    pub senseless: u64,
    /// Samples beyond the bound.
    pub beyond: u64,
}

impl Engine {
    /// By its name as a provider.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "vllm" => Some(Self::Vllm),
            "sglang" => Some(Self::Sglang),
            _ => None,
        }
    }

    /// The port at which it listens unless it is told another one.
    #[must_use]
    pub const fn usual_port(self) -> u16 {
        match self {
            Self::Vllm => 8000,
            Self::Sglang => 30000,
        }
    }

    const fn names(self) -> Names {
        match self {
            Self::Vllm => VLLM,
            Self::Sglang => SGLANG,
        }
    }

    /// Reads a page.
    #[must_use]
    pub fn read(self, page: &str) -> Page {
        let of = |name: &str| {
            let known = self.names().iter().find(|(known, _)| *known == name);
            known.map(|(_, instrument)| *instrument)
        };
        let mut found: Vec<Observation> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut beyond = 0;
        let senseless = text::read(
            page,
            |name| of(name).is_some(),
            |sample| {
                let Some(one) = of(sample.name).and_then(|i| observation(i, &sample)) else {
                    return;
                };
                let key = (one.instrument.name, one.labels.clone());
                // Under its old name and its new one; or of parts that are not told apart here.
                if seen.contains(&key) {
                    return;
                }
                if found.len() < MAX_SAMPLES {
                    seen.insert(key);
                    found.push(one);
                } else {
                    beyond += 1;
                }
            },
        );
        Page {
            found,
            senseless,
            beyond,
        }
    }
}

fn observation(instrument: &'static Instrument, sample: &Sample<'_>) -> Option<Observation> {
    // The ranks of one model run the same requests: the first speaks for them.
    let others = ["tp_rank", "pp_rank"].map(|name| sample.label(name));
    if others.into_iter().flatten().any(|rank| rank != "0") {
        return None;
    }
    if !sample.value.is_finite() || sample.value < 0.0 {
        return None;
    }
    let value = match instrument.kind {
        on::Kind::Gauge => Observed::Gauge(sample.value),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is finite and not below zero; what is too large is the largest"
        )]
        _ => Observed::Total(sample.value as u64),
    };
    let text = |name: &str| {
        let value = sample.label(name).filter(|value| !value.is_empty())?;
        (value.len() <= MAX_VALUE).then(|| Label::text(value))
    };
    let model = text("model_name").map(|label| (attr::REQUEST_MODEL, label));
    let index = text("engine").or_else(|| text("dp_rank"));
    let index = index.map(|label| (metric::ENGINE_INDEX, label));
    Some(Observation {
        instrument,
        labels: model.into_iter().chain(index).collect(),
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::{Engine, MAX_SAMPLES, Observed, on};

    #[test]
    fn vllms_page_is_read() {
        let labels = "engine=\"0\",model_name=\"org/tiny\"";
        let page = format!(
            "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{{labels}}} 3.0\n\
             vllm:num_requests_running{{engine=\"1\",model_name=\"org/tiny\"}} 1.0\n\
             vllm:kv_cache_usage_perc{{{labels}}} 0.25\nvllm:gpu_cache_usage_perc{{{labels}}} 0.5\n\
             vllm:prompt_tokens_total{{{labels}}} 1.2e3\nvllm:generation_tokens_total{{{labels}}} NaN\n\
             vllm:num_preemptions_total{{{labels}}} -1\nvllm:num_requests_waiting{{x 1\n\
             vllm:request_success_total{{{labels}}} 7\npython_info 1\n"
        );
        let read = Engine::Vllm.read(&page);
        assert_eq!(read.senseless, 1);
        let told = read.found.iter().map(|o| (o.instrument.name, o.value));
        let found: Vec<_> = told.collect();
        assert_eq!(
            found,
            [
                (on::ENGINE_RUNNING.name, Observed::Gauge(3.0)),
                (on::ENGINE_RUNNING.name, Observed::Gauge(1.0)),
                (on::ENGINE_CACHE_USAGE.name, Observed::Gauge(0.25)),
                (on::ENGINE_INPUT.name, Observed::Total(1200)),
            ]
        );
        assert_eq!(read.found[0].labels.len(), 2);
    }

    #[test]
    fn of_ranks_the_first_speaks() {
        let page = "sglang:num_queue_reqs{model_name=\"m\",tp_rank=\"0\",pp_rank=\"0\"} 2\n\
                    sglang:num_queue_reqs{model_name=\"m\",tp_rank=\"1\",pp_rank=\"0\"} 9\n\
                    sglang:cache_hit_rate{model_name=\"m\"} 0.75\n";
        let found = Engine::Sglang.read(page).found;
        let values: Vec<_> = found.iter().map(|o| o.value).collect();
        assert_eq!(values, [Observed::Gauge(2.0), Observed::Gauge(0.75)]);
        assert_eq!(Engine::of("sglang"), Some(Engine::Sglang));
        assert_eq!(Engine::of("ollama"), None);
    }

    #[test]
    fn there_is_a_bound() {
        let line = |n: usize| format!("vllm:num_requests_running{{model_name=\"{n}\"}} 1\n");
        let page: String = (0..MAX_SAMPLES + 3).map(line).collect();
        let read = Engine::Vllm.read(&page);
        assert_eq!((read.found.len(), read.beyond), (MAX_SAMPLES, 3));
        assert_eq!(read.senseless, 0);
        // What was taken before is no more of it.
        let again = format!("{page}{}", line(0));
        assert_eq!(Engine::Vllm.read(&again), read);
    }
}
