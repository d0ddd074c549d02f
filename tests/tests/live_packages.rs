//! The real packages of providers other than OpenAI, traced: a plain call and a streamed one of
//! each, and an error, answered over TLS by a server of our own with exchanges of our own making
//! (`exchanges/`). That server is traced as well: what it serves is told as what is called.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, its helpers too"
)]

use anyhow::Result;
use genspan_tests::recordings::packages::{Group, Http, Package};
use genspan_tests::recordings::{Encoding, Recording, Report, Server, must, replayed};
use genspan_tests::{Agent, Call, Temp, need, programs};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// Sends the exchanges of this file with the package that the sender knows.
fn calls(file: &str, group: Group, sender: &'static str) {
    if need::root().unwrap().is_none() {
        return;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("exchanges")
        .join(file);
    let recordings = [Recording::own(&file).unwrap()];
    let exchanges = &recordings[0].exchanges;
    assert!(exchanges.iter().all(|x| must::of(x).is_some()));
    let Some(server) = Server::start_own(&recordings).unwrap() else {
        return;
    };
    let temp = Temp::new().unwrap();
    let serving = Agent::attach(&temp, &[server.pid()], &replayed::QUIET).unwrap();
    let package = Package {
        group,
        environment: "packages",
        sender,
        http2: false,
    };
    let run = replayed::run(
        &server,
        (package, Http::One),
        &[Encoding::None],
        &recordings,
        (None, false),
    );
    let served = serving.stop().unwrap();
    assert_eq!(served.code, 0, "{}", served.log);
    let Some(run) = run.unwrap() else { return };
    assert_eq!(run.raw, 0, "the package itself sends them");
    assert!(served.spans.iter().all(|s| s.kind() == "SERVER"));
    let other_end = run.other_end(&served.lines, &recordings).unwrap();
    for (end, passes) in [("made", &run.passes), ("served", &other_end)] {
        assert_eq!(passes.len(), 1);
        let report: &Report = &passes[0].report;
        let text = format!("{}, {end}: {}", run.sdk, report.text());
        println!("{text}");
        assert!(report.bugs.is_empty(), "{text}");
        assert_eq!(report.own.spans, exchanges.len(), "{text}");
    }
}

#[test]
fn anthropic() {
    calls("anthropic.yaml", Group::Anthropic, "anthropic_package");
}

#[test]
fn dashscope() {
    calls("dashscope.yaml", Group::DashScope, "dashscope_package");
}

#[test]
fn google_genai() {
    calls("google.yaml", Group::Google, "google_genai");
}

#[test]
fn boto3() {
    calls("bedrock.yaml", Group::Bedrock, "boto");
}

#[test]
fn cohere() {
    calls("cohere.yaml", Group::Cohere, "cohere_package");
}

#[test]
fn ollama() {
    calls("ollama.yaml", Group::Ollama, "ollama_package");
}

#[test]
fn mistralai() {
    calls("mistral.yaml", Group::Mistral, "mistral_package");
}

/// A server that answers each connection's one request with the next of these; gives its port.
fn answers(list: Vec<String>) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || -> std::io::Result<()> {
        for answer in list {
            let (mut stream, _) = listener.accept()?;
            let mut request = BufReader::new(&stream);
            let (mut line, mut length) = (String::new(), 0);
            while request.read_line(&mut line)? > 2 {
                let (name, value) = line.split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap_or(0);
                }
                line.clear();
            }
            request.read_exact(&mut vec![0; length])?;
            stream.write_all(answer.as_bytes())?;
        }
        Ok(())
    });
    Ok(port)
}

/// The attempts that botocore makes are one call, which says how often it was sent again.
#[test]
fn attempts_of_boto3() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment("packages")?) else {
        return Ok(());
    };
    let answer = |status: &str, body: &Value| {
        let body = body.to_string();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let refused = answer("503 Service Unavailable", &json!({"message": "busy"}));
    let done = json!({"output": {"message": {"role": "assistant", "content": [{"text": "Red."}]}},
        "stopReason": "end_turn", "usage": {"inputTokens": 4, "outputTokens": 2, "totalTokens": 6},
        "metrics": {"latencyMs": 3}});
    let port = answers(vec![refused.clone(), refused, answer("200 OK", &done)])?;
    let mut command = Command::new(python);
    command
        .arg(programs().join("live/boto_retries.py"))
        .arg(format!("http://127.0.0.1:{port}"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let temp = Temp::new()?;
    let mut agent = Agent::run(&temp, &["--http-spans", "off"], &command)?;
    let seen: Value = serde_json::from_str(&agent.process.line()?)?;
    assert_eq!(seen, json!({"text": "Red.", "retries": 2}));
    let finished = agent.wait()?;
    let calls = Call::of_spans(&finished.spans);
    assert_eq!(calls.len(), 1, "{}", finished.log);
    let call = &calls[0];
    assert_eq!(call.texts, ["Red."]);
    assert_eq!(
        (call.input, call.output, call.resends),
        (Some(4), Some(2), Some(2))
    );
    assert!(call.error.is_empty() && call.defects.is_empty(), "{call:?}");
    Ok(())
}
