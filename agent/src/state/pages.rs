//! The pages of the state: `/status`, `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::handle::State;
use super::status::{Attached, Phase, Status};
use crate::export::endpoint::{Answer, Asked, Page, Pages};
use crate::export::metrics::Source;
use crate::export::prometheus::{Format, Own, OwnKind, render_with};
use crate::export::status::{ExportStatus, Reach};
use crate::vocabulary::own as name;

/// How long a page waits for the run to come round.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks whether it did.
const LOOK: Duration = Duration::from_millis(5);

/// The pages of `state`, with the metrics of what is traced.
pub(super) fn pages(state: State, source: Source) -> Pages {
    Arc::new(move |asked: Asked| -> Answer {
        let (state, source) = (state.clone(), source.clone());
        Box::pin(async move { page(&asked, &state, &source).await })
    })
}

async fn page(asked: &Asked, state: &State, source: &Source) -> Page {
    match asked.path.as_str() {
        "/status" => {
            let text = serde_json::to_string_pretty(&fresh(state).await);
            match text {
                Ok(text) => Page::good("application/json", text + "\n"),
                Err(error) => Page::plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            }
        }
        "/metrics" => {
            let format = Format::accepted(&asked.accept);
            let status = fresh(state).await;
            let text = render_with(&source.snapshot(), &own(&status), format);
            Page::good(format.content_type(), text)
        }
        "/healthz" => match state.trouble() {
            None => Page::plain(StatusCode::OK, "ok\n".to_owned()),
            Some(trouble) => Page::plain(StatusCode::SERVICE_UNAVAILABLE, trouble + "\n"),
        },
        "/readyz" => match (state.phase(), state.trouble()) {
            (Phase::Ready, None) => Page::plain(StatusCode::OK, "ready\n".to_owned()),
            (phase, trouble) => {
                let why = trouble.unwrap_or_else(|| phase.name().to_owned());
                Page::plain(StatusCode::SERVICE_UNAVAILABLE, why + "\n")
            }
        },
        _ => Page::plain(
            StatusCode::NOT_FOUND,
            "there are /status, /metrics, /healthz and /readyz\n".to_owned(),
        ),
    }
}

/// The state as it is now; as it was last where the run does not come round.
async fn fresh(state: &State) -> Status {
    let asked = state.ask();
    let begun = Instant::now();
    // Before the run has begun, and when it is over, nobody answers.
    while matches!(state.phase(), Phase::Looking | Phase::Ready)
        && !state.has_since(asked)
        && begun.elapsed() < PATIENCE
    {
        tokio::time::sleep(LOOK).await;
    }
    state.status()
}

