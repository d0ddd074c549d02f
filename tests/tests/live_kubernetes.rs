//! What Kubernetes says of the pods of a node: in the resources of the processes in them, and in rules.

use anyhow::{Context as _, Result};
use genspan_tests::{Agent, Cgroup, Client, Scene, Span, need, programs, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

const NODE: &str = "node-1";
const TOKEN: &str = "token-0123456789abcdef";

/// The stand-in for the API server.
struct Api(Client);

impl Api {
    fn start(scene: &Scene, python: &Path) -> Result<Self> {
        let mut command = Command::new(python);
        command
            .arg(programs().join("kubernetes/api.py"))
            .arg(scene.temp.file(""))
            .arg(TOKEN);
        Client::start(&mut command, &scene.next_log()).map(Self)
    }

    fn tell(&mut self, step: &Value) -> Result<Value> {
        self.0.ask(step)
    }

    fn put(&mut self, pod: &Value) -> Result<()> {
        self.tell(&json!({"do": "put", "pod": pod})).map(drop)
    }

    /// How often something was asked for.
    fn seen(&mut self, what: &str) -> Result<u64> {
        Ok(self.tell(&json!({"do": "seen"}))?[what]
            .as_u64()
            .unwrap_or(0))
    }
}

/// A pod of this node, as the API has it before its container is started.
fn pod(cgroup: &Cgroup, name: &str, namespace: &str) -> Value {
    json!({
        "metadata": {
            "uid": cgroup.pod, "name": name, "namespace": namespace,
            "labels": {"team": "a", "app.kubernetes.io/name": "unused"},
            "annotations": {"resource.opentelemetry.io/tier": "gold"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "shop-5d", "uid": format!("rs-{name}"),
                                 "controller": true}],
        },
        "spec": {"nodeName": NODE, "containers": [{"name": "web", "image": "r.example/shop:1.2"}]},
        "status": {},
    })
}

/// The same when the kubelet has told of its container.
fn running(mut pod: Value, cgroup: &Cgroup) -> Value {
    pod["status"]["containerStatuses"] = json!([{
        "name": "web", "containerID": format!("containerd://{}", cgroup.container),
        "image": "r.example/shop:1.2", "restartCount": 3}]);
    pod
}

fn client(scene: &Scene, python: &Path, cgroup: &Cgroup) -> Result<Client> {
    let inside = scene.live(python, "client.py");
    let mut command = cgroup.command(python);
    command.args(inside.get_args()).arg("openai");
    command.envs(inside.get_envs().filter_map(|(k, v)| Some((k, v?))));
    Client::start(&mut command, &scene.next_log())
}

fn chat(model: &str) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "messages": [{"role": "user", "content": "one"}]}})
}

fn status(agent: &mut Agent) -> Result<Value> {
    Ok(serde_json::from_str(&agent.page("/status")?.1)?)
}

/// Requests to the API that the agent says failed, if any did.
fn failed(agent: &mut Agent) -> Option<u64> {
    let status = status(agent).ok()?;
    let mut losses = status["losses"].as_array()?.iter();
    let of = |loss: &&Value| {
        let what = loss["what"].as_str();
        what.is_some_and(|what| what.starts_with("requests to Kubernetes that failed"))
    };
    losses.find(of)?["count"].as_u64()
}

/// What the state says of a process: how it stands, and why not.
fn standing(agent: &mut Agent, pid: u32) -> Option<(String, String)> {
    let status = status(agent).ok()?;
    let all = status["processes"].as_array()?;
    let one = all.iter().find(|p| p["pid"] == pid)?;
    let why = one["why_not"][0].as_str().unwrap_or_default().to_owned();
    Some((one["state"].as_str()?.to_owned(), why))
}

fn config(scene: &Scene, port: u64) -> Result<(String, std::path::PathBuf)> {
    let (file, kubeconfig) = (scene.temp.file("rules.yaml"), scene.temp.file("kubeconfig"));
    let token = scene.temp.file("token");
    fs::write(&token, TOKEN)?;
    let authority = scene.temp.file("api.pem");
    fs::write(
        &kubeconfig,
        json!({
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": format!("https://127.0.0.1:{port}"), "certificate-authority": authority}}],
            "users": [{"name": "u", "user": {"tokenFile": token}}],
        })
        .to_string(),
    )?;
    fs::write(
        &file,
        json!({
            "include": ["namespace=shop-*"],
            "exclude": ["label:genspan=off"],
            "kubernetes": {"kubeconfig": kubeconfig, "node": NODE, "labels": ["team"]},
        })
        .to_string(),
    )?;
    Ok((file.display().to_string(), token))
}

