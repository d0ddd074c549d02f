//! What `deploy/` has is what genspan understands, and what a service manager takes. What Kubernetes takes:
//! `manifests.rs`.

use anyhow::{Context as _, Result};
use genspan::metrics::instrument::{self, Kind};
use genspan::vocabulary::own;
use genspan_tests::{Agent, Client, Scene, Span, agent, need, privileges, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

fn deploy(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy")).join(name)
}

const MANIFESTS: [&str; 2] = [
    "kubernetes/genspan.yaml",
    "kubernetes/genspan-privileged.yaml",
];

fn documents(name: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(deploy(name))?;
    // What is before the first is a comment.
    let all = text.split("---\n").skip(1).map(serde_yaml_ng::from_str);
    Ok(all.collect::<Result<_, _>>()?)
}

fn container(name: &str) -> Result<Value> {
    let all = documents(name)?;
    let set = all.iter().find(|d| d["kind"] == "DaemonSet");
    let set = set.context("no DaemonSet")?;
    Ok(set["spec"]["template"]["spec"]["containers"][0].clone())
}

/// Whether the agent takes these arguments; they are read up to the last, which asks for help.
fn understood(arguments: &[&str]) -> Result<bool> {
    let mut all = arguments.to_vec();
    all.push("--help");
    Ok(agent::command(&all)?.output()?.status.success())
}

#[test]
fn both_manifests_are_the_same_but_for_privileges() -> Result<()> {
    let [few, all] = MANIFESTS.map(documents);
    let (few, all) = (few?, all?);
    // Namespace, account, role and its binding, rules, DaemonSet.
    assert_eq!(few.len(), 6);
    let without = |mut documents: Vec<Value>| {
        for document in &mut documents {
            let at = "/spec/template/spec/containers/0";
            let container = document.pointer_mut(at).and_then(Value::as_object_mut);
            container.and_then(|c| c.remove("securityContext"));
        }
        documents
    };
    assert_eq!(without(few), without(all));
    let security = container(MANIFESTS[0])?["securityContext"].clone();
    assert_eq!(security["privileged"], false);
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    // The same as the unit's.
    let mut unit = unit_capabilities()?;
    unit.sort_unstable();
    let mut added: Vec<String> = security["capabilities"]["add"]
        .as_array()
        .context("no capabilities")?
        .iter()
        .filter_map(|c| Some(format!("CAP_{}", c.as_str()?)))
        .collect();
    added.sort_unstable();
    assert_eq!(added, unit);
    assert_eq!(
        container(MANIFESTS[1])?["securityContext"]["privileged"],
        true
    );
    Ok(())
}

#[test]
fn command_lines_are_understood() -> Result<()> {
    assert!(!understood(&["agent", "--no-such-thing"])?);
    let arguments = container(MANIFESTS[0])?["args"].clone();
    let arguments = arguments.as_array().context("no arguments")?;
    let arguments: Vec<_> = arguments.iter().filter_map(Value::as_str).collect();
    assert_eq!(arguments[0], "agent");
    assert!(understood(&arguments)?, "{arguments:?}");
    let line = unit("ExecStart")?;
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    assert!(understood(&words)?, "{words:?}");
    Ok(())
}

/// The value of a setting of the unit.
fn unit(setting: &str) -> Result<String> {
    let text = fs::read_to_string(deploy("systemd/genspan.service"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
    Ok(line.with_context(|| format!("no {setting}"))?.to_owned())
}

fn unit_capabilities() -> Result<Vec<String>> {
    let all = unit("AmbientCapabilities")?;
    assert_eq!(all, unit("CapabilityBoundingSet")?);
    Ok(all.split(' ').map(str::to_owned).collect())
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() -> Result<()> {
    let mut known = BTreeSet::new();
    for instrument in instrument::ALL {
        let mut name = instrument.name.replace('.', "_");
        if instrument.unit == "s" {
            name += "_seconds";
        }
        let ends: &[&str] = match instrument.kind {
            Kind::Histogram(_) => &["_bucket", "_sum", "_count"],
            Kind::Sum => &["_total"],
            Kind::Gauge => &[""],
        };
        known.extend(ends.iter().map(|end| format!("{name}{end}")));
    }
    let own = [
        own::CPU,
        own::RESIDENT,
        own::OPEN_FILES,
        own::PROCESSES,
        own::CALLS,
        own::INCOMPLETE,
        own::LEFT_OUT,
        own::EXPORT_DROPPED,
        own::EXPORT_ERRORS,
        own::SPOOL_ITEMS,
    ];
    known.extend(own.map(str::to_owned));
    let text = fs::read_to_string(deploy("grafana/genspan.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        for target in panel["targets"].as_array().context("no targets")? {
            let expression = target["expr"].as_str().context("no expression")?;
            // What is in braces and in `by (…)` are labels.
            let mut rest = String::new();
            let mut labels = false;
            for part in expression.split_inclusive(['{', '}', '(', ')']) {
                let end = part.chars().last();
                if !labels {
                    rest.push_str(part);
                }
                labels = match end {
                    Some('{') => true,
                    Some('(') => part.trim_end_matches(['(', ' ']).ends_with("by"),
                    _ => false,
                };
            }
            let words = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let names = words.filter(|w| {
                ["gen_ai_", "genspan_", "process_"]
                    .iter()
                    .any(|p| w.starts_with(p))
            });
            let names: Vec<_> = names.map(str::to_owned).collect();
            assert!(
                !names.is_empty(),
                "it asks for nothing of ours: {expression}"
            );
            asked.extend(names);
        }
    }
    assert!(asked.len() > 8, "{asked:?}");
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?} of {known:?}");
    Ok(())
}

fn chat(model: &str) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "messages": [{"role": "user", "content": "one"}]}})
}

