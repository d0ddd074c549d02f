//! Why something that should have reached the agent did not. One counter each.

/// Reasons counted in the kernel, as indices of the per-CPU array `LOSS`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// The data ring had no room for a record.
    RingFull = 0,
    /// The control ring (fork, exec, exit, library loads) had no room for a record.
    ControlRingFull = 1,
    /// The payload could not be read from the traced process (paged out, or a bad pointer).
    PayloadUnreadable = 2,
    /// The number of bytes transferred could not be read from the traced process.
    LengthUnreadable = 3,
    /// More threads inside TLS calls than the table has room for.
    PendingTableFull = 4,
    /// The connection table would not take another entry.
    ConnectionTableFull = 5,
    /// More forked children than the process table has room for.
    ProcessTableFull = 6,
    /// A return was seen without its entry (the probe was attached in between).
    ReturnWithoutEntry = 7,
    /// Bytes beyond the message limit that were left out on purpose (counted in bytes).
    MessageLimitBytes = 8,
    /// Bytes of one call beyond what one call may emit (counted in bytes).
    CallLimitBytes = 9,
    /// The id of a forked child could not be read: it is not traced.
    ChildUnreadable = 10,
    /// Bytes of a socket that were sent or received in a way that is not followed: from a file,
    /// or in more segments than are looked at (counted in bytes).
    UnfollowedBytes = 11,
    /// The data ring had no room for the record of a copied Python context.
    ContextsLost = 12,
    /// Calls of watched functions, or arguments or ends of them, for which the data ring had no
    /// room.
    FunctionRingFull = 13,
    /// Calls of watched functions within too many others, or in too many threads.
    FunctionsUnfollowed = 14,
    /// Arguments of watched functions that could not be read.
    ArgumentUnreadable = 15,
    /// Call paths of requests for which the data ring had no room.
    StacksLost = 16,
    /// Beginnings and ends of runs of frameworks for which the data ring had no room.
    RunsLost = 17,
    /// Runs of frameworks for which a table had no room: their errors and the ends of some of them are
    /// not seen in time.
    RunsUnfollowed = 18,
    /// Snapshots of Python objects for which the data ring had no room, or that were to be made while another
    /// one was on the same processor.
    SnapshotsLost = 19,
    /// Calls of functions that were found by their code, of which nothing was told because it was not sure what
    /// they are.
    CallsUnverified = 20,
}

impl Loss {
    /// How many there are: the length of the kernel's array.
    pub const COUNT: usize = 21;

    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::RingFull,
        Self::ControlRingFull,
        Self::PayloadUnreadable,
        Self::LengthUnreadable,
        Self::PendingTableFull,
        Self::ConnectionTableFull,
        Self::ProcessTableFull,
        Self::ReturnWithoutEntry,
        Self::MessageLimitBytes,
        Self::CallLimitBytes,
        Self::ChildUnreadable,
        Self::UnfollowedBytes,
        Self::ContextsLost,
        Self::FunctionRingFull,
        Self::FunctionsUnfollowed,
        Self::ArgumentUnreadable,
        Self::StacksLost,
        Self::RunsLost,
        Self::RunsUnfollowed,
        Self::SnapshotsLost,
        Self::CallsUnverified,
    ];

    /// The counter's name in `genspan doctor`, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::ControlRingFull => "control_ring_full",
            Self::PayloadUnreadable => "payload_unreadable",
            Self::LengthUnreadable => "length_unreadable",
            Self::PendingTableFull => "pending_table_full",
            Self::ConnectionTableFull => "connection_table_full",
            Self::ProcessTableFull => "process_table_full",
            Self::ReturnWithoutEntry => "return_without_entry",
            Self::MessageLimitBytes => "message_limit_bytes",
            Self::CallLimitBytes => "call_limit_bytes",
            Self::ChildUnreadable => "child_unreadable",
            Self::UnfollowedBytes => "unfollowed_bytes",
            Self::ContextsLost => "contexts_lost",
            Self::FunctionRingFull => "function_ring_full",
            Self::FunctionsUnfollowed => "functions_unfollowed",
            Self::ArgumentUnreadable => "argument_unreadable",
            Self::StacksLost => "stacks_lost",
            Self::RunsLost => "runs_lost",
            Self::RunsUnfollowed => "runs_unfollowed",
            Self::SnapshotsLost => "snapshots_lost",
            Self::CallsUnverified => "calls_unverified",
        }
    }

    /// The reason in words that fit after a number.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::RingFull => "reads and writes lost: ring full (a larger --ring-size helps)",
            Self::ControlRingFull => "process events lost: control ring full",
            Self::PayloadUnreadable => "reads and writes lost: memory not readable",
            Self::LengthUnreadable => "reads and writes lost: length not readable",
            Self::PendingTableFull => "reads and writes lost: too many threads in calls",
            Self::ConnectionTableFull => "reads and writes lost: connection table full",
            Self::ProcessTableFull => "children not traced: process table full",
            Self::ReturnWithoutEntry => "returns without entry (under way when attached)",
            Self::MessageLimitBytes => "bytes left out: message over the limit",
            Self::CallLimitBytes => "bytes left out: one call over the limit",
            Self::ChildUnreadable => "children not traced: their id not readable",
            Self::UnfollowedBytes => "bytes left out: from a file, or in too many segments",
            Self::ContextsLost => "parents not found: ring full when a context was copied",
            Self::FunctionRingFull => {
                "function calls, ends and arguments lost: ring full (a larger --ring-size helps)"
            }
            Self::FunctionsUnfollowed => {
                "function calls not followed: too deep, or too many threads"
            }
            Self::ArgumentUnreadable => "arguments of functions left out: memory not readable",
            Self::StacksLost => "call paths lost: ring full (a larger --ring-size helps)",
            Self::RunsLost => {
                "records of framework runs lost: ring full (a larger --ring-size helps)"
            }
            Self::RunsUnfollowed => "framework runs not followed to their end: too many at a time",
            Self::SnapshotsLost => {
                "contents of Python objects lost: ring full (a larger --ring-size helps), or others \
                 were being copied"
            }
            Self::CallsUnverified => {
                "calls of functions found by their code left out: they did not look like TLS"
            }
        }
    }
}

const _: () = {
    let mut i = 0;
    while i < Loss::COUNT {
        assert!(
            Loss::ALL[i] as usize == i,
            "Loss::ALL must follow the numbers"
        );
        i += 1;
    }
};
