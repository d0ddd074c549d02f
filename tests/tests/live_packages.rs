//! The real packages of providers other than OpenAI, traced: a plain call and a streamed one of
//! each, and an error, answered over TLS by a server of our own with exchanges of our own making
//! (`exchanges/`).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, its helpers too"
)]

use genspan_tests::need;
use genspan_tests::recordings::packages::{Group, Http, Package};
use genspan_tests::recordings::{Encoding, Recording, Server, must, replayed};
use std::path::Path;

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
    let package = Package {
        group,
        environment: "packages",
        sender,
        http2: false,
    };
    let run = replayed::run(&server, package, Http::One, &[Encoding::None], &recordings);
    let Some(run) = run.unwrap() else { return };
    assert_eq!(run.passes.len(), 1);
    let pass = &run.passes[0];
    let text = pass.report.text();
    println!("{}: {text}", run.sdk);
    assert!(pass.report.bugs.is_empty(), "{text}");
    assert_eq!(pass.report.own.spans, exchanges.len(), "{text}");
    assert_eq!(run.raw, 0, "the package itself sends them");
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
