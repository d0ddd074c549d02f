//! Trace context in the headers of a request: W3C Trace Context, and Zipkin's B3 in both forms
//! (openzipkin/b3-propagation, README). When a request has both, the first counts.

use crate::model::exchange::Headers;
use crate::model::propagated::{Format, Propagated};

/// Request headers that are read here, in lower case.
pub const HEADERS: [&str; 5] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
];

/// Longest `tracestate` that is kept; the specification has senders keep to it (section 3.3.1.5).
const MAX_STATE: usize = 512;

/// The trace context of a request.
#[must_use]
pub fn read(headers: &Headers) -> Option<Propagated> {
    let told = headers.get("traceparent").and_then(of_traceparent);
    if let Some(mut told) = told {
        let state = headers.get("tracestate").map(str::trim);
        let state = state.filter(|s| !s.is_empty() && s.len() <= MAX_STATE);
        told.state = state.map(str::to_owned);
        return Some(told);
    }
    let (trace, span) = headers.get("b3").and_then(of_b3).or_else(|| {
        let trace = headers.get("x-b3-traceid")?;
        let span = headers.get("x-b3-spanid")?;
        b3_ids(trace.trim(), span.trim())
    })?;
    Some(Propagated {
        trace,
        span,
        state: None,
        format: Format::B3,
    })
}

/// Trace and parent of a W3C `traceparent`; `None` when it is not valid.
#[must_use]
pub fn of_traceparent(text: &str) -> Option<Propagated> {
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
    let (trace, span) = numbers(trace, span)?;
    Some(Propagated {
        trace,
        span,
        state: None,
        format: Format::Traceparent,
    })
}

/// `{trace}-{span}-{sampled}-{parent}`, the last two optional; or only a decision, which names
/// no span.
fn of_b3(text: &str) -> Option<(u128, u64)> {
    let mut fields = text.trim().split('-');
    let ids = b3_ids(fields.next()?, fields.next()?)?;
    let sampled = fields.next().is_none_or(|s| matches!(s, "0" | "1" | "d"));
    let parent = fields.next().is_none_or(|p| p.len() == 16 && is_hex(p));
    (sampled && parent && fields.next().is_none()).then_some(ids)
}

/// Trace ids of 64 and of 128 bits.
fn b3_ids(trace: &str, span: &str) -> Option<(u128, u64)> {
    let (trace, span) = (trace.to_ascii_lowercase(), span.to_ascii_lowercase());
    let fits = matches!(trace.len(), 16 | 32) && span.len() == 16;
    if !fits || !is_hex(&trace) || !is_hex(&span) {
        return None;
    }
    numbers(&trace, &span)
}

fn numbers(trace: &str, span: &str) -> Option<(u128, u64)> {
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

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";
    const IDS: (u128, u64) = (
        0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
        0xb7ad_6b71_6920_3331,
    );

    fn told(list: &[(&'static str, &str)]) -> Option<(u128, u64, Format)> {
        let mut headers = Headers::default();
        for (name, value) in list {
            headers.push(name, (*value).to_owned());
        }
        read(&headers).map(|p| (p.trace, p.span, p.format))
    }

    #[test]
    fn traceparents() {
        let ids = |text: &str| of_traceparent(text).map(|p| (p.trace, p.span));
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(ids(&good), Some(IDS));
        assert_eq!(ids(&good.replace("00-0a", "01-0a")), Some(IDS));
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
            assert_eq!(ids(bad), None, "{bad}");
        }
    }

    #[test]
    fn b3() {
        let (low, span) = (IDS.0 & u128::from(u64::MAX), IDS.1);
        let whole = format!("{TRACE}-{SPAN}");
        for (list, want) in [
            (vec![("b3", whole.clone())], Some((IDS.0, span))),
            (vec![("b3", format!("{whole}-1"))], Some((IDS.0, span))),
            (
                vec![("b3", format!("{whole}-d-{SPAN}"))],
                Some((IDS.0, span)),
            ),
            (
                vec![("b3", format!("{}-{SPAN}-0", &TRACE[16..]))],
                Some((low, span)),
            ),
            (
                vec![
                    ("x-b3-traceid", TRACE.to_ascii_uppercase()),
                    ("x-b3-spanid", SPAN.to_owned()),
                ],
                Some((IDS.0, span)),
            ),
            (vec![("b3", "0".to_owned())], None),
            (vec![("b3", format!("{whole}-2"))], None),
            (vec![("b3", format!("{whole}-1-{SPAN}-1"))], None),
            (vec![("b3", format!("{}-{SPAN}", "0".repeat(32)))], None),
            (vec![("x-b3-traceid", TRACE.to_owned())], None),
        ] {
            let list: Vec<_> = list.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let want = want.map(|(trace, span)| (trace, span, Format::B3));
            assert_eq!(told(&list), want, "{list:?}");
        }
    }

    #[test]
    fn the_standard_comes_first_and_brings_its_state() {
        let parent = format!("00-{TRACE}-{SPAN}-00");
        let other = format!("{}-{}", "1".repeat(32), "2".repeat(16));
        let both = [("b3", other.as_str()), ("traceparent", &parent)];
        assert_eq!(told(&both), Some((IDS.0, IDS.1, Format::Traceparent)));
        // One that is broken does not count.
        let broken = [("b3", other.as_str()), ("traceparent", "00-x")];
        assert_eq!(told(&broken).map(|t| t.2), Some(Format::B3));
        let mut headers = Headers::default();
        headers.push("traceparent", parent);
        headers.push("tracestate", " a=1,b=2 ".to_owned());
        assert_eq!(read(&headers).unwrap().state.as_deref(), Some("a=1,b=2"));
    }
}
