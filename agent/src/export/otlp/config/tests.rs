//! Flags and variables, and what they come to.

use super::*;

fn resolve(
    endpoint: Option<&str>,
    protocol: Option<&str>,
    env: &[(&str, &str)],
) -> Result<Option<Config>, ConfigError> {
    Config::resolve(endpoint, protocol, &|name| {
        env.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| (*v).to_owned())
    })
}

fn target(
    endpoint: Option<&str>,
    protocol: Option<&str>,
    env: &[(&str, &str)],
) -> (Protocol, String) {
    let config = resolve(endpoint, protocol, env).unwrap().unwrap();
    (config.protocol, config.endpoint)
}

#[test]
fn nothing_asked_for() {
    assert_eq!(resolve(None, None, &[]), Ok(None));
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", " ")];
    assert_eq!(resolve(None, None, &env), Ok(None));
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    assert_eq!(resolve(None, None, &env), Ok(None));
}

#[test]
fn endpoints_and_protocols() {
    use Protocol::{Grpc, HttpProtobuf as Http};
    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const OWN: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    type Case<'a> = (
        Option<&'a str>,
        Option<&'a str>,
        &'a [(&'a str, &'a str)],
        Protocol,
        &'a str,
    );
    let cases: &[Case<'_>] = &[
        (Some("http://c:4317"), None, &[], Grpc, "http://c:4317"),
        (Some("http://c:4317/"), None, &[], Grpc, "http://c:4317"),
        (
            Some("http://c:4318"),
            None,
            &[],
            Http,
            "http://c:4318/v1/traces",
        ),
        (
            Some("https://c/otlp/"),
            None,
            &[],
            Http,
            "https://c/otlp/v1/traces",
        ),
        (
            Some("http://c/x/v1/traces"),
            None,
            &[],
            Http,
            "http://c/x/v1/traces",
        ),
        (Some("https://c"), Some("grpc"), &[], Grpc, "https://c"),
        (
            Some("localhost:4317"),
            None,
            &[],
            Grpc,
            "http://localhost:4317",
        ),
        (Some("[::1]:4317"), None, &[], Grpc, "http://[::1]:4317"),
        (Some("c:4317"), None, &[], Grpc, "https://c:4317"),
        (
            Some("c:4317"),
            None,
            &[("OTEL_EXPORTER_OTLP_INSECURE", "True")],
            Grpc,
            "http://c:4317",
        ),
        (None, Some("grpc"), &[], Grpc, "http://localhost:4317"),
        (
            None,
            None,
            &[("OTEL_TRACES_EXPORTER", "otlp")],
            Http,
            "http://localhost:4318/v1/traces",
        ),
        // The flag wins over the variables, the signal's variable over the general one.
        (
            Some("http://f:4317"),
            None,
            &[(ALL, "http://e:4318")],
            Grpc,
            "http://f:4317",
        ),
        (
            None,
            None,
            &[(ALL, "http://e:4318")],
            Http,
            "http://e:4318/v1/traces",
        ),
        (
            None,
            None,
            &[(ALL, "http://e:4318"), (OWN, "http://t:1/own")],
            Http,
            "http://t:1/own",
        ),
        (None, None, &[(OWN, "http://t:1")], Http, "http://t:1/"),
        (
            Some("http://c:4318"),
            None,
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            Grpc,
            "http://c:4318",
        ),
        (
            Some("http://c:4318"),
            Some("http/protobuf"),
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            Http,
            "http://c:4318/v1/traces",
        ),
    ];
    for (endpoint, protocol, env, want_protocol, want) in cases {
        assert_eq!(
            target(*endpoint, *protocol, env),
            (*want_protocol, (*want).to_owned()),
            "{endpoint:?} {protocol:?} {env:?}"
        );
    }
}

#[test]
fn metrics_have_their_own_settings() {
    let resolve = |flag: Option<&str>, env: &[(&str, &str)]| {
        let found = Config::resolve_metrics(flag, None, &|name| {
            let found = env.iter().find(|(n, _)| *n == name);
            found.map(|(_, v)| (*v).to_owned())
        });
        let config = found.unwrap();
        config.map(|c| (c.endpoint, c.schedule_delay.as_millis()))
    };
    let at = |endpoint: &str, millis| Some((endpoint.to_owned(), millis));
    const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://e:4318");
    assert_eq!(resolve(None, &[]), None);
    assert_eq!(
        resolve(None, &[ALL]),
        at("http://e:4318/v1/metrics", 60_000)
    );
    assert_eq!(
        resolve(
            Some("http://c/x/v1/traces"),
            &[("OTEL_METRIC_EXPORT_INTERVAL", "1500")]
        ),
        at("http://c/x/v1/metrics", 1500)
    );
    assert_eq!(
        resolve(Some("http://c:4317"), &[]),
        at("http://c:4317", 60_000)
    );
    for other in ["none", "prometheus", "console"] {
        let env = [ALL, ("OTEL_METRICS_EXPORTER", other)];
        assert_eq!(resolve(Some("http://c:4317"), &env), None);
    }
    let env = [("OTEL_METRICS_EXPORTER", "prometheus, otlp")];
    assert_eq!(
        resolve(None, &env),
        at("http://localhost:4318/v1/metrics", 60_000)
    );
    let env = [
        ALL,
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1/own"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
    ];
    assert_eq!(resolve(None, &env), at("http://m:1/own", 60_000));
}

