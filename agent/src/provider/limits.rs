//! Bounds of this stage, and the counters of what ran into them.

/// Settings of [`super::Calls`]; each is a bound on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes kept of one body before only its end is followed.
    pub body_bytes: usize,
    /// Calls followed at one time; further ones are not reported.
    pub open_calls: usize,
    /// Bytes of bodies and streamed texts held for all open calls together; beyond it bodies
    /// lose their middle and texts their end.
    pub held_bytes: usize,
    /// Bytes of text kept of a call's request, and as many of its response.
    pub text_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            open_calls: 16_384,
            held_bytes: 256 << 20,
            text_bytes: 1 << 20,
        }
    }
}

/// How much of a body's end is kept when its middle is not.
pub const TAIL_BYTES: usize = 64 << 10;

/// Choices followed in one response.
pub const MAX_CHOICES: usize = 128;

/// Tool calls followed in one choice.
pub const MAX_TOOL_CALLS: usize = 128;

/// Output items followed in one streamed response.
pub const MAX_ITEMS: usize = 256;

/// Messages kept of one request, its last ones.
pub const MAX_MESSAGES: usize = 4096;

/// Tools kept of one request.
pub const MAX_TOOLS: usize = 1024;

/// Bytes of ids, names and the like; what is longer is none.
pub const MAX_NAME_BYTES: usize = 1024;

/// What was left out, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls finished.
    pub calls: u64,
    /// Exchanges on a call's path whose content was none.
    pub not_calls: u64,
    /// Exchanges that may have been calls: we stopped before their content said it. They are told
    /// as nothing.
    pub undecided: u64,
    /// Exchanges answered by a redirection; the call is at its end.
    pub redirects: u64,
    /// Exchanges not followed because [`Limits::open_calls`] were open.
    pub refused: u64,
    /// Tasks told before they were over because too many were followed.
    pub tasks_evicted: u64,
    /// Bodies over a limit.
    pub bodies_over_limit: u64,
    /// Bytes of bodies not kept.
    pub body_bytes_dropped: u64,
}
