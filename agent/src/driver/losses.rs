//! What did not get through, by reason, in words.

use crate::export::Loss;
use crate::pipeline::Pipeline;

/// Losses of the pure stages.
#[must_use]
pub fn of_pipeline(pipeline: &Pipeline) -> Vec<Loss> {
    let (wiring, provider, trace) = pipeline.counters();
    named(&[
        (
            "connections given up: too many open",
            wiring.connections_evicted,
        ),
        (
            "records of connections that were over",
            wiring.stale_records,
        ),
        ("bytes missing on connections", wiring.stream.missing_bytes),
        ("records at impossible positions", wiring.stream.invalid),
        (
            "exchanges under way when first seen",
            wiring.http1.half_seen + wiring.http2.half_seen - wiring.http2.unknown_heads,
        ),
        (
            "HTTP/2 requests whose head refers to what was not seen",
            wiring.http2.unknown_heads,
        ),
        (
            "malformed HTTP heads",
            wiring.http1.malformed_heads + wiring.http2.malformed_heads,
        ),
        ("malformed HTTP/2 frames", wiring.http2.malformed_frames),
        (
            "WebSockets under way when first seen",
            wiring.websocket.half_seen,
        ),
        (
            "malformed WebSocket frames",
            wiring.websocket.malformed_frames,
        ),
        (
            "times that it was lost where a WebSocket frame begins",
            wiring.websocket.losses,
        ),
        (
            "bytes of WebSockets passed over in search of a frame",
            wiring.websocket.resync_bytes,
        ),
        (
            "compressed WebSocket messages that are broken or too large",
            wiring.websocket.undecodable,
        ),
        (
            "compressed WebSocket messages that refer to what was not seen",
            wiring.websocket.uncertain,
        ),
        (
            "WebSocket messages over the limit",
            wiring.websocket.over_limit,
        ),
        ("HTTP/2 heads over the limit", wiring.http2.oversized_heads),
        ("malformed HTTP bodies", wiring.http1.malformed_bodies),
        (
            "exchanges not followed: too many on one connection",
            wiring.http1.overflowed + wiring.http2.overflowed,
        ),
        ("answers given up: their end was lost", wiring.http1.stale),
        ("calls not followed: too many open", provider.refused),
        ("bodies over the limit", provider.bodies_over_limit),
        (
            "requests not told: stopped before it was known whether they are calls",
            provider.undecided,
        ),
        (
            "retries told as calls: too many waited",
            trace.retries_evicted,
        ),
        (
            "spans whose parent was not looked for: too many open",
            trace.unrelated,
        ),
        (
            "spans told before their parent was known: too many waited, or too long",
            trace.parents_given_up,
        ),
        (
            "Python contexts forgotten: too many",
            trace.contexts_evicted,
        ),
        ("processes forgotten: too many", trace.processes_evicted),
        (
            "function calls not followed: too many open",
            trace.functions_refused,
        ),
        (
            "arguments of functions not told: too many in calls under way",
            trace.arguments_refused,
        ),
        ("functions forgotten: too many", trace.functions_evicted),
        ("call paths forgotten: too many", trace.paths_evicted),
        (
            "requests of engines that no answer named",
            trace.engines_unclaimed,
        ),
        (
            "runs of frameworks given up: too many open",
            wiring.runs_refused,
        ),
        (
            "contents of runs left out: too many under way",
            wiring.run_contents_refused,
        ),
    ])
}

/// Those that happened.
#[must_use]
pub fn named(all: &[(&str, u64)]) -> Vec<Loss> {
    all.iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| Loss {
            name: (*name).to_owned(),
            count: *count,
        })
        .collect()
}

/// Losses counted in the kernel.
#[cfg(feature = "kernel")]
#[must_use]
pub fn of_kernel(counts: &[u64; genspan_common::loss::Loss::COUNT]) -> Vec<Loss> {
    use genspan_common::loss::Loss as Reason;
    let all: Vec<(&str, u64)> = Reason::ALL
        .iter()
        .map(|r| (r.describe(), counts[*r as usize]))
        .collect();
    named(&all)
}
