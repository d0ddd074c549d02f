//! Ids of spans: drawn from what was seen, so that a replay gives the same ones, under a seed
//! that each capture draws anew, so that two captures do not.

use super::siphash::SipHash;
use crate::model::call::{ModelCall, ParentFound};
use crate::model::event::ConnectionId;
use crate::model::exchange::ExchangeId;
use crate::model::time::BootTime;

/// Ids of one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Trace; not zero.
    pub trace: u128,
    /// Span; not zero.
    pub span: u64,
    /// The span that it belongs to.
    pub parent: Option<u64>,
}

/// The ids of a call's span. A `traceparent` that the application sent counts first: then the span
/// belongs to the span that sent it. Else it belongs to the request that the call was made for.
#[must_use]
pub fn of_call(seed: u128, call: &ModelCall) -> Ids {
    let ids = of_exchange(
        seed,
        call.connection,
        call.start,
        call.exchange,
        call.traceparent.as_deref(),
    );
    match call.parent {
        Some(parent) if ids.parent.is_none() => Ids {
            trace: parent.trace,
            parent: parent.span,
            ..ids
        },
        _ => ids,
    }
}

/// How the parent in [`of_call`] was found; none when there is none.
#[must_use]
pub fn found(call: &ModelCall) -> Option<ParentFound> {
    let named = call.traceparent.as_deref().and_then(parse_traceparent);
    match named {
        Some(_) => Some(ParentFound::Traceparent),
        None => call.parent.map(|parent| parent.found),
    }
}

/// The ids of an exchange's span, which begins at `start`, by itself and the `traceparent` that it
/// carries.
#[must_use]
pub fn of_exchange(
    seed: u128,
    connection: ConnectionId,
    start: BootTime,
    exchange: ExchangeId,
    traceparent: Option<&str>,
) -> Ids {
    let draw = |what: u64| {
        let mut hash = SipHash::new(seed);
        for word in [
            what,
            u64::from(connection.pid),
            connection.ssl,
            connection.generation,
            start.0,
            exchange.0,
        ] {
            hash.word(word);
        }
        hash.finish()
    };
    let span = draw(0).max(1);
    if let Some((trace, parent)) = traceparent.and_then(parse_traceparent) {
        return Ids {
            trace,
            span,
            parent: Some(parent),
        };
    }
    Ids {
        trace: (u128::from(draw(1)) << 64 | u128::from(draw(2))).max(1),
        span,
        parent: None,
    }
}

/// Trace and parent of a W3C `traceparent`; `None` when it is not valid.
#[must_use]
pub fn parse_traceparent(text: &str) -> Option<(u128, u64)> {
    let mut fields = text.trim().split('-');
    let (version, trace, span, flags) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    // Only a version that is not known yet may have more fields.
    let fits = version != "ff"
        && (version != "00" || fields.next().is_none())
        && [(version, 2), (trace, 32), (span, 16), (flags, 2)]
            .iter()
            .all(|(field, len)| field.len() == *len && is_hex(field));
    if !fits {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|t| *t != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|s| *s != 0)?;
    Some((trace, span))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let ids = (
            0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            0xb7ad_6b71_6920_3331,
        );
        assert_eq!(parse_traceparent(good), Some(ids));
        assert_eq!(
            parse_traceparent(&good.replace("00-0a", "01-0a")),
            Some(ids)
        );
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{bad}");
        }
    }
}