#[test]
fn headers_from_the_environment() {
    let read = |own: &str| {
        headers(Signal::Metrics, &|name| match name {
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS" => Some(own.to_owned()),
            "OTEL_EXPORTER_OTLP_HEADERS" => Some("x=all".to_owned()),
            _ => None,
        })
    };
    let all = read(" Authorization = Bearer%20a%3Db%zz , x-b=1=2,").unwrap();
    assert_eq!(all["authorization"], "Bearer a=b%zz");
    assert_eq!(all["x-b"], "1=2");
    assert_eq!(all.len(), 2);
    assert!(!format!("{all:?}").contains("Bearer"));
    assert_eq!(read("").unwrap()["x"], "all");
    let error = read("a=1, secret").unwrap_err().to_string();
    assert_eq!(
        error,
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS: item 2 is not name=value"
    );
}

#[test]
fn the_rest_of_the_variables() {
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://e:4317"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "7000"),
    ];
    let config = resolve(None, None, &env).unwrap().unwrap();
    assert!(config.gzip);
    assert_eq!(config.timeout, Duration::from_millis(2500));
    assert_eq!(config.ca_file, Some("/ca.pem".into()));
    let identity = Some(("/c.pem".into(), "/k.pem".into()));
    assert_eq!(config.client_identity, identity);
    assert_eq!((config.max_queue, config.max_batch), (100, 100));
    assert_eq!(config.schedule_delay, Duration::from_millis(200));
    assert_eq!(config.export_timeout, Duration::from_secs(7));
}

#[test]
fn what_is_wrong_is_named() {
    let message = |endpoint, protocol, env: &[(&str, &str)]| {
        resolve(endpoint, protocol, env).unwrap_err().to_string()
    };
    assert_eq!(
        message(Some("http://"), None, &[]),
        "--otlp-endpoint: `http://` has no valid host; \
         expected something like http://localhost:4317"
    );
    assert!(message(Some("ftp://c"), None, &[]).contains("not an http or https address"));
    assert_eq!(
        message(Some("http://c"), Some("http/json"), &[]),
        "--otlp-protocol: `http/json` is not supported; use grpc or http/protobuf"
    );
    assert_eq!(
        message(Some("http://c"), None, &[("OTEL_BSP_SCHEDULE_DELAY", "5s")]),
        "OTEL_BSP_SCHEDULE_DELAY: `5s` is not a number of milliseconds"
    );
    let env = [("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem")];
    assert!(message(Some("http://c"), None, &env).contains("needs its key"));
    let env = [("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")];
    assert!(message(Some("http://c"), None, &env).contains("use gzip or none"));
}

/// Neither what is wrong with an address nor what follows of it tells a password.
#[test]
fn a_password_in_an_address_is_in_no_message() {
    for endpoint in [
        "http://user:s3cret@host:4317",
        "https://s3cret@host",
        "user:s3cret@host:4317",
        "http://user:12/s3cret@host",
        "http://user:/s3cret@host",
        "http://user:s3 cret@host",
        "http://user:?s3cret@host",
        "http:/user:s3cret@host",
        "ftp://user:s3cret@host",
        "://user:s3cret@",
    ] {
        for (flag, env) in [
            (Some(endpoint), &[][..]),
            (None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]),
            (None, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)]),
        ] {
            let message = resolve(flag, None, env).unwrap_err().to_string();
            assert!(
                !message.contains("cret") && !message.contains("user:"),
                "{message}"
            );
            assert!(
                message.contains("must not hold a user or password"),
                "{message}"
            );
            assert!(message.contains("OTEL_EXPORTER_OTLP_HEADERS"), "{message}");
        }
    }
    let path = target(Some("http://c/a%40b"), None, &[]);
    assert_eq!(path.1, "http://c/a%40b/v1/traces");
}
