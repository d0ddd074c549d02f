//! The instruments (conventions, section 6), with their boundaries.

use crate::vocabulary::metric;

/// What an instrument keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A histogram with these upper bounds, inclusive; one bucket more takes the rest.
    Histogram(&'static [f64]),
    /// A sum that only grows.
    Sum,
    /// What goes up and down.
    Gauge,
}

/// An instrument.
#[derive(Debug, PartialEq)]
pub struct Instrument {
    /// Name.
    pub name: &'static str,
    /// What it measures, for people.
    pub description: &'static str,
    /// Unit (UCUM).
    pub unit: &'static str,
    /// What it keeps.
    pub kind: Kind,
}

/// Seconds of operations (set D).
pub const DURATION: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
/// Tokens (set T).
pub const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Seconds of workflows (set W).
pub const WORKFLOW: &[f64] = &[
    1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
];
/// Seconds of agents (set A).
pub const AGENT: &[f64] = &[
    0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6,
];
/// Seconds to a served first token (set F).
pub const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Seconds per served token (set P).
pub const PER_TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
];

const SECONDS: &str = "s";
const TOKEN: &str = "{token}";

macro_rules! instruments {
    ($($id:ident = $name:ident, $kind:expr, $unit:expr, $description:literal;)*) => {
        $(
            #[doc = $description]
            pub static $id: Instrument = Instrument {
                name: metric::$name,
                description: $description,
                unit: $unit,
                kind: $kind,
            };
        )*

        /// All of them.
        pub static ALL: &[&Instrument] = &[$(&$id),*];
    };
}

use Kind::{Gauge, Histogram, Sum};