/// The numbers of a state.
#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has nothing but floating point"
)]
fn own(status: &Status) -> Vec<Own<'_>> {
    let one = |name, help, kind, value: f64| Own {
        name,
        help,
        kind,
        values: vec![(Vec::new(), value)],
    };
    let gauge = |name, help, value| one(name, help, OwnKind::Gauge, value);
    let counter = |name, help, value: u64| one(name, help, OwnKind::Counter, value as f64);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |now| now.as_secs_f64());
    let in_state = |state: Attached| {
        let of = status.processes.iter().filter(|p| p.state == state);
        (vec![(name::STATE, state.name())], of.count() as f64)
    };
    let counts = &status.counts;
    let mut all = vec![
        Own {
            name: name::BUILD,
            help: "The version of genspan",
            kind: OwnKind::Gauge,
            values: vec![(vec![(name::VERSION, status.version.as_str())], 1.0)],
        },
        gauge(
            name::READY,
            "Whether the agent traces",
            f64::from(u8::from(status.phase == Phase::Ready)),
        ),
        Own {
            name: name::PROCESSES,
            help: "Processes by how it stands with them",
            kind: OwnKind::Gauge,
            values: Attached::ALL.into_iter().map(in_state).collect(),
        },
        counter(
            name::RECORDS,
            "Records taken from the kernel",
            counts.records,
        ),
        counter(
            name::BYTES,
            "Payload bytes taken from the kernel",
            counts.bytes,
        ),
        counter(
            name::CONNECTIONS,
            "Connections first seen",
            counts.connections,
        ),
        counter(name::SPANS, "Spans told", counts.spans),
        counter(name::CALLS, "Model calls told", counts.calls),
        counter(
            name::INCOMPLETE,
            "Model calls told of which something was not seen",
            counts.calls_incomplete,
        ),
        counter(
            name::UNSAMPLED,
            "Spans not told, of traces beyond the share that is to be",
            counts.spans_unsampled,
        ),
        one(
            name::CPU,
            "Processor time that the agent used",
            OwnKind::Counter,
            status.own.cpu_seconds,
        ),
        gauge(
            name::RESIDENT,
            "Resident memory of the agent",
            status.own.resident_bytes as f64,
        ),
        gauge(
            name::OPEN_FILES,
            "Open file descriptors of the agent",
            status.own.open_files as f64,
        ),
        gauge(
            name::LEFT_OUT,
            "What is not told to keep to the limits: 1 content, 2 content and detail",
            f64::from(status.limits.left_out as u8),
        ),
        counter(
            name::WITHOUT_CONTENT,
            "Model calls told without their content to keep to the limits",
            status.limits.calls_without_content,
        ),
        gauge(
            name::STARTED,
            "When the agent was started, in seconds since 1970",
            (now - status.uptime_seconds).max(0.0),
        ),
    ];
    all.extend(exports(&status.exports));
    all
}

/// The numbers of the exports over the network; none without any.
#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has nothing but floating point"
)]
fn exports(exports: &[ExportStatus]) -> Vec<Own<'_>> {
    fn labels(of: &ExportStatus) -> Vec<(&'static str, &str)> {
        vec![
            (name::ENDPOINT, of.endpoint.as_str()),
            (name::SIGNAL, of.signal.as_str()),
        ]
    }
    let family = |name, help, kind, value: fn(&ExportStatus) -> Option<u64>| Own {
        name,
        help,
        kind,
        values: exports
            .iter()
            .filter_map(|of| Some((labels(of), value(of)? as f64)))
            .collect(),
    };
    let dropped = exports.iter().flat_map(|of| {
        let reasons = of.dropped.by_reason().into_iter();
        reasons.map(move |(reason, count)| {
            let mut labels = labels(of);
            labels.push((name::REASON, reason));
            (labels, count as f64)
        })
    });
    let all = [
        family(
            name::EXPORT_UP,
            "Whether the endpoint took the last request",
            OwnKind::Gauge,
            |of| Some(u64::from(of.state == Reach::Well)),
        ),
        family(
            name::EXPORT_DELIVERED,
            "Spans, points and events that the endpoint acknowledged",
            OwnKind::Counter,
            |of| Some(of.delivered),
        ),
        family(
            name::EXPORT_REJECTED,
            "Of those, the ones that it said it did not keep",
            OwnKind::Counter,
            |of| Some(of.rejected),
        ),
        family(
            name::EXPORT_ERRORS,
            "Requests and attempts to connect that failed",
            OwnKind::Counter,
            |of| Some(of.errors),
        ),
        Own {
            name: name::EXPORT_DROPPED,
            help: "Spans, points and events that were lost, by reason",
            kind: OwnKind::Counter,
            values: dropped.collect(),
        },
        family(
            name::SPOOL_WRITTEN,
            "Spans and events that went to the disk",
            OwnKind::Counter,
            |of| of.spool.map(|s| s.written),
        ),
        family(
            name::SPOOL_ITEMS,
            "Spans and events that wait on the disk",
            OwnKind::Gauge,
            |of| of.spool.map(|s| s.items),
        ),
        family(
            name::SPOOL_BYTES,
            "Bytes of the disk that they take",
            OwnKind::Gauge,
            |of| of.spool.map(|s| s.bytes),
        ),
    ];
    all.into_iter().filter(|f| !f.values.is_empty()).collect()
}