#[test]
fn processes_of_pods_have_their_attributes() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("sdk-new")?) else {
        return Ok(());
    };
    let groups = [1, 2, 3, 4].map(Cgroup::new);
    let [early, left, late, last] = groups;
    let (early, left, late, last) = (early?, left?, late?, last?);
    let mut api = Api::start(&scene, &python)?;
    let port = api.tell(&json!({"do": "port"}))?["port"]
        .as_u64()
        .context("no port")?;
    let (config, token) = config(&scene, port)?;
    api.put(&running(pod(&early, "shop-5d-x", "shop-eu"), &early))?;
    // What its name does not say.
    let set = json!({"metadata": {"name": "shop-5d", "ownerReferences": [
        {"kind": "Deployment", "name": "frontend", "uid": "d", "controller": true}]}});
    let path = "apis/apps/v1/namespaces/shop-eu/replicasets/shop-5d";
    api.tell(&json!({"do": "own", "path": path, "object": set}))?;
    let mut off = pod(&left, "shop-off", "shop-eu");
    off["metadata"]["labels"]["genspan"] = json!("off");
    api.put(&off)?;
    // More than a page has, of this node and of others.
    for number in 0..60 {
        let node = if number % 10 == 0 { "node-2" } else { NODE };
        api.put(
            &json!({"metadata": {"uid": format!("other-{number}"), "name": "other"},
                        "spec": {"nodeName": node}, "status": {}}),
        )?;
    }

    let mut first = client(&scene, &python, &early)?;
    let mut excluded = client(&scene, &python, &left)?;
    let mut unknown = client(&scene, &python, &late)?;
    let mut agent = Agent::host(&scene.temp, &["--config", &config])?;
    agent.wait_attached(first.pid())?;
    agent.wait_for_log("Kubernetes: 56 pods of node node-1")?;
    first.call(&chat("early"))?;
    agent.wait_for_spans(1)?;
    let of_label = "excluded by `label:genspan=off`";
    wait_for("the excluded one to be left", || {
        let (state, why) = standing(&mut agent, excluded.pid())?;
        (state == "not_traced" && why == of_label).then_some(())
    })?;
    excluded.call(&chat("excluded"))?;

    // One of which nothing is known may be one that is excluded.
    wait_for("the unknown one to wait", || {
        let (state, why) = standing(&mut agent, unknown.pid())?;
        (state == "not_traced" && why.contains("its pod is not known")).then_some(())
    })?;
    unknown.call(&chat("unknown"))?;
    api.tell(&json!({"do": "raw", "text": "{\"type\": \"NEW\"}"}))?;
    api.put(&pod(&late, "shop-5d-y", "shop-us"))?;
    agent.wait_attached(unknown.pid())?;
    unknown.call(&chat("bare"))?;
    agent.wait_for_spans(2)?;
    api.put(&running(pod(&late, "shop-5d-y", "shop-us"), &late))?;
    // It is told for all that is told from then on; what comes before that is not known.
    let mut calls = 2;
    wait_for("the container's name to be told", || {
        unknown.call(&chat("late")).ok()?;
        calls += 1;
        agent.wait_for_spans(calls).ok()?;
        let spans = agent.spans().ok()?;
        let last = spans.last()?;
        (last.resource("k8s.container.name") == "web").then_some(())
    })?;

    // The token is another one; then nobody answers; then what was is forgotten.
    api.tell(&json!({"do": "token", "token": "other-token"}))?;
    agent.wait_for_log("it answers 401 Unauthorized")?;
    fs::write(&token, "other-token\n")?;
    agent.wait_for_log("Kubernetes answers again")?;
    let lists = api.seen("list")?;
    let before = failed(&mut agent).context("no request failed when the token was another one")?;
    api.tell(&json!({"do": "down"}))?;
    wait_for("a request to fail", || {
        (failed(&mut agent)? > before).then_some(())
    })?;
    api.tell(&json!({"do": "delete", "uid": "other-1"}))?;
    api.put(&running(pod(&last, "shop-5d-z", "shop-as"), &last))?;
    api.tell(&json!({"do": "expire"}))?;
    api.tell(&json!({"do": "up"}))?;
    let mut third = client(&scene, &python, &last)?;
    agent.wait_attached(third.pid())?;
    assert!(api.seen("list")? > lists, "it was not listed anew");
    third.call(&chat("last"))?;
    agent.wait_for_spans(calls + 1)?;

    let losses = status(&mut agent)?["losses"].to_string();
    assert!(
        losses.contains("answers of Kubernetes that make no sense"),
        "{losses}"
    );
    agent.process.signal(Signal::SIGTERM)?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(!finished.log.contains(TOKEN) && !finished.log.contains("other-token"));
    check(&finished.spans, [&early, &late, &last])
}

