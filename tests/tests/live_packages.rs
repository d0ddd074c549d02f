//! The real packages of providers other than OpenAI, traced: a plain call and a streamed one of
//! each, and an error, answered over TLS by a server of our own with exchanges of our own making
//! (`exchanges/`). That server is traced as well: what it serves is told as what is called.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, its helpers too"
)]

use anyhow::Result;
use genspan::vocabulary::attr;
use genspan_tests::recordings::packages::{Group, Http, Package};
use genspan_tests::recordings::{Encoding, Recording, Report, Server, must, replayed};
use genspan_tests::{Agent, Call, Span, Temp, need, programs};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// The spans of both ends of a connection, in the order in which they were told.
struct Ends {
    exchanges: usize,
    made: Vec<Span>,
    served: Vec<Span>,
}

impl Ends {
    /// Each exchange was a call.
    fn assert_only_calls(&self) {
        let told = (self.made.len(), self.served.len());
        assert_eq!(told, (self.exchanges, self.exchanges));
    }
}

/// Sends the exchanges of this file with the package that the sender knows, from the environment
/// where packages are.
fn calls(file: &str, group: Group, sender: &'static str) -> Option<Ends> {
    calls_from("packages", file, group, sender)
}

/// The same from another environment.
fn calls_from(
    environment: &'static str,
    file: &str,
    group: Group,
    sender: &'static str,
) -> Option<Ends> {
    need::root().unwrap()?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("exchanges")
        .join(file);
    let recordings = [Recording::own(&file).unwrap()];
    let exchanges = &recordings[0].exchanges;
    let calls = exchanges.iter().filter(|x| must::of(x).is_some()).count();
    let server = Server::start_own(&recordings).unwrap()?;
    let temp = Temp::new().unwrap();
    let serving = Agent::attach(&temp, &[server.pid()], &replayed::QUIET).unwrap();
    let package = Package {
        group,
        environment,
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
    let run = run.unwrap()?;
    assert_eq!(run.raw, 0, "the package itself sends them");
    assert!(served.spans.iter().all(|s| s.kind() == "SERVER"));
    let other_end = run.other_end(&served.lines, &recordings).unwrap();
    for (end, passes) in [("made", &run.passes), ("served", &other_end)] {
        assert_eq!(passes.len(), 1);
        let report: &Report = &passes[0].report;
        let text = format!("{}, {end}: {}", run.sdk, report.text());
        println!("{text}");
        assert!(report.bugs.is_empty(), "{text}");
        assert_eq!(report.own.spans, calls, "{text}");
        assert_eq!(report.silent, exchanges.len() - calls, "{text}");
    }
    Some(Ends {
        exchanges: exchanges.len(),
        made: Span::all(&run.lines).unwrap(),
        served: served.spans,
    })
}

/// Sends exchanges each of which is a call.
fn only_calls(file: &str, group: Group, sender: &'static str) {
    if let Some(ends) = calls(file, group, sender) {
        ends.assert_only_calls();
    }
}

#[test]
fn anthropic() {
    only_calls("anthropic.yaml", Group::Anthropic, "anthropic_package");
}

/// A task is one call of whoever makes it and asks after it, from the one to the end of the other.
/// Who serves it has made it with the first request, and is asked by requests that are no calls.
#[test]
fn dashscope() {
    let file = "dashscope.yaml";
    let Some(ends) = calls(file, Group::DashScope, "dashscope_package") else {
        return;
    };
    let tasks = |end: &[Span]| {
        let made = |s: &&Span| s.text(attr::OPERATION_NAME) == "generate_content";
        end.iter().filter(made).cloned().collect::<Vec<_>>()
    };
    let (made, served) = (tasks(&ends.made), tasks(&ends.served));
    let told = |span: &Span| {
        (
            span.model().to_owned(),
            span.number(attr::TASK_POLLS),
            span.list(attr::RESPONSE_FINISH_REASONS).join(" "),
            span.text(attr::RESPONSE_ID).to_owned(),
        )
    };
    let of = |model: &str, polls, reason: &str, n: u8| {
        let id = format!("0f2a7c31-5d64-4b9e-8a17-c3d2e1f00a0{n}");
        (model.to_owned(), polls, reason.to_owned(), id)
    };
    assert_eq!(
        made.iter().map(told).collect::<Vec<_>>(),
        [
            of("wanx-t", Some(3), "stop", 1),
            of("wan-t", None, "cancelled", 2)
        ]
    );
    assert_eq!(
        served.iter().map(told).collect::<Vec<_>>(),
        [of("wanx-t", None, "", 1), of("wan-t", None, "", 2)]
    );
    assert_eq!(picture(&made[0]), DOOR);
    for span in made.iter().chain(&served) {
        assert_eq!(span.0["status"]["code"], "UNSET", "{}", span.0);
        assert!(span.error().is_empty() && span.defects().is_empty());
        let asked = span.texts(attr::INPUT_MESSAGES).concat();
        assert!(asked.contains("door"), "{}", span.0);
    }
    // The answers to three questions lie between.
    assert!(made[0].duration() > served[0].duration());
}

/// Where the picture lies that a task made.
const DOOR: &str = "https://example.org/door.png";

/// Where the picture lies that is the answer.
fn picture(span: &Span) -> String {
    let messages = span.messages(attr::OUTPUT_MESSAGES);
    let part = messages.first().map(|m| m["parts"][0].clone());
    let part = part.unwrap_or_default();
    assert_eq!(part["modality"], "image", "{}", span.0);
    part["uri"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn google_genai() {
    only_calls("google.yaml", Group::Google, "google_genai");
}

#[test]
fn boto3() {
    only_calls("bedrock.yaml", Group::Bedrock, "boto");
}

#[test]
fn cohere() {
    only_calls("cohere.yaml", Group::Cohere, "cohere_package");
}

#[test]
fn ollama() {
    only_calls("ollama.yaml", Group::Ollama, "ollama_package");
}

#[test]
fn mistralai() {
    only_calls("mistral.yaml", Group::Mistral, "mistral_package");
}

/// Whoever speaks as OpenAI does, each in its own way: asked with OpenAI's package.
#[test]
fn hosted() {
    let (file, sender) = ("hosted.yaml", "openai_package");
    if let Some(ends) = calls_from("sdk-new", file, Group::OpenAi, sender) {
        ends.assert_only_calls();
    }
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

/// An answer with this document.
fn answer(status: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// DashScope's package asks after a task by itself, and sleeps for a second between.
#[test]
fn waiting_of_dashscope() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment("packages")?) else {
        return Ok(());
    };
    let id = "0f2a7c31-5d64-4b9e-8a17-c3d2e1f00a03";
    let task = |status: &str| json!({"request_id": "r-1", "output": {"task_id": id, "task_status": status}});
    let mut done = task("SUCCEEDED");
    done["output"]["results"] = json!([{"url": DOOR}]);
    done["usage"] = json!({"image_count": 1});
    let all = [task("PENDING"), task("RUNNING"), done];
    let port = answers(all.iter().map(|a| answer("200 OK", a)).collect())?;
    let mut command = Command::new(python);
    command
        .arg(programs().join("live/dashscope_image.py"))
        .arg(format!("http://127.0.0.1:{port}/api/v1"))
        .env("NO_PROXY", "127.0.0.1")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let temp = Temp::new()?;
    let mut agent = Agent::run(&temp, &["--http-spans", "off"], &command)?;
    let seen: Value = serde_json::from_str(&agent.process.line()?)?;
    assert_eq!(seen, json!({"status": "SUCCEEDED", "url": DOOR}));
    let finished = agent.wait()?;
    let [span] = &finished.spans[..] else {
        panic!("not one span: {}", finished.lines);
    };
    assert_eq!(span.model(), "wanx-t");
    assert_eq!(span.number(attr::TASK_POLLS), Some(2), "{}", span.0);
    assert_eq!(span.text(attr::RESPONSE_ID), id);
    assert_eq!(span.list(attr::RESPONSE_FINISH_REASONS), ["stop"]);
    assert_eq!(picture(span), DOOR);
    assert!(span.duration() >= 1_000_000_000, "{}", span.0);
    assert!(span.error().is_empty() && span.defects().is_empty());
    Ok(())
}

/// The attempts that botocore makes are one call, which says how often it was sent again.
#[test]
fn attempts_of_boto3() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment("packages")?) else {
        return Ok(());
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
