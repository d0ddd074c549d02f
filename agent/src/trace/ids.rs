//! Ids of spans: drawn from what was seen, so that a replay gives the same ones, under a seed
//! that each capture draws anew, so that two captures do not.

use super::siphash::SipHash;
use crate::model::request::Begun;

/// Ids drawn for one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Trace, should it begin one; not zero.
    pub trace: u128,
    /// Span; not zero.
    pub span: u64,
}

/// The ids of a request's span.
#[must_use]
pub fn of(seed: u128, begun: &Begun) -> Ids {
    let draw = |what: u64| {
        let mut hash = SipHash::new(seed);
        for word in [
            what,
            u64::from(begun.connection.pid),
            begun.connection.ssl,
            begun.connection.generation,
            begun.start.0,
            begun.exchange.0,
        ] {
            hash.word(word);
        }
        hash.finish()
    };
    Ids {
        trace: (u128::from(draw(1)) << 64 | u128::from(draw(2))).max(1),
        span: draw(0).max(1),
    }
}