/// The unit's command line, as a user who is nobody, with the unit's capabilities and no others.
#[test]
fn the_unit_traces_with_its_capabilities_alone() -> Result<()> {
    let (Some(scene), Some(plain), Some(sdk)) = (
        Scene::new()?,
        Scene::plain()?,
        need::environment("sdk-new")?,
    ) else {
        return Ok(());
    };
    fs::set_permissions(scene.temp.file(""), fs::Permissions::from_mode(0o777))?;
    fs::create_dir(scene.temp.file("it"))?;
    let here = scene.temp.file("it").display().to_string();
    let config = scene.temp.file("rules.yaml");
    fs::write(&config, format!("include: ['command=*{here}/*']\n"))?;
    let mut command = scene.live(&sdk, "client.py");
    let mut app = Client::start(
        command.arg("openai").arg(format!("{here}/tls")),
        &scene.next_log(),
    )?;
    let mut command = plain.live(&sdk, "client.py");
    // There is none, and the SDK looks for it all the same.
    command.env_remove("SSL_CERT_FILE");
    let mut bare = Client::start(
        command.arg("openai").arg(format!("{here}/plain")),
        &scene.next_log(),
    )?;
    let output = scene.temp.file("spans.jsonl").display().to_string();
    let socket = Agent::socket(&scene.temp).display().to_string();
    let state = ["--listen", "0", "--socket", &socket].map(str::to_owned);
    let words: Vec<String> = unit("ExecStart")?
        .split(' ')
        .skip(1)
        .map(|word| match word {
            "/etc/genspan/rules.yaml" => config.display().to_string(),
            "/dev/null" => output.clone(),
            word => word.to_owned(),
        })
        .chain(state)
        .collect();
    let mut agent = Agent::unprivileged(&scene.temp, &unit_capabilities()?, &words)?;
    agent.wait_attached(app.pid())?;
    agent.wait_attached(bare.pid())?;
    wait_for("the agent to be ready", || {
        (agent.page("/readyz").ok()?.0 == 200).then_some(())
    })?;
    app.call(&chat("over TLS"))?;
    bare.call(&chat("plain"))?;
    agent.wait_for_spans(2)?;

    // No thread of it has anything else, or ever will, or may do what only an attacker would.
    let threads = privileges::of_threads(agent.process.pid())?;
    assert!(threads.len() > 2, "{threads:?}");
    for thread in &threads {
        assert_eq!(thread.user, 65534, "{thread:?}");
        assert!(thread.has_only(&privileges::KEPT), "{thread:?}");
    }

    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    let mut models: Vec<_> = finished.spans.iter().map(Span::model).collect();
    models.sort_unstable();
    assert_eq!(models, ["over TLS", "plain"], "{}", finished.log);
    Ok(())
}
