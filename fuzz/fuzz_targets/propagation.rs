//! Trace context of any headers: nothing panics, no id is told that does not stand there, none is
//! zero, what is told reads back as the same, and what is broken does not hide what is not.
#![no_main]

use genspan::model::exchange::Headers;
use genspan::model::propagated::{Format, Propagated};
use genspan::protocol::propagation::{HEADERS, of_traceparent, read};
use libfuzzer_sys::fuzz_target;

/// Longest `tracestate` that senders may make (W3C Trace Context, section 3.3.1.5).
const MAX_STATE: usize = 512;

/// Headers, one a line; those of other names are left out, as the parser of heads would do.
fn headers(text: &str) -> Headers {
    let mut headers = Headers::default();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if let Some(name) = HEADERS.into_iter().find(|known| *known == name) {
            headers.push(name, value.to_owned());
        }
    }
    headers
}

/// Whether a text has the id in hexadecimal digits, with the zeros that may stand before it.
fn has(text: Option<&str>, digits: &str) -> bool {
    text.is_some_and(|text| text.to_ascii_lowercase().contains(digits))
}

fn check(told: &Propagated, headers: &Headers) {
    assert!(told.trace != 0 && told.span != 0);
    let (trace, span) = (
        format!("{:032x}", told.trace),
        format!("{:016x}", told.span),
    );
    let back = of_traceparent(&format!("00-{trace}-{span}-01")).expect("a valid one");
    assert_eq!((back.trace, back.span), (told.trace, told.span));
    // Zipkin's trace ids may have half the length.
    let short = if told.trace >> 64 == 0 {
        &trace[16..]
    } else {
        &trace
    };
    match told.format {
        Format::Traceparent => {
            let parent = headers.get("traceparent");
            assert!(has(parent, &trace) && has(parent, &span));
        }
        Format::B3 => {
            assert!(
                headers
                    .get("traceparent")
                    .and_then(of_traceparent)
                    .is_none()
            );
            assert!(told.state.is_none());
            let one = headers.get("b3");
            let two = (headers.get("x-b3-traceid"), headers.get("x-b3-spanid"));
            assert!(has(one, short) && has(one, &span) || has(two.0, short) && has(two.1, &span));
        }
    }
    if let Some(state) = &told.state {
        assert!(!state.is_empty() && state.len() <= MAX_STATE && state.trim() == state);
        assert!(
            headers
                .get("tracestate")
                .is_some_and(|sent| sent.contains(state.as_str()))
        );
    }
}

fuzz_target!(|text: &str| {
    let sent = headers(text);
    let told = read(&sent);
    if let Some(told) = &told {
        check(told, &sent);
    }
    // A parent that is valid counts, whatever stands beside it.
    let parent = sent.get("traceparent").and_then(of_traceparent);
    let is_w3c = told
        .as_ref()
        .is_some_and(|told| told.format == Format::Traceparent);
    assert_eq!(is_w3c, parent.is_some());
    // The same as a message's member, which is the text alone.
    let _ = of_traceparent(text);
});