/// What the spans say, by the model that was asked.
fn check(spans: &[Span], [early, late, last]: [&Cgroup; 3]) -> Result<()> {
    let of = |model: &str| {
        let found = spans.iter().find(|span| span.model() == model);
        found.with_context(|| format!("no span of {model}"))
    };
    for model in ["excluded", "unknown"] {
        assert!(of(model).is_err(), "{model}");
    }
    let span = of("early")?;
    for (name, value) in [
        ("service.name", json!("frontend")),
        ("service.namespace", json!("shop-eu")),
        ("service.version", json!("1.2")),
        ("container.id", json!(early.container)),
        ("container.image.name", json!("r.example/shop")),
        ("container.image.tags", json!(["1.2"])),
        ("k8s.container.name", json!("web")),
        ("k8s.container.restart_count", json!(3)),
        ("k8s.pod.uid", json!(early.pod)),
        ("k8s.pod.name", json!("shop-5d-x")),
        ("k8s.pod.label.team", json!("a")),
        ("k8s.pod.label.app.kubernetes.io/name", Value::Null),
        ("k8s.namespace.name", json!("shop-eu")),
        ("k8s.node.name", json!(NODE)),
        ("k8s.deployment.name", json!("frontend")),
        ("k8s.replicaset.name", json!("shop-5d")),
        ("tier", json!("gold")),
    ] {
        assert_eq!(*span.resource(name), value, "{name}");
    }
    let bare = of("bare")?;
    assert_eq!(*bare.resource("k8s.pod.name"), "shop-5d-y");
    assert_eq!(*bare.resource("k8s.container.name"), Value::Null);
    assert_eq!(*bare.resource("container.id"), late.container);
    // Nobody is asked what its ReplicaSet is of, and its name does not say.
    assert_eq!(*bare.resource("service.name"), "shop-5d");
    assert_eq!(*of("last")?.resource("k8s.pod.uid"), last.pod);
    assert_eq!(*of("last")?.resource("k8s.namespace.name"), "shop-as");
    Ok(())
}

/// The configuration of an agent that asks the kubelet at this port.
fn kubelet_config(scene: &Scene, port: u64, trust: (&str, Value)) -> Result<String> {
    let (file, token) = (scene.temp.file("rules.yaml"), scene.temp.file("token"));
    fs::write(&token, TOKEN)?;
    let mut kubelet =
        json!({"address": "127.0.0.1", "port": port, "token": token, "interval_seconds": 1});
    kubelet[trust.0] = trust.1;
    let settings = json!({"include": ["namespace=shop-*"],
                          "kubernetes": {"api": "kubelet", "node": NODE, "kubelet": kubelet}});
    fs::write(&file, settings.to_string())?;
    Ok(file.display().to_string())
}

