//! What was wrong with what we saw of a call. A defect never stops a stage; it goes along with
//! the value and ends as an attribute.

/// A set of defects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defects(u32);

macro_rules! defects {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl Defects {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),*];
        }
    };
}

defects! {
    /// The exchange was under way when its connection was first seen: what came before was not.
    ATTACHED_MIDWAY = 0, "attached_midway";
    /// Bytes of the request are missing.
    REQUEST_GAP = 1, "request_gap";
    /// Bytes of the response are missing.
    RESPONSE_GAP = 2, "response_gap";
    /// The request's body was larger than the limit; its middle is missing.
    REQUEST_OVER_LIMIT = 3, "request_over_limit";
    /// The response's body was larger than the limit; its middle is missing.
    RESPONSE_OVER_LIMIT = 4, "response_over_limit";
    /// The connection ended before the request was whole.
    REQUEST_CUT = 5, "request_cut";
    /// The connection ended, or the client stopped reading, before the response was whole.
    RESPONSE_CUT = 6, "response_cut";
    /// The request broke the rules of HTTP.
    REQUEST_MALFORMED = 7, "request_malformed";
    /// The response broke the rules of HTTP.
    RESPONSE_MALFORMED = 8, "response_malformed";
    /// A body's content encoding is unknown or its data broken.
    BODY_UNDECODABLE = 9, "body_undecodable";
    /// A body grew by decompression beyond what we follow.
    BODY_TOO_EXPANSIVE = 10, "body_too_expansive";
    /// A body that should be JSON is not, or is cut.
    JSON_BROKEN = 11, "json_broken";
    /// An event of a stream was longer than the limit.
    EVENT_OVER_LIMIT = 12, "event_over_limit";
    /// An event of a stream was not what its protocol says.
    EVENT_BROKEN = 13, "event_broken";
    /// More choices, tool calls or items than we follow.
    TOO_MANY_PARTS = 14, "too_many_parts";
    /// It was the server that ended the connection before the response was whole; goes along
    /// with [`Defects::RESPONSE_CUT`].
    SERVER_ENDED = 15, "server_ended";
    /// Some headers refer to others that were sent before we attached, or that were missed.
    HEADERS_UNKNOWN = 16, "headers_unknown";
    /// A function was found to be over: it ended at some time before.
    END_LATE = 24, "end_late";
    /// The end of a function was lost: it ended at some time before another event.
    END_LOST = 25, "end_lost";
    /// The thread, or the program, ended before the function did.
    THREAD_ENDED = 26, "thread_ended";
    /// The function was under way when the process ended, or tracing did.
    UNFINISHED = 27, "unfinished";
}

impl Defects {
    /// No defect.
    pub const NONE: Self = Self(0);

    /// Adds those of `other`.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are in here.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Their names, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .iter()
            .filter(move |(d, _)| self.has(*d))
            .map(|(_, n)| *n)
    }
}
