//! What is exported, and how its variables and paths are called.

/// What is exported. The numbers stand in files (the kinds of batches on the disk).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Spans.
    Traces = 1,
    /// Metrics.
    Metrics = 2,
    /// Events, as log records.
    Logs = 3,
}

impl Signal {
    /// The signal's part of the names of variables, and of paths.
    pub(super) const fn names(self) -> SignalNames {
        match self {
            Self::Traces => SignalNames {
                exporter: "OTEL_TRACES_EXPORTER",
                endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                prefix: "OTEL_EXPORTER_OTLP_TRACES_",
                path: TRACES_PATH,
            },
            Self::Metrics => SignalNames {
                exporter: "OTEL_METRICS_EXPORTER",
                endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
                prefix: "OTEL_EXPORTER_OTLP_METRICS_",
                path: "/v1/metrics",
            },
            Self::Logs => SignalNames {
                exporter: "OTEL_LOGS_EXPORTER",
                endpoint: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
                protocol: "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
                prefix: "OTEL_EXPORTER_OTLP_LOGS_",
                path: "/v1/logs",
            },
        }
    }

    /// As it is written: `traces`, `metrics`, `logs`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// The variable that makes its queue larger.
    pub(in super::super) const fn queue_variable(self) -> &'static str {
        match self {
            Self::Logs => LOG_QUEUE,
            Self::Traces | Self::Metrics => SPAN_QUEUE,
        }
    }

    /// What it exports, in messages.
    pub(in super::super) const fn what(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Metrics => "metrics",
            Self::Logs => "events",
        }
    }
}

/// Names of variables, and a path.
pub(super) struct SignalNames {
    pub(super) exporter: &'static str,
    pub(super) endpoint: &'static str,
    pub(super) protocol: &'static str,
    pub(super) prefix: &'static str,
    pub(super) path: &'static str,
}

pub(super) const TRACES_PATH: &str = "/v1/traces";

/// What says how many spans may wait.
pub(super) const SPAN_QUEUE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";

/// What says how many spans with events may wait.
pub(super) const LOG_QUEUE: &str = "OTEL_BLRP_MAX_QUEUE_SIZE";
