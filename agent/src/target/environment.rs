//! What a process's own environment says of how it is to be traced (`genspan trace --help`
//! lists the variables). Pure: the caller looks the variables up.

use crate::model::process::{AppType, ContentPolicy};

/// Settings from environment variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `OTEL_SERVICE_NAME`, else `service.name` of `OTEL_RESOURCE_ATTRIBUTES`.
    pub service_name: Option<String>,
    /// The other `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: Vec<(String, String)>,
    /// `APSARA_APM_APP_TYPE`.
    pub app_type: Option<AppType>,
    /// `PROFILER_GENAI_SPLITAPP_ENABLE`: each application of the process is a service of its own.
    pub split_applications: Option<bool>,
    /// Content settings.
    pub content: ContentPolicy,
    /// Variables whose value could not be used: name and what was expected.
    pub rejected: Vec<(&'static str, &'static str)>,
}

/// Whether there are events, whatever is said of content.
const EMIT_EVENT: &str = "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT";

/// Whether each application of Dify is a service of its own.
const SPLIT: &str = "PROFILER_GENAI_SPLITAPP_ENABLE";

impl Environment {
    /// Reads the variables through `get`. What is not set keeps the value of `defaults`.
    pub fn read(get: impl Fn(&str) -> Option<String>, defaults: &ContentPolicy) -> Self {
        let mut out = Self {
            content: defaults.clone(),
            ..Self::default()
        };
        if let Some(list) = get("OTEL_RESOURCE_ATTRIBUTES") {
            out.resource = resource_attributes(&list);
        }
        out.service_name = get("OTEL_SERVICE_NAME")
            .filter(|n| !n.trim().is_empty())
            .or_else(|| {
                let named = out.resource.iter().find(|(k, _)| k == "service.name");
                named.map(|(_, v)| v.clone()).filter(|v| !v.is_empty())
            });
        out.resource.retain(|(k, _)| k != "service.name");
        let capture = get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT");
        if let Some(value) = capture.filter(|v| !v.trim().is_empty()) {
            match capture_mode(&value) {
                Some((spans, events)) => {
                    out.content.on_spans = spans;
                    out.content.on_events = events;
                }
                None => out.rejected.push((
                    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
                    "True, False, NO_CONTENT, SPAN_ONLY, EVENT_ONLY or SPAN_AND_EVENT",
                )),
            }
        }
        let mut switch = |name: &'static str| {
            let value = get(name).filter(|v| !v.trim().is_empty())?;
            match value.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => {
                    out.rejected.push((name, "true or false"));
                    None
                }
            }
        };
        let (emits, splits) = (switch(EMIT_EVENT), switch(SPLIT));
        out.content.emit_events = emits.or(out.content.emit_events);
        out.split_applications = splits;
        if let Some(value) = get("APSARA_APM_APP_TYPE").filter(|v| !v.trim().is_empty()) {
            out.app_type = match value.trim().to_ascii_lowercase().as_str() {
                "microservice" => Some(AppType::Microservice),
                "app" => Some(AppType::App),
                "model" => Some(AppType::Model),
                _ => None,
            };
            if out.app_type.is_none() {
                out.rejected
                    .push(("APSARA_APM_APP_TYPE", "microservice, app or model"));
            }
        }
        let mut number = |name: &'static str| {
            let value = get(name).filter(|v| !v.trim().is_empty())?;
            let number = value.trim().parse::<usize>().ok();
            if number.is_none() {
                out.rejected.push((name, "a whole number of characters"));
            }
            number
        };
        if let Some(n) = number("OTEL_INSTRUMENTATION_GENAI_MESSAGE_CONTENT_MAX_LENGTH") {
            out.content.max_message_chars = n;
        }
        let limit = number("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT")
            .or_else(|| number("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"));
        if limit.is_some() {
            out.content.max_attribute_chars = limit;
        }
        out
    }
}

/// Whether content goes on spans and into events.
fn capture_mode(value: &str) -> Option<(bool, bool)> {
    Some(match value.trim().to_ascii_uppercase().as_str() {
        "TRUE" | "1" | "SPAN_ONLY" => (true, false),
        "FALSE" | "0" | "NO_CONTENT" => (false, false),
        "EVENT_ONLY" => (false, true),
        "SPAN_AND_EVENT" => (true, true),
        _ => return None,
    })
}

