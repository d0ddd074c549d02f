//! Spans in, series out.

use super::*;
use crate::export::test_support::{START, resource, span};
use crate::model::gaps::ChunkGaps;
use crate::model::span::{Attributes, Resource, Span, SpanKind, Value};
use crate::model::time::{BootTime, WallTime};
use crate::vocabulary::{Generation, attr, metric};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

fn attributes(list: &[(&'static str, Value)]) -> Attributes {
    list.iter()
        .map(|(name, value)| (Cow::Borrowed(*name), value.clone()))
        .collect()
}

fn chat(extra: &[(&'static str, Value)]) -> Attributes {
    let mut all = attributes(&[
        (attr::OPERATION_NAME, "chat".into()),
        (attr::PROVIDER_NAME, "openai".into()),
        (attr::REQUEST_MODEL, "gpt-4o".into()),
        (attr::SERVER_ADDRESS, "api.openai.com".into()),
        (attr::SERVER_PORT, 443.into()),
        (attr::INPUT_MESSAGES, "[no label]".into()),
    ]);
    all.extend(attributes(extra));
    all
}

fn store(names: Generation) -> Metrics {
    Metrics::new(names, Limits::default())
}

fn label(label: &Label) -> String {
    match label {
        Label::Text(text) => text.to_string(),
        Label::Int(n) => n.to_string(),
        Label::Bool(b) => b.to_string(),
    }
}

/// Name and labels apart from the common ones → count or sum.
fn numbers(metrics: &Metrics) -> BTreeMap<String, (u64, f64)> {
    let mut all = BTreeMap::new();
    for process in metrics.snapshot(WallTime(0)).resources {
        for (instrument, series) in process.instruments {
            for one in series {
                let mut key = instrument.name.to_owned();
                for (name, value) in one.labels.iter() {
                    if matches!(
                        *name,
                        attr::ERROR_TYPE
                            | metric::TOKEN_TYPE
                            | metric::TOKEN_MODALITY
                            | metric::OVERFLOW
                    ) {
                        key = format!("{key} {}", label(value));
                    }
                }
                let number = match &one.data {
                    Data::Histogram(h) => (h.count(), h.sum),
                    Data::Sum(n, _) => (*n, 0.0),
                    Data::Gauge(value, _) => (0, *value),
                };
                assert_eq!(all.insert(key, number), None);
            }
        }
    }
    all
}

#[track_caller]
fn check(names: Generation, spans: &[Span], want: &[(&str, u64, f64)]) -> Metrics {
    let mut metrics = store(names);
    for span in spans {
        metrics.span(span);
    }
    let numbers = numbers(&metrics);
    let keys: Vec<_> = numbers.keys().map(String::as_str).collect();
    let mut wanted: Vec<_> = want.iter().map(|(key, ..)| *key).collect();
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    for (key, count, sum) in want {
        let (got, got_sum) = numbers[*key];
        assert_eq!(got, *count, "{key}");
        assert!((got_sum - sum).abs() < 1e-9, "{key}: {got_sum}");
    }
    metrics
}

fn streamed() -> Span {
    let mut one = span(
        7,
        chat(&[
            (attr::RESPONSE_MODEL, "gpt-4o-2024".into()),
            (attr::USAGE_INPUT_TOKENS, 100.into()),
            (attr::USAGE_OUTPUT_TOKENS, 30.into()),
            (attr::USAGE_CACHE_READ, 60.into()),
            (attr::USAGE_INPUT_BY_MODALITY[2], 25.into()),
            (attr::RESPONSE_TIME_TO_FIRST_CHUNK, Value::from(0.25)),
        ]),
        resource("shop", 1),
    );
    let mut gaps = ChunkGaps::default();
    for ms in [250, 265, 290, 1250] {
        gaps.chunk(BootTime(ms * 1_000_000));
    }
    one.chunk_gaps = Some(Box::new(gaps));
    one
}

fn failed() -> Span {
    let error = [(attr::ERROR_TYPE, "429".into())];
    let mut one = span(8, chat(&error), resource("shop", 1));
    one.error = Some(String::new());
    one
}

#[test]
fn legacy_names() {
    check(
        Generation::Legacy,
        &[streamed(), failed(), streamed()],
        &[
            ("gen_ai.client.operation.duration", 2, 3.0),
            ("gen_ai.client.operation.duration 429", 1, 1.5),
            ("gen_ai.client.token.usage input", 2, 200.0),
            ("gen_ai.client.token.usage output", 2, 60.0),
            ("gen_ai.client.operation.time_to_first_chunk", 2, 0.5),
            ("gen_ai.client.operation.time_per_output_chunk", 6, 2.0),
        ],
    );
}

#[test]
fn current_names() {
    let want = [
        ("gen_ai.client.inference.duration", 1, 1.5),
        ("gen_ai.client.inference.time_to_first_chunk", 1, 0.25),
        ("gen_ai.client.inference.time_per_output_chunk", 3, 1.0),
        ("gen_ai.client.inference.operation.input_tokens", 1, 100.0),
        ("gen_ai.client.inference.operation.output_tokens", 1, 30.0),
        (
            "gen_ai.client.inference.usage.input_tokens unknown",
            75,
            0.0,
        ),
        ("gen_ai.client.inference.usage.input_tokens audio", 25, 0.0),
        (
            "gen_ai.client.inference.usage.output_tokens unknown",
            30,
            0.0,
        ),
        (
            "gen_ai.client.inference.usage.cache_read.input_tokens unknown",
            60,
            0.0,
        ),
    ];
    check(Generation::Current, &[streamed()], &want);
    // It failed before its usage was known: it adds nothing to the sums, but has its series.
    check(
        Generation::Current,
        &[failed()],
        &[
            ("gen_ai.client.inference.duration 429", 1, 1.5),
            ("gen_ai.client.inference.usage.input_tokens unknown", 0, 0.0),
            (
                "gen_ai.client.inference.usage.output_tokens unknown",
                0,
                0.0,
            ),
        ],
    );
    let mut embeddings = chat(&[(attr::USAGE_INPUT_TOKENS, 8.into())]);
    embeddings[0].1 = "embeddings".into();
    let embeddings = span(9, embeddings, resource("shop", 1));
    check(
        Generation::Current,
        std::slice::from_ref(&embeddings),
        &[
            ("gen_ai.client.operation.duration", 1, 1.5),
            ("gen_ai.client.inference.operation.input_tokens", 1, 8.0),
            ("gen_ai.client.inference.usage.input_tokens unknown", 8, 0.0),
        ],
    );
    // The name that both have counts once.
    check(
        Generation::Both,
        &[embeddings],
        &[
            ("gen_ai.client.operation.duration", 1, 1.5),
            ("gen_ai.client.token.usage input", 1, 8.0),
            ("gen_ai.client.inference.operation.input_tokens", 1, 8.0),
            ("gen_ai.client.inference.usage.input_tokens unknown", 8, 0.0),
        ],
    );
    assert_eq!(
        Generation::from_opt_in("http, gen_ai_latest_experimental"),
        Generation::Current
    );
    assert_eq!(
        Generation::from_opt_in("gen_ai_latest_experimental/dup,http"),
        Generation::Both
    );
    assert_eq!(Generation::from_opt_in("database/dup"), Generation::Legacy);
}

#[test]
fn both_names_are_the_sum_of_each() {
    let all = |names| {
        let mut metrics = store(names);
        metrics.span(&streamed());
        metrics.span(&failed());
        let snapshot = metrics.snapshot(WallTime(0)).resources.remove(0);
        snapshot
            .instruments
            .into_iter()
            .map(|(i, _)| i.name)
            .collect::<Vec<_>>()
    };
    let mut want = [all(Generation::Legacy), all(Generation::Current)].concat();
    want.sort_unstable();
    assert_eq!(all(Generation::Both), want);
}

#[test]
fn half_seen_calls_have_no_times() {
    let mut one = streamed();
    let defects = vec!["attached_midway".to_owned(), "response_gap".to_owned()];
    one.attributes
        .push((Cow::Borrowed(attr::DEFECTS), defects.into()));
    check(
        Generation::Legacy,
        &[one.clone()],
        &[
            ("gen_ai.client.token.usage input", 1, 100.0),
            ("gen_ai.client.token.usage output", 1, 30.0),
        ],
    );
    one.kind = SpanKind::Server;
    check(Generation::Legacy, &[one], &[]);
}

#[test]
fn served_requests() {
    let mut served = streamed();
    served.kind = SpanKind::Server;
    let mut refused = failed();
    refused.kind = SpanKind::Server;
    for names in [Generation::Legacy, Generation::Current, Generation::Both] {
        check(
            names,
            &[served.clone(), refused.clone()],
            &[
                ("gen_ai.server.request.duration", 1, 1.5),
                ("gen_ai.server.request.duration 429", 1, 1.5),
                ("gen_ai.server.time_to_first_token", 1, 0.25),
                ("gen_ai.server.time_per_output_token", 1, 1.25 / 29.0),
            ],
        );
    }
}

#[test]
fn what_an_engine_measured_counts_once_and_first() {
    let mut served = streamed();
    served.kind = SpanKind::Server;
    let measured = [
        (attr::ENGINE_TIME_TO_FIRST_TOKEN, Value::from(0.125)),
        (attr::ENGINE_TIME_PER_OUTPUT_TOKEN, Value::from(0.03)),
    ];
    let add = |one: &mut Span| {
        let named = measured.clone().map(|(name, value)| (name.into(), value));
        one.attributes.extend(named);
    };
    add(&mut served);
    // Of one that is not streamed the wire tells no first token.
    let mut whole = span(
        7,
        chat(&[
            (attr::RESPONSE_MODEL, "gpt-4o-2024".into()),
            (attr::USAGE_OUTPUT_TOKENS, 30.into()),
        ]),
        resource("shop", 1),
    );
    whole.kind = SpanKind::Server;
    add(&mut whole);
    check(
        Generation::Legacy,
        &[served, whole],
        &[
            ("gen_ai.server.request.duration", 2, 3.0),
            ("gen_ai.server.time_to_first_token", 2, 0.25),
            ("gen_ai.server.time_per_output_token", 2, 0.06),
        ],
    );
}

#[test]
fn runs_inside_a_process_and_spans_without_an_operation() {
    let internal = |operation: &'static str, name, run: &'static str| {
        let list = [(attr::OPERATION_NAME, operation.into()), (name, run.into())];
        let mut one = span(1, attributes(&list), resource("shop", 1));
        one.kind = SpanKind::Internal;
        one
    };
    let http = span(
        1,
        attributes(&[("http.request.method", "GET".into())]),
        resource("x", 2),
    );
    let metrics = check(
        Generation::Current,
        &[
            internal("execute_tool", metric::TOOL_NAME, "search"),
            internal("invoke_agent", metric::AGENT_NAME, "planner"),
            internal("invoke_workflow", metric::WORKFLOW_NAME, "w"),
            internal("plan", metric::AGENT_NAME, "planner"),
            http,
        ],
        &[
            ("gen_ai.execute_tool.duration", 1, 1.5),
            ("gen_ai.invoke_agent.duration", 1, 1.5),
            ("gen_ai.invoke_workflow.duration", 1, 1.5),
        ],
    );
    let snapshot = metrics.snapshot(WallTime(0));
    assert_eq!(
        snapshot.resources.len(),
        1,
        "a process without metrics takes no room"
    );
    let (_, series) = &snapshot.resources[0].instruments[0];
    assert_eq!(
        *series[0].labels,
        [
            (attr::OPERATION_NAME, Label::text("execute_tool")),
            (metric::TOOL_NAME, Label::text("search")),
        ]
    );
}

/// The first series of an instrument.
fn first(metrics: &Metrics, name: &str) -> Series {
    let snapshot = metrics.snapshot(WallTime(0));
    let mut all = snapshot.resources.iter().flat_map(|r| &r.instruments);
    let (_, series) = all.find(|(i, _)| i.name == name).unwrap();
    (*series[0]).clone()
}

#[test]
fn labels_and_boundaries() {
    let mut metrics = store(Generation::Legacy);
    metrics.span(&streamed());
    let series = first(&metrics, metric::CLIENT_TOKEN_USAGE);
    assert_eq!(
        *series.labels,
        [
            (attr::OPERATION_NAME, Label::text("chat")),
            (attr::PROVIDER_NAME, Label::text("openai")),
            (attr::REQUEST_MODEL, Label::text("gpt-4o")),
            (attr::RESPONSE_MODEL, Label::text("gpt-4o-2024")),
            (attr::SERVER_ADDRESS, Label::text("api.openai.com")),
            (attr::SERVER_PORT, Label::Int(443)),
            (metric::TOKEN_TYPE, Label::text("input")),
        ]
    );
    // A bound belongs to the bucket below it.
    let mut histogram = Histogram::new(instrument::DURATION);
    let at = |value| Exemplar {
        value,
        time: WallTime(0),
        trace_id: 1,
        span_id: 1,
        sequence: 1,
    };
    for value in [0.0, 0.01, 0.010_001, 81.92, 81.93] {
        histogram.record(value, Some(at(value)));
    }
    let mut want = vec![0; 15];
    (want[0], want[1], want[13], want[14]) = (2, 1, 1, 1);
    assert_eq!(histogram.counts, want);
    assert_eq!((histogram.min, histogram.max), (0.0, 81.93));
    // The buckets that the provider stage sorts into are the metric's.
    let bounds = crate::model::gaps::BOUNDS.map(|b| b as f64 / 1e9);
    assert_eq!(bounds, instrument::DURATION);
    for one in instrument::ALL {
        if let instrument::Kind::Histogram(bounds) = one.kind {
            assert!(bounds.is_sorted(), "{}", one.name);
        }
    }
}

#[test]
fn the_last_of_each_bucket_is_the_example() {
    let mut metrics = store(Generation::Legacy);
    for (id, millis) in [(1, 100), (2, 2000), (3, 110)] {
        let mut one = span(id, chat(&[]), resource("shop", 1));
        one.end = WallTime(START + millis * 1_000_000);
        metrics.span(&one);
    }
    let Data::Histogram(h) = first(&metrics, metric::CLIENT_OPERATION_DURATION).data else {
        panic!("no histogram");
    };
    let examples: Vec<_> = h.exemplars.iter().flatten().collect();
    let spans: Vec<_> = examples.iter().map(|e| (e.span_id, e.value)).collect();
    assert_eq!(spans, [(3, 0.11), (2, 2.0)]);
    assert_eq!(
        examples[0].trace_id,
        span(1, vec![], resource("x", 1)).trace_id
    );
    assert_eq!(examples[0].time, WallTime(START + 110_000_000));
    assert!(examples[0].sequence > examples[1].sequence);
}

fn of_model(model: &str, pid: i64) -> Span {
    let mut one = span(1, chat(&[]), resource("shop", pid));
    one.attributes[2].1 = model.to_owned().into();
    one
}

#[test]
fn more_values_or_series_than_allowed_are_one_series() {
    for limits in [
        Limits {
            values: 3,
            ..Limits::default()
        },
        Limits {
            series: 3,
            ..Limits::default()
        },
        Limits {
            all_series: 3,
            ..Limits::default()
        },
    ] {
        let mut metrics = Metrics::new(Generation::Legacy, limits);
        for n in 0..10 {
            metrics.span(&of_model(&format!("m{n}"), 1));
        }
        // Those that were let in stay.
        metrics.span(&of_model("m2", 1));
        assert_eq!(
            numbers_of(&metrics),
            [("m0", 1), ("m1", 1), ("m2", 2), ("true", 7)].map(|(m, n)| (m.to_owned(), n)),
            "{limits:?}"
        );
        assert_eq!(metrics.counters().overflowed, 7);
        assert_eq!(metrics.counters().measurements, 11);
        let lost = metrics.snapshot(WallTime(0)).lost;
        assert_eq!((lost.len(), lost[0].count), (1, 7));
        assert_eq!(
            *metrics.snapshot(WallTime(0)).resources[0].instruments[0].1[3].labels,
            [("otel.metric.overflow", Label::Bool(true))]
        );
    }
    let long = "x".repeat(10_000);
    let mut metrics = store(Generation::Legacy);
    metrics.span(&of_model(&long, 1));
    assert_eq!(numbers_of(&metrics), [(long[..255].to_owned(), 1)]);
}

/// Model or overflow → count, of the one instrument that there is.
fn numbers_of(metrics: &Metrics) -> Vec<(String, u64)> {
    let snapshot = metrics.snapshot(WallTime(0));
    let all = snapshot.resources[0].instruments[0].1.iter().map(|series| {
        let Data::Histogram(h) = &series.data else {
            panic!("no histogram")
        };
        let at = if series.labels.len() == 1 { 0 } else { 2 };
        (label(&series.labels[at].1), h.count())
    });
    all.collect()
}

#[test]
fn processes_are_kept_apart_and_forgotten() {
    let limits = Limits {
        resources: 2,
        silence: 10_000_000_000,
        ..Limits::default()
    };
    let mut metrics = Metrics::new(Generation::Legacy, limits);
    let pids = |metrics: &Metrics| -> Vec<Value> {
        let all = metrics.snapshot(WallTime(0)).resources;
        all.iter()
            .map(|r| r.resource.attributes[1].1.clone())
            .collect()
    };
    // The same facts told again are the same process.
    for pid in [1, 2, 1, 1] {
        metrics.span(&of_model("m", pid));
    }
    assert_eq!(pids(&metrics), [2.into(), 1.into()]);
    assert_eq!(
        metrics.snapshot(WallTime(0)).resources[1].start,
        WallTime(START)
    );
    metrics.span(&of_model("m", 3));
    assert_eq!(pids(&metrics), [1.into(), 3.into()]);
    assert_eq!(metrics.counters().resources_evicted, 1);
    let mut later = of_model("m", 4);
    later.end = WallTime(START + 60_000_000_000);
    metrics.span(&later);
    assert_eq!(pids(&metrics), [4.into()]);
    assert_eq!(
        metrics.counters().resources_evicted,
        1,
        "silent ones are not lost"
    );
}

#[test]
fn snapshots_stay_as_they_were() {
    let mut metrics = store(Generation::Legacy);
    assert!(metrics.snapshot(WallTime(0)).is_empty());
    metrics.span(&streamed());
    let before = metrics.snapshot(WallTime(0));
    metrics.span(&streamed());
    let after = metrics.snapshot(WallTime(0));
    assert_eq!(before, {
        let mut again = store(Generation::Legacy);
        again.span(&streamed());
        again.snapshot(WallTime(0))
    });
    assert_ne!(before, after);
    assert!(Arc::ptr_eq(
        &after.resources[0].instruments[0].1[0],
        &metrics.snapshot(WallTime(0)).resources[0].instruments[0].1[0]
    ));
}

#[test]
fn what_is_observed_is_told_beside_what_is_measured() {
    let resource = Arc::new(Resource {
        attributes: vec![(Cow::Borrowed("service.name"), "vllm".into())],
    });
    let mut metrics = Metrics::new(Generation::Legacy, Limits::default());
    let see = |metrics: &mut Metrics, at: u64, running: f64, tokens: u64, model: &str| {
        let labels = vec![("gen_ai.request.model", Label::text(model))];
        let observation = |instrument, value| Observation {
            instrument,
            labels: labels.clone(),
            value,
        };
        let all = [
            observation(&instrument::ENGINE_RUNNING, Observed::Gauge(running)),
            observation(&instrument::ENGINE_OUTPUT, Observed::Total(tokens)),
        ];
        metrics.observe(&resource, WallTime(at), &all);
    };
    let told = |metrics: &Metrics| -> Vec<Data> {
        let snapshot = metrics.snapshot(WallTime(0));
        let all = snapshot.resources[0].instruments.iter();
        all.flat_map(|(_, series)| series.iter().map(|s| s.data.clone()))
            .collect()
    };
    let gauge = |value, at| Data::Gauge(value, WallTime(at));
    metrics.observe(&resource, WallTime(1), &[]);
    assert!(metrics.snapshot(WallTime(0)).is_empty());
    see(&mut metrics, 10, 2.0, 1000, "a");
    assert_eq!(told(&metrics), [gauge(2.0, 10), Data::Sum(0, None)]);
    see(&mut metrics, 20, 0.0, 1500, "a");
    assert_eq!(told(&metrics), [gauge(0.0, 20), Data::Sum(500, None)]);
    // It began anew.
    see(&mut metrics, 30, 1.0, 40, "a");
    assert_eq!(told(&metrics), [gauge(1.0, 30), Data::Sum(540, None)]);
    let process = &metrics.snapshot(WallTime(0)).resources[0];
    assert_eq!((process.start, process.last), (WallTime(10), WallTime(30)));
    // A page with very many models costs no more than spans with them.
    for model in 0..500 {
        see(&mut metrics, 40, 1.0, 1, &model.to_string());
    }
    let series = told(&metrics).len();
    assert_eq!(series, 2 * (Limits::default().values + 1));
    assert!(metrics.counters().overflowed > 0);
}

#[test]
fn what_something_is_is_told_until_it_is_old() {
    let resource = Arc::new(Resource {
        attributes: vec![(Cow::Borrowed("service.name"), "vllm".into())],
    });
    let limits = Limits {
        gauge_age: 30,
        ..Limits::default()
    };
    let mut metrics = Metrics::new(Generation::Legacy, limits);
    let running = |model: &str| Observation {
        instrument: &instrument::ENGINE_RUNNING,
        labels: vec![("gen_ai.request.model", Label::text(model))],
        value: Observed::Gauge(2.0),
    };
    metrics.observe(&resource, WallTime(100), &[running("a"), running("b")]);
    // The page does not name the other one any more.
    metrics.observe(&resource, WallTime(120), &[running("b")]);
    let told = |metrics: &Metrics, now: u64| -> Vec<u64> {
        let all = metrics.snapshot(WallTime(now)).resources;
        let all = all.iter().flat_map(|p| p.instruments.iter());
        all.flat_map(|(_, series)| series.iter())
            .map(|series| match series.data {
                Data::Gauge(_, at) => at.0,
                _ => 0,
            })
            .collect()
    };
    assert_eq!(told(&metrics, 130), [100, 120]);
    assert_eq!(told(&metrics, 131), [120]);
    assert_eq!(told(&metrics, 150), [120]);
    assert!(metrics.snapshot(WallTime(151)).resources.is_empty());
    // It is there again.
    metrics.observe(&resource, WallTime(200), &[running("a")]);
    assert_eq!(told(&metrics, 200), [200]);
    // Sums hold for as long as the process is known.
    let total = Observation {
        instrument: &instrument::ENGINE_OUTPUT,
        value: Observed::Total(7),
        ..running("a")
    };
    metrics.observe(&resource, WallTime(201), &[total]);
    assert_eq!(told(&metrics, 1000), [0]);
}

#[test]
fn what_is_not_told_is_measured_without_examples() {
    let exemplars = |sampled: bool| {
        let mut span = of_model("m", 1);
        span.sampled = sampled;
        let mut metrics = Metrics::new(Generation::Legacy, Limits::default());
        metrics.span(&span);
        let process = metrics.snapshot(WallTime(0)).resources.remove(0);
        let all = process.instruments.iter().flat_map(|(_, series)| series);
        let (mut measured, mut exemplars) = (0, 0);
        for series in all {
            match &series.data {
                Data::Histogram(histogram) => {
                    measured += histogram.count();
                    exemplars += histogram.exemplars.iter().flatten().count();
                }
                Data::Sum(sum, last) => {
                    measured += sum;
                    exemplars += usize::from(last.is_some());
                }
                Data::Gauge(..) => {}
            }
        }
        (measured, exemplars > 0)
    };
    let (told, untold) = (exemplars(true), exemplars(false));
    assert!(told.0 > 0 && told.1);
    assert_eq!(untold, (told.0, false));
}
