//! What vLLM and SGLang say on their pages, under one name each. Pure.
//!
//! Sources: `vllm/v1/metrics/loggers.py` of vLLM (0.6 to 0.11; names of before 0.9 where they differ), and
//! `python/sglang/srt/metrics/collector.py` of SGLang (0.4, 0.5; later ones have it as
//! `observability/metrics_collector.py`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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
            let mut names = self.names().iter().enumerate();
            let (place, (_, instrument)) = names.find(|(_, (known, _))| *known == name)?;
            Some((place, *instrument))
        };
        let mut found: Vec<Observation> = Vec::new();
        // By what they are, where in `found` that is, and of which name (by its place) and rank it is.
        let mut seen: BTreeMap<_, (usize, (usize, u32))> = BTreeMap::new();
        let mut beyond = 0;
        let senseless = text::read(
            page,
            |name| of(name).is_some(),
            |sample| {
                let Some((place, instrument)) = of(sample.name) else {
                    return;
                };
                let Some((one, rank)) = observation(instrument, &sample) else {
                    return;
                };
                let of = (place, rank);
                match seen.entry((instrument.name, one.labels.clone())) {
                    Entry::Vacant(_) if found.len() >= MAX_SAMPLES => beyond += 1,
                    Entry::Vacant(slot) => {
                        slot.insert((found.len(), of));
                        found.push(one);
                    }
                    Entry::Occupied(mut slot) => {
                        let (at, before) = *slot.get();
                        let Some(told) = found.get_mut(at) else {
                            return;
                        };
                        // What a page has under an old name and a new one, or of several ranks, is the same, and
                        // counts once.
                        match of.cmp(&before) {
                            Ordering::Less => {
                                slot.insert((at, of));
                                told.value = one.value;
                            }
                            Ordering::Equal => add(&mut told.value, one.value),
                            Ordering::Greater => {}
                        }
                    }
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

/// Another part of the same, which is not told apart here: SGLang counts the tokens of requests that are streamed
/// and of others (`is_streaming`). Of what is not a sum the first one stands.
const fn add(told: &mut Observed, more: Observed) {
    if let (Observed::Total(sum), Observed::Total(more)) = (told, more) {
        *sum = sum.saturating_add(more);
    }
}

/// What a sample says, and which rank says it.
fn observation(instrument: &'static Instrument, sample: &Sample<'_>) -> Option<(Observation, u32)> {
    // The ranks of one model run the same requests: the first speaks for them.
    if sample.label("pp_rank").is_some_and(|rank| rank != "0") {
        return None;
    }
    let rank = sample
        .label("tp_rank")
        .map_or(Some(0), |r| r.parse().ok())?;
    // With `--enable-dp-attention` a rank of SGLang's is numbered among all: the first of a replica is its lowest.
    let of_replica = sample.label("dp_rank").is_some_and(|dp| !dp.is_empty());
    if rank != 0 && !of_replica {
        return None;
    }
    if !sample.value.is_finite() || sample.value < 0.0 {
        return None;
    }
    // With priority scheduling, SGLang says all that run or wait without a priority, and of each priority besides.
    let of_one = sample.label("priority").is_some_and(|p| !p.is_empty());
    if of_one && instrument.kind == on::Kind::Gauge {
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
    let one = Observation {
        instrument,
        labels: model.into_iter().chain(index).collect(),
        value,
    };
    Some((one, rank))
}

#[cfg(test)]
mod tests {
    use super::{Engine, Label, MAX_SAMPLES, Observed, metric, on};

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
    fn of_the_ranks_of_a_replica_the_lowest_speaks() {
        let line = |dp: &str, tp: &str, value: u32| {
            let labels = format!("dp_rank=\"{dp}\",pp_rank=\"0\",tp_rank=\"{tp}\"");
            format!("sglang:num_running_reqs{{{labels}}} {value}\n")
        };
        for (samples, want) in [
            (
                &[("0", "0", 3), ("1", "1", 4)][..],
                &[("0", 3), ("1", 4)][..],
            ),
            // Four for each, all of which report, in the order of their texts.
            (
                &[
                    ("1", "10", 9),
                    ("1", "11", 8),
                    ("1", "8", 4),
                    ("1", "9", 7),
                    ("0", "0", 3),
                ],
                &[("1", 4), ("0", 3)],
            ),
            (&[("1", "2", 4), ("1", "3", 9)], &[("1", 4)]),
            // Those without replicas, as ever.
            (&[("", "1", 9), ("", "0", 3)], &[("", 3)]),
            (&[("", "1", 9)], &[]),
            (&[("0", "x", 9), ("0", "-1", 9), ("0", "", 9)], &[]),
        ] {
            let page: String = samples.iter().map(|(d, t, v)| line(d, t, *v)).collect();
            let found = Engine::Sglang.read(&page).found;
            let told: Vec<_> = found.iter().map(|o| (o.labels.clone(), o.value)).collect();
            let index = |dp: &str| {
                let label = (!dp.is_empty()).then(|| (metric::ENGINE_INDEX, Label::text(dp)));
                label.into_iter().collect()
            };
            let want = want
                .iter()
                .map(|(dp, v)| (index(dp), Observed::Gauge(f64::from(*v))));
            assert_eq!(told, want.collect::<Vec<_>>(), "{page}");
        }
    }

    #[test]
    fn parts_that_are_not_told_apart_are_added() {
        use Observed::{Gauge, Total};
        let largest = Total(u64::MAX);
        for (engine, page, want) in [
            (
                Engine::Sglang,
                "sglang:prompt_tokens_total{is_streaming=\"true\",model_name=\"m\"} 5\n\
                 sglang:prompt_tokens_total{is_streaming=\"false\",model_name=\"m\"} 700\n\
                 sglang:prompt_tokens_total{is_streaming=\"true\",model_name=\"n\"} 3\n",
                &[Total(705), Total(3)][..],
            ),
            (
                Engine::Sglang,
                "sglang:generation_tokens_total{is_streaming=\"false\",priority=\"1\"} 700\n\
                 sglang:generation_tokens_total{is_streaming=\"true\",priority=\"2\"} 5\n",
                &[Total(705)],
            ),
            (
                Engine::Sglang,
                "sglang:generation_tokens_total{is_streaming=\"false\"} 1e300\n\
                 sglang:generation_tokens_total{is_streaming=\"true\"} 5\n",
                &[largest],
            ),
            (
                Engine::Sglang,
                "sglang:num_queue_reqs{priority=\"1\"} 2\nsglang:num_queue_reqs{priority=\"\"} 5\n\
                 sglang:num_queue_reqs{priority=\"7\"} 3\nsglang:num_running_reqs{priority=\"\"} 4\n\
                 sglang:num_running_reqs{priority=\"7\"} 4\n",
                &[Gauge(5.0), Gauge(4.0)],
            ),
            // The same under two names, whichever comes first.
            (
                Engine::Vllm,
                "vllm:gpu_prefix_cache_hits_total{engine=\"0\"} 7\nvllm:prefix_cache_hits_total{engine=\"0\"} 8\n\
                 vllm:kv_cache_usage_perc 0.25\nvllm:gpu_cache_usage_perc 0.5\n",
                &[Total(8), Gauge(0.25)],
            ),
            (
                Engine::Vllm,
                "vllm:prefix_cache_hits_total{engine=\"0\"} 8\nvllm:gpu_prefix_cache_hits_total{engine=\"0\"} 7\n\
                 vllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc 0.25\n",
                &[Total(8), Gauge(0.25)],
            ),
        ] {
            let read = engine.read(page);
            let values: Vec<_> = read.found.iter().map(|o| o.value).collect();
            assert_eq!((&*values, read.senseless), (want, 0), "{page}");
        }
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