/// `key=value,key=value`, percent-encoded (W3C Baggage, as the OpenTelemetry specification of
/// resource environment variables has it).
fn resource_attributes(list: &str) -> Vec<(String, String)> {
    list.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (k.trim().to_owned(), percent_decode(v.trim())))
        .filter(|(k, _)| !k.is_empty())
        .collect()
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{EMIT_EVENT, Environment, SPLIT};
    use crate::model::process::{AppType, ContentPolicy};

    fn read(vars: &[(&str, &str)]) -> Environment {
        let get = |name: &str| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        };
        Environment::read(get, &ContentPolicy::default())
    }

    #[test]
    fn defaults_stand_when_nothing_is_set() {
        let e = read(&[]);
        assert_eq!(e.content, ContentPolicy::default());
        assert_eq!(e.service_name, None);
        assert!(e.rejected.is_empty());
    }

    #[test]
    fn resource_and_service_name() {
        let list = "service.name=shop,deployment.environment=a%2Cb%20c,=x,broken";
        let e = read(&[("OTEL_RESOURCE_ATTRIBUTES", list)]);
        assert_eq!(e.service_name.as_deref(), Some("shop"));
        assert_eq!(
            e.resource,
            [("deployment.environment".into(), "a,b c".into())]
        );
        let e = read(&[
            ("OTEL_RESOURCE_ATTRIBUTES", list),
            ("OTEL_SERVICE_NAME", "bot"),
        ]);
        assert_eq!(e.service_name.as_deref(), Some("bot"));
    }

    #[test]
    fn applications_are_split_where_it_says_so() {
        for (value, want) in [
            ("True", Some(true)),
            (" true ", Some(true)),
            ("1", Some(true)),
            ("False", Some(false)),
            ("0", Some(false)),
            ("", None),
        ] {
            let e = read(&[(SPLIT, value)]);
            assert_eq!(
                (e.split_applications, e.rejected.len()),
                (want, 0),
                "{value}"
            );
        }
        assert_eq!(read(&[]).split_applications, None);
        let e = read(&[(SPLIT, "yes, please")]);
        assert_eq!(
            (e.split_applications, &*e.rejected),
            (None, &[(SPLIT, "true or false")][..])
        );
    }

    #[test]
    fn content_settings() {
        let name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
        for (value, spans, events) in [
            ("True", true, false),
            ("false", false, false),
            ("NO_CONTENT", false, false),
            ("span_only", true, false),
            ("EVENT_ONLY", false, true),
            ("SPAN_AND_EVENT", true, true),
            ("  Span_And_Event ", true, true),
            ("", true, false),
        ] {
            let e = read(&[(name, value)]);
            assert_eq!(
                (e.content.on_spans, e.content.on_events),
                (spans, events),
                "{value}"
            );
        }
        for (value, want) in [
            ("true", Some(true)),
            (" False ", Some(false)),
            ("1", Some(true)),
            ("", None),
        ] {
            let e = read(&[(EMIT_EVENT, value), (name, "EVENT_ONLY")]);
            assert_eq!(
                (e.content.emit_events, e.rejected.len()),
                (want, 0),
                "{value}"
            );
            assert_eq!(e.content.emits_events(), want.unwrap_or(true));
        }
        let e = read(&[(EMIT_EVENT, "perhaps")]);
        assert_eq!(e.rejected, [(EMIT_EVENT, "true or false")]);
        assert!(!e.content.emits_events());
        for (value, want) in [
            ("microservice", Some(AppType::Microservice)),
            ("App", Some(AppType::App)),
            ("model", Some(AppType::Model)),
            ("", None),
        ] {
            let e = read(&[("APSARA_APM_APP_TYPE", value)]);
            assert_eq!((e.app_type, e.rejected.len()), (want, 0), "{value}");
        }
        let e = read(&[
            ("APSARA_APM_APP_TYPE", "other"),
            (name, "perhaps"),
            (
                "OTEL_INSTRUMENTATION_GENAI_MESSAGE_CONTENT_MAX_LENGTH",
                "many",
            ),
            ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "100"),
        ]);
        assert_eq!(e.rejected.len(), 3);
        assert_eq!(e.content.max_attribute_chars, Some(100));
        assert_eq!(e.content.max_message_chars, 4096);
    }
}