instruments! {
    OPERATION_DURATION = CLIENT_OPERATION_DURATION, Histogram(DURATION), SECONDS,
        "Duration of GenAI operations";
    TOKEN_USAGE = CLIENT_TOKEN_USAGE, Histogram(TOKENS), TOKEN,
        "Tokens used by a call, input and output";
    OPERATION_FIRST_CHUNK = CLIENT_OPERATION_FIRST_CHUNK, Histogram(DURATION), SECONDS,
        "Time from the request to the first chunk of a streamed answer";
    OPERATION_PER_CHUNK = CLIENT_OPERATION_PER_CHUNK, Histogram(DURATION), SECONDS,
        "Time from one chunk of a streamed answer to the next";
    INFERENCE_DURATION = CLIENT_INFERENCE_DURATION, Histogram(DURATION), SECONDS,
        "Duration of inference calls";
    INFERENCE_FIRST_CHUNK = CLIENT_INFERENCE_FIRST_CHUNK, Histogram(DURATION), SECONDS,
        "Time from the request to the first chunk of a streamed inference answer";
    INFERENCE_PER_CHUNK = CLIENT_INFERENCE_PER_CHUNK, Histogram(DURATION), SECONDS,
        "Time from one chunk of a streamed inference answer to the next";
    INPUT_TOKENS = CLIENT_INFERENCE_INPUT, Histogram(TOKENS), TOKEN,
        "Input tokens of a call";
    OUTPUT_TOKENS = CLIENT_INFERENCE_OUTPUT, Histogram(TOKENS), TOKEN,
        "Output tokens of a call";
    INPUT_SUM = CLIENT_INPUT_SUM, Sum, TOKEN,
        "Input tokens used";
    OUTPUT_SUM = CLIENT_OUTPUT_SUM, Sum, TOKEN,
        "Output tokens used";
    CACHE_READ_SUM = CLIENT_CACHE_READ_SUM, Sum, TOKEN,
        "Input tokens read from a cache";
    CACHE_WRITE_SUM = CLIENT_CACHE_WRITE_SUM, Sum, TOKEN,
        "Input tokens written to a cache";
    REASONING_SUM = CLIENT_REASONING_SUM, Sum, TOKEN,
        "Output tokens spent on reasoning";
    REQUEST_DURATION = SERVER_REQUEST_DURATION, Histogram(DURATION), SECONDS,
        "Duration of served requests";
    FIRST_TOKEN_TIME = SERVER_FIRST_TOKEN, Histogram(FIRST_TOKEN), SECONDS,
        "Time to the first token of successful served requests";
    PER_TOKEN_TIME = SERVER_PER_TOKEN, Histogram(PER_TOKEN), SECONDS,
        "Time per token after the first of successful served requests";
    WORKFLOW_DURATION = INVOKE_WORKFLOW_DURATION, Histogram(WORKFLOW), SECONDS,
        "Duration of workflow runs";
    AGENT_DURATION = INVOKE_AGENT_DURATION, Histogram(AGENT), SECONDS,
        "Duration of agent runs";
    TOOL_DURATION = EXECUTE_TOOL_DURATION, Histogram(DURATION), SECONDS,
        "Duration of tool runs";
    ENGINE_RUNNING = ENGINE_RUNNING, Gauge, "{request}",
        "Requests that a model server works at, as it says";
    ENGINE_WAITING = ENGINE_WAITING, Gauge, "{request}",
        "Requests that wait in a model server, as it says";
    ENGINE_CACHE_USAGE = ENGINE_CACHE_USAGE, Gauge, "1",
        "Part of a model server's cache of keys and values that is in use, as it says";
    ENGINE_HIT_RATE = ENGINE_HIT_RATE, Gauge, "1",
        "Part of the input tokens that a model server found in its cache of late, as it says";
    ENGINE_PREFIX_QUERIES = ENGINE_PREFIX_QUERIES, Sum, TOKEN,
        "Tokens that a model server looked for in its prefix cache, as it says";
    ENGINE_PREFIX_HITS = ENGINE_PREFIX_HITS, Sum, TOKEN,
        "Tokens that a model server found in its prefix cache, as it says";
    ENGINE_PREEMPTIONS = ENGINE_PREEMPTIONS, Sum, "{request}",
        "Requests that a model server put back for want of room, as it says";
    ENGINE_INPUT = ENGINE_INPUT, Sum, TOKEN,
        "Input tokens that a model server read, as it says";
    ENGINE_OUTPUT = ENGINE_OUTPUT, Sum, TOKEN,
        "Output tokens that a model server made, as it says";
    LOST = LOST, Sum, "1",
        "What genspan lost or left out, by reason";
    REDACTED = REDACTED, Sum, "1",
        "What genspan redacted, by rule";
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &[f64] = &[
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    ];
    const T: &[f64] = &[
        1.0,
        4.0,
        16.0,
        64.0,
        256.0,
        1024.0,
        4096.0,
        16384.0,
        65536.0,
        262_144.0,
        1_048_576.0,
        4_194_304.0,
        16_777_216.0,
        67_108_864.0,
    ];
    const W: &[f64] = &[
        1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
    ];
    const A: &[f64] = &[
        0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6,
    ];
    const F: &[f64] = &[
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    const P: &[f64] = &[
        0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
    ];

    /// Name, unit and boundaries, copied from the conventions' tables; a sum has no boundaries.
    const WANTED: &[(&str, &str, &[f64])] = &[
        ("gen_ai.client.operation.duration", "s", D),
        ("gen_ai.client.token.usage", "{token}", T),
        ("gen_ai.client.operation.time_to_first_chunk", "s", D),
        ("gen_ai.client.operation.time_per_output_chunk", "s", D),
        ("gen_ai.client.inference.duration", "s", D),
        ("gen_ai.client.inference.time_to_first_chunk", "s", D),
        ("gen_ai.client.inference.time_per_output_chunk", "s", D),
        (
            "gen_ai.client.inference.operation.input_tokens",
            "{token}",
            T,
        ),
        (
            "gen_ai.client.inference.operation.output_tokens",
            "{token}",
            T,
        ),
        ("gen_ai.client.inference.usage.input_tokens", "{token}", &[]),
        (
            "gen_ai.client.inference.usage.output_tokens",
            "{token}",
            &[],
        ),
        (
            "gen_ai.client.inference.usage.cache_read.input_tokens",
            "{token}",
            &[],
        ),
        (
            "gen_ai.client.inference.usage.cache_write.input_tokens",
            "{token}",
            &[],
        ),
        (
            "gen_ai.client.inference.usage.reasoning.output_tokens",
            "{token}",
            &[],
        ),
        ("gen_ai.server.request.duration", "s", D),
        ("gen_ai.server.time_to_first_token", "s", F),
        ("gen_ai.server.time_per_output_token", "s", P),
        ("gen_ai.invoke_workflow.duration", "s", W),
        ("gen_ai.invoke_agent.duration", "s", A),
        ("gen_ai.execute_tool.duration", "s", D),
    ];

    #[test]
    fn units_and_boundaries_are_those_of_the_conventions() {
        let own = |one: &&&Instrument| !one.name.starts_with("genspan.");
        let ours: Vec<_> = ALL
            .iter()
            .filter(own)
            .map(|one| match one.kind {
                Histogram(bounds) => (one.name, one.unit, bounds),
                Sum | Gauge => (one.name, one.unit, &[][..]),
            })
            .collect();
        assert_eq!(ours, WANTED);
        // What is our own needs no boundaries, and what is the conventions' only counts.
        for one in ALL.iter().filter(|one| !own(one)) {
            assert!(matches!(one.kind, Sum | Gauge), "{}", one.name);
        }
        assert!(ALL.iter().filter(own).all(|one| one.kind != Gauge));
    }
}