#[test]
fn the_kubelet_of_the_node_tells_pods_as_well() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("sdk-new")?) else {
        return Ok(());
    };
    let (group, late) = (Cgroup::new(5)?, Cgroup::new(6)?);
    let mut api = Api::start(&scene, &python)?;
    api.tell(&json!({"do": "kubelet", "node": NODE}))?;
    let port = api.tell(&json!({"do": "port"}))?["port"].as_u64();
    let port = port.context("no port")?;
    let mut one = pod(&group, "shop-5d-x", "shop-eu");
    one["metadata"]["labels"]["pod-template-hash"] = json!("5d");
    api.put(&running(one, &group))?;
    api.put(&json!({"metadata": {"uid": "other"}, "spec": {"nodeName": "node-2"}, "status": {}}))?;

    let authority = json!(scene.temp.file("api.pem"));
    let config = kubelet_config(&scene, port, ("certificate_authority", authority))?;
    let mut first = client(&scene, &python, &group)?;
    let mut second = client(&scene, &python, &late)?;
    let mut agent = Agent::host(&scene.temp, &["--config", &config])?;
    agent.wait_attached(first.pid())?;
    agent.wait_for_log("Kubernetes: 1 pods of node node-1")?;
    first.call(&chat("early"))?;
    agent.wait_for_spans(1)?;
    api.tell(&json!({"do": "down"}))?;
    agent.wait_for_log("Kubernetes cannot be asked")?;
    api.put(&running(pod(&late, "shop-5d-y", "shop-us"), &late))?;
    api.tell(&json!({"do": "up"}))?;
    agent.wait_attached(second.pid())?;
    second.call(&chat("late"))?;
    agent.wait_for_spans(2)?;
    agent.process.signal(Signal::SIGTERM)?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(!finished.log.contains(TOKEN));
    let seen = |api: &mut Api, what| api.seen(what);
    assert_eq!(
        seen(&mut api, "list")? + seen(&mut api, "watch")? + seen(&mut api, "owner")?,
        0
    );
    for (model, group, name, deployment) in [
        ("early", &group, "shop-5d-x", json!("shop")),
        ("late", &late, "shop-5d-y", Value::Null),
    ] {
        let span = finished.spans.iter().find(|s| s.model() == model);
        let span = span.with_context(|| format!("no span of {model}"))?;
        assert_eq!(*span.resource("k8s.pod.name"), name);
        assert_eq!(*span.resource("k8s.pod.uid"), group.pod);
        assert_eq!(*span.resource("k8s.container.name"), "web");
        assert_eq!(*span.resource("k8s.deployment.name"), deployment);
        assert_eq!(*span.resource("k8s.node.name"), NODE);
    }

    // A certificate that nobody vouches for is taken where that is said, and nowhere else.
    let other = scene.temp.file("other.pem");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=other", "-keyout"])
        .arg(scene.temp.file("other.key"))
        .arg("-out")
        .arg(&other)
        .output()?;
    anyhow::ensure!(made.status.success(), "no certificate");
    let asked = api.seen("kubelet")?;
    let config = kubelet_config(&scene, port, ("certificate_authority", json!(other)))?;
    let mut agent = Agent::host(&scene.temp, &["--config", &config])?;
    agent.wait_for_log("Kubernetes cannot be asked")?;
    agent.process.signal(Signal::SIGTERM)?;
    agent.wait()?;
    assert_eq!(api.seen("kubelet")?, asked, "it was asked all the same");
    let config = kubelet_config(&scene, port, ("insecure_skip_verify", json!(true)))?;
    let mut agent = Agent::host(&scene.temp, &["--config", &config])?;
    agent.wait_for_log("Kubernetes: 2 pods of node node-1")?;
    agent.process.signal(Signal::SIGTERM)?;
    agent.wait()?;
    Ok(())
}

#[test]
fn without_kubernetes_cgroups_say_what_they_say() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("sdk-new")?) else {
        return Ok(());
    };
    let group = Cgroup::new(9)?;
    let mut app = client(&scene, &python, &group)?;
    let rules = scene.temp.file("rules.yaml");
    let include = [format!("pod={}", group.pod)];
    fs::write(&rules, json!({"include": include}).to_string())?;
    let config = rules.display().to_string();
    let mut agent = Agent::host(&scene.temp, &["--config", &config])?;
    agent.wait_attached(app.pid())?;
    app.call(&chat("alone"))?;
    agent.wait_for_spans(1)?;
    // There is nobody to say what a rule asks from here on.
    let asking = json!({"include": include, "exclude": ["label:genspan=off"]});
    fs::write(&rules, asking.to_string())?;
    agent.process.signal(Signal::SIGHUP)?;
    agent.wait_for_log("rules ask for what Kubernetes knows, and there is none to ask")?;
    agent.process.signal(Signal::SIGTERM)?;
    let finished = agent.wait()?;
    let span = finished.spans.first().context("no span")?;
    assert_eq!(*span.resource("container.id"), group.container);
    assert_eq!(*span.resource("k8s.pod.uid"), group.pod);
    assert_eq!(*span.resource("k8s.pod.name"), Value::Null);
    assert_eq!(*span.resource("service.name"), "client");
    Ok(())
}
