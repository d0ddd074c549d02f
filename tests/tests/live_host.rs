//! A host with programs of every kind, in network and PID namespaces of their own: the agent finds them,
//! tells them apart, traces those that are to be traced, and says so rightly.

use anyhow::{Context as _, Result};
use genspan_tests::namespaces::Namespaces;
use genspan_tests::{Agent, Scene, Span, agent, need, programs, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the provider listens in the namespace.
const PROVIDER: u16 = 8443;
/// Where the model server does.
const VLLM: u16 = 8000;
/// Where the plain service does.
const FILES: u16 = 8080;
/// Where gunicorn does.
const WEB: u16 = 8090;

/// Folders and files that another root has, by name there.
fn root_of(scene: &Scene, python: &Path, site: &Path) -> Result<Value> {
    let real = fs::canonicalize(python)?;
    let prefix = real.ancestors().nth(2).context("no prefix")?;
    let system = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
    ];
    let system = system
        .iter()
        .map(PathBuf::from)
        .find(|dir| dir.join("libssl.so.3").exists());
    let system = system.context("no libssl.so.3")?;
    let private = scene.temp.file("libraries");
    fs::create_dir(&private)?;
    for name in ["libssl.so.3", "libcrypto.so.3"] {
        fs::copy(system.join(name), private.join(name))?;
    }
    Ok(json!({"at": scene.temp.file("root"), "bind": {
        "/usr": "/usr",
        // There is no other one in this root.
        system.join("libssl.so.3").to_string_lossy(): "/dev/null",
        "/dev": "/dev",
        "/proc": "/proc",
        "/opt/lib": private,
        "/opt/python": prefix,
        "/opt/site": site,
        "/opt/bot.py": programs().join("live/dashscope_text.py"),
        "/opt/ca.pem": scene.provider.authority(),
    }}))
}

/// The folder of an environment's packages.
fn site(python: &Path) -> Result<PathBuf> {
    let lib = python
        .ancestors()
        .nth(2)
        .context("no environment")?
        .join("lib");
    let found = fs::read_dir(lib)?.flatten().next().context("no lib")?;
    Ok(found.path().join("site-packages"))
}

/// A command for vLLM, with its distribution beside it: called as the real one is.
fn vllm(scene: &Scene, python: &Path) -> Result<Vec<String>> {
    let dir = scene.temp.file("vllm");
    let made = Command::new(python)
        .args(["-m", "venv", "--without-pip"])
        .arg(&dir)
        .status()?;
    anyhow::ensure!(made.success());
    let python = dir.join("bin/python");
    fs::create_dir(site(&python)?.join("vllm-0.32.0.dist-info"))?;
    let program = dir.join("bin/vllm");
    fs::copy(programs().join("live/vllm_like.py"), &program)?;
    let port = VLLM.to_string();
    let words = [
        "serve",
        "org/tiny-7b",
        "--served-model-name",
        "tiny",
        "-tp",
        "2",
        "--port",
        &port,
    ];
    let program = [python, program].map(|path| path.display().to_string());
    Ok(program
        .into_iter()
        .chain(words.map(str::to_owned))
        .collect())
}

/// What is wanted of a process.
struct Wanted {
    pid: u32,
    /// Type, service, and how the type is known, without versions.
    is: (Option<&'static str>, &'static str, Option<&'static str>),
    /// The process that stands for its service, where it is another one.
    root: Option<u32>,
    /// Version of its Python.
    python: String,
    /// The column `TLS`.
    tls: &'static str,
    /// What `genspan ps` says of it before what the agent does.
    notes: Vec<&'static str>,
    /// How many calls were told, or why it is not traced.
    verdict: Result<usize, &'static str>,
}

impl Wanted {
    fn new(
        pid: u32,
        is: (Option<&'static str>, &'static str, Option<&'static str>),
        python: &str,
    ) -> Self {
        Self {
            pid,
            is,
            root: None,
            python: python.to_owned(),
            tls: "libssl.so.3",
            notes: Vec::new(),
            verdict: Ok(0),
        }
    }

    fn calls(self, calls: usize) -> Self {
        Self {
            verdict: Ok(calls),
            ..self
        }
    }

    fn not_traced(self, why: &'static str) -> Self {
        Self {
            verdict: Err(why),
            ..self
        }
    }

    /// The lines of `genspan ps`.
    fn lines(&self) -> Vec<String> {
        let (kind, service, why) = self.is;
        let root = self
            .root
            .map(|root| format!(" ({root})"))
            .unwrap_or_default();
        let Self {
            pid, python, tls, ..
        } = self;
        let first = format!(
            "{pid} {} {service}{root} {python} {tls} {}",
            kind.unwrap_or("-"),
            why.unwrap_or_default()
        );
        let last = match self.verdict {
            Ok(calls) => format!("traced: {calls} calls"),
            Err(why) => format!("not traced: {why}"),
        };
        let notes = self.notes.iter().map(|note| (*note).to_owned());
        std::iter::once(first.trim_end().to_owned())
            .chain(notes)
            .chain([last])
            .collect()
    }

    /// What `/status` has of it that is looked at here.
    fn status(&self) -> Value {
        let (kind, service, why) = self.is;
        let (state, calls, why_not) = match self.verdict {
            Ok(calls) => ("attached", calls, Vec::new()),
            Err(why) => ("not_traced", 0, vec![why]),
        };
        json!([state, kind, service, why, self.python, calls, 0, why_not])
    }
}

/// The same of what was said.
fn status_of(process: &Value) -> Value {
    let why = process["evidence"].as_str().map(without_versions);
    let get = |name: &str| process[name].clone();
    json!([
        get("state"),
        get("type"),
        get("service"),
        why,
        get("python"),
        get("calls"),
        get("calls_incomplete"),
        get("why_not")
    ])
}

/// Without the versions of packages, which change, and without the time for which something is traced.
fn without_versions(line: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let known = ["openai", "dashscope", "gunicorn", "OpenSSL"];
        if !kept
            .last()
            .is_some_and(|last| known.contains(last) && word.contains('.'))
        {
            kept.push(word);
        }
    }
    if kept.get(..2) == Some(&["traced", "for"]) {
        kept.drain(1..4);
        kept[0] = "traced:";
    }
    kept.join(" ")
}

/// The lines of each process in what `genspan ps` says.
fn listed(text: &str) -> BTreeMap<u32, Vec<String>> {
    let mut all: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut of = None;
    for line in text.lines().skip(1) {
        if !line.starts_with(' ') {
            of = line
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok());
        }
        if let Some(pid) = of {
            all.entry(pid).or_default().push(without_versions(line));
        }
    }
    all
}

fn version(python: &Path) -> Result<String> {
    let code = "import platform; print(platform.python_version())";
    let told = Command::new(python).args(["-c", code]).output()?;
    Ok(String::from_utf8(told.stdout)?.trim().to_owned())
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "one two"}]})
}

#[test]
fn a_host_with_all_kinds_of_programs() -> Result<()> {
    let (
        Some(scene),
        Some(sdk),
        Some(packages),
        Some(clients),
        Some(system),
        Some(alone),
        Some(node),
        Some(_),
    ) = (
        Scene::new()?,
        need::environment("sdk-new")?,
        need::environment("packages")?,
        need::environment("clients")?,
        need::environment("system")?,
        need::static_python()?,
        need::command("node")?,
        need::command("unshare")?,
    )
    else {
        return Ok(());
    };
    let live = |name: &str| programs().join("live").join(name);
    let id = format!("{:064x}", std::process::id());
    let url = format!("https://127.0.0.1:{PROVIDER}");
    let base = format!("{url}/v1");
    let chroot = root_of(&scene, &packages, &site(&packages)?)?;
    let certs = scene
        .provider
        .authority()
        .parent()
        .context("no folder")?
        .to_owned();
    fs::create_dir(scene.temp.file("files"))?;
    fs::write(scene.temp.file("files/list.json"), "[]")?;
    let idle = "import sys; print('ready', flush=True); sys.stdin.read()";
    let of_node = Path::new(env!("CARGO_MANIFEST_DIR")).join("node/https_client.mjs");
    let mut host = Namespaces::start(
        &scene,
        &clients,
        &id,
        &json!({
            "provider": {"command": [&clients, programs().join("provider.py"), "--certs", certs,
                "--port", PROVIDER.to_string()]},
            "vllm": {"command": vllm(&scene, &clients)?},
            "app": {"command": [&sdk, live("client.py"), "openai"],
                "environment": {"OPENAI_BASE_URL": base}},
            "bot": {"command": ["/opt/python/bin/python3", "/opt/bot.py", format!("{url}/api/v1")],
                "environment": {"LD_LIBRARY_PATH": "/opt/lib:/opt/python/lib", "PYTHONPATH": "/opt/site",
                    "REQUESTS_CA_BUNDLE": "/opt/ca.pem"},
                "root": chroot},
            "web": {"command": [&clients, clients.with_file_name("gunicorn"), "-c", live("web_shop.py"),
                "web_shop:application"], "environment": {"OPENAI_BASE_URL": base, "PORT": WEB.to_string(),
                    "PYTHONPATH": live("")}},
            "alone": {"command": [&alone, live("client.py"), "openai"], "environment": {
                "OPENAI_BASE_URL": base, "PYTHONPATH": site(&system)?, "OTEL_SERVICE_NAME": "standalone"}},
            "files": {"command": [&clients, "-u", "-m", "http.server", FILES.to_string(),
                "--bind", "127.0.0.1", "--directory", scene.temp.file("files")]},
            "idle": {"command": [&clients, "-c", idle]},
            "node": {"command": [node, of_node], "environment": {"OPENAI_BASE_URL": base}},
            "shell": {"command": ["sh", "-c", "echo ready; read wait"]},
        }),
    )?;
    let rules = scene.temp.file("rules.yaml");
    let exclude = "exclude: ['command=*/provider.py *', 'command=*/host_tree.py']";
    let others = format!("include_other: ['exe=*/node', 'exe={id}']");
    fs::write(
        &rules,
        format!("include: ['container={id}']\n{exclude}\n{others}\n"),
    )?;
    let rules = rules.display().to_string();

    // Some are there before the agent, the others come.
    let (provider, _) = host.program("provider")?;
    let (api, said) = host.program("vllm")?;
    let parts: Vec<u64> = serde_json::from_str(said.strip_prefix("ready ").context("not ready")?)?;
    let parts: Vec<u32> = parts
        .into_iter()
        .map(|pid| host.outside(pid))
        .collect::<Result<_>>()?;
    let (app, _) = host.program("app")?;
    let (rest, _) = host.program("idle")?;
    let mut genspan = Agent::host(&scene.temp, &["--config", &rules])?;
    genspan.wait_attached(app)?;
    genspan.wait_attached(api)?;
    let (bot, _) = host.program("bot")?;
    let (standalone, _) = host.program("alone")?;
    let (files, _) = host.program("files")?;
    let (script, _) = host.program("node")?;
    let (shell, _) = host.program("shell")?;
    let (web, _) = host.program("web")?;
    for pid in [bot, standalone, files, web, script] {
        genspan.wait_attached(pid)?;
    }
    let children = || -> Result<Vec<u32>> {
        let text = fs::read_to_string(format!("/proc/{web}/task/{web}/children"))?;
        Ok(text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?)
    };
    let workers = wait_for("two workers", || {
        children().ok().filter(|all| all.len() == 2)
    })?;
    for pid in [bot, standalone] {
        genspan.wait_for_log(&format!("(pid {pid}, Python"))?;
    }
    wait_for("the workers to be traced", || {
        let status: Value = serde_json::from_str(&genspan.page("/status").ok()?.1).ok()?;
        let attached = status["processes"].as_array()?.iter();
        let attached = attached.filter(|p| p["state"] == "attached");
        let traced = attached.filter(|p| workers.iter().any(|pid| p["pid"] == *pid));
        (traced.count() == workers.len()).then_some(())
    })?;

    // Each makes a call, or is asked.
    let mut told = Vec::new();
    for (name, pid, service, model) in [
        ("app", app, "client", "of-app"),
        ("alone", standalone, "standalone", "of-alone"),
    ] {
        let said = host.step(&json!({"to": name, "say": {"do": "chat", "body": chat(model)}}))?;
        assert_eq!(
            said["model"],
            format!("{model}-2026"),
            "{said} {}",
            host.complaints()
        );
        told.push(("CLIENT", service, pid, model));
    }
    let said = host.step(&json!({"to": "bot", "say": {"model": "of-bot", "text": "one two"}}))?;
    assert_eq!(said["input"], 2, "{said}");
    told.push(("CLIENT", "bot", bot, "of-bot"));
    let said = host.step(&json!({"to": "node", "say": chat("of-node")}))?;
    assert_eq!(said["status"], 200, "{said}");
    told.push(("CLIENT", "node", script, "of-node"));
    let served = format!("http://127.0.0.1:{VLLM}/v1/chat/completions");
    let said = host.step(&json!({"ask": served, "body": chat("tiny")}))?;
    assert_eq!(said["usage"]["total_tokens"], 6, "{said}");
    told.push(("SERVER", "vllm", api, "tiny"));
    host.step(&json!({"ask": format!("http://127.0.0.1:{FILES}/list.json")}))?;
    told.push(("SERVER", "http.server", files, ""));
    let mut calls: BTreeMap<u32, usize> = workers.iter().map(|pid| (*pid, 0)).collect();
    for _ in 0..4 {
        let said = host.step(&json!({"ask": format!("http://127.0.0.1:{WEB}/")}))?;
        let worker = host.outside(said["pid"].as_u64().context("no pid")?)?;
        *calls.get_mut(&worker).context("not a worker of it")? += 1;
        told.push(("CLIENT", "web_shop", worker, "of-web"));
        told.push(("SERVER", "web_shop", worker, ""));
    }
    genspan.wait_for_spans(told.len())?;

    // What is said of each.
    let [python, new, own] = [version(&clients)?, version(&sdk)?, version(&alone)?];
    let shop = (
        Some("microservice"),
        "web_shop",
        Some("command line: gunicorn"),
    );
    let inner = |pid: u32, title: &'static str, note: &'static str, why: &'static str| Wanted {
        root: Some(api),
        notes: vec![note],
        ..Wanted::new(pid, (Some("model"), "vllm", Some(title)), &python).not_traced(why)
    };
    let a_worker = "the worker of a model server: what is asked passes its API process";
    let mut all = vec![
        Wanted::new(
            provider,
            (
                Some("microservice"),
                "provider",
                Some("listening: port 8443"),
            ),
            &python,
        )
        .not_traced("excluded by `command=*/provider.py *`"),
        Wanted {
            notes: vec![
                "vllm api · 0.32.0 · model org/tiny-7b · served as tiny · port 8000 · tensor parallel 2",
            ],
            ..Wanted::new(
                api,
                (Some("model"), "vllm", Some("command line: vllm serve")),
                &python,
            )
            .calls(1)
        },
        inner(
            parts[0],
            "command line: VLLM::EngineCore",
            "vllm engine · 0.32.0",
            "the engine of a model server: what is asked passes its API process",
        ),
        inner(
            parts[1],
            "command line: VLLM::Worker_TP0",
            "vllm worker · 0.32.0",
            a_worker,
        ),
        inner(
            parts[2],
            "command line: VLLM::Worker_TP1",
            "vllm worker · 0.32.0",
            a_worker,
        ),
        Wanted {
            notes: vec!["loaded: openai"],
            ..Wanted::new(app, (Some("app"), "client", Some("loaded: openai")), &new).calls(1)
        },
        Wanted {
            notes: vec!["loaded: dashscope"],
            ..Wanted::new(
                bot,
                (Some("app"), "bot", Some("loaded: dashscope")),
                &version(&packages)?,
            )
            .calls(1)
        },
        Wanted {
            tls: "OpenSSL",
            notes: vec!["loaded: openai"],
            ..Wanted::new(
                standalone,
                (Some("app"), "standalone", Some("loaded: openai")),
                &own,
            )
            .calls(1)
        },
        Wanted::new(
            files,
            (
                Some("microservice"),
                "http.server",
                Some("command line: http.server"),
            ),
            &python,
        ),
        Wanted {
            notes: vec!["loaded: gunicorn (web)"],
            ..Wanted::new(web, shop, &python)
        },
        Wanted {
            tls: "not loaded",
            ..Wanted::new(rest, (None, "python", None), &python).not_traced(
                "it has no package that calls models, and serves nobody; with \
                     APSARA_APM_APP_TYPE=app in its environment it is traced",
            )
        },
    ];
    all.extend(calls.iter().map(|(pid, calls)| Wanted {
        root: Some(web),
        notes: vec!["loaded: gunicorn (web)"],
        ..Wanted::new(*pid, shop, &python).calls(*calls)
    }));
    // What shows late is seen at a later look.
    let wanted: BTreeMap<u32, Value> = all.iter().map(|one| (one.pid, one.status())).collect();
    let mut seen = BTreeMap::new();
    let mut tls = Value::Null;
    let settled = wait_for("the agent's word of each", || {
        let status: Value = serde_json::from_str(&genspan.page("/status").ok()?.1).ok()?;
        let said = status["processes"].as_array()?;
        let ours = said
            .iter()
            .filter_map(|p| Some((u32::try_from(p["pid"].as_u64()?).ok()?, p)));
        let mut ours: BTreeMap<u32, &Value> = ours.collect();
        assert!(!ours.contains_key(&shell), "{status}");
        let node = ours.get(&script)?;
        assert_eq!(
            (&node["python"], &node["type"]),
            (&Value::Null, &Value::Null)
        );
        if node["calls"] != 1 {
            return None;
        }
        ours.retain(|pid, _| wanted.contains_key(pid));
        let own = ours.get(&standalone)?;
        tls = json!([ours.get(&bot)?["tls"][0], own["tls"], own["tls_by_code"]]);
        seen = ours
            .into_iter()
            .map(|(pid, p)| (pid, status_of(p)))
            .collect();
        (seen == wanted).then_some(())
    });
    assert!(
        settled.is_ok(),
        "{seen:#?}\n, wanted {wanted:#?}\n{}",
        genspan.log()
    );
    // That one's OpenSSL has no names: its calls have shown that it is one.
    let by_code = json!([{"library": alone, "verified": true}]);
    assert_eq!(tls, json!(["/opt/lib/libssl.so.3", [alone], by_code]));
    let verified = format!(
        "TLS: {}: found by its code, verified by a call",
        alone.display()
    );
    let socket = Agent::socket(&scene.temp).display().to_string();
    let said = |more: &[&str]| -> Result<BTreeMap<u32, Vec<String>>> {
        let report = agent::command(&["ps", "--socket", &socket])?
            .args(more)
            .output()?;
        Ok(listed(&String::from_utf8(report.stdout)?))
    };
    let report = said(&["--others"])?;
    for one in &all {
        // How its Python is looked into is told where it is by then.
        let mut lines = report.get(&one.pid).cloned().unwrap_or_default();
        lines.retain(|line| {
            line != "Python by: contexts" && !line.starts_with("which costs it: contexts: ")
        });
        let told = lines.len();
        lines.retain(|line| *line != verified);
        assert_eq!(told - lines.len(), usize::from(one.pid == standalone));
        assert_eq!(lines, one.lines());
    }
    let json = agent::command(&["ps", "--json", "--socket", "none"])?.output()?;
    let json: Value = serde_json::from_slice(&json.stdout)?;
    let listed = json["processes"].as_array().context("no processes")?.iter();
    let ours = listed.filter(|p| p["container"] == id.as_str());
    let ours: BTreeMap<_, _> = ours.map(|p| (p["pid"].as_u64(), p)).collect();
    assert_eq!(ours.len(), all.len() + 1, "{ours:?}");
    let its = &ours[&Some(standalone.into())]["tls"];
    assert_eq!(its["found_by"], "code", "{its}");
    let of_node = [
        format!("{script} - node - OpenSSL"),
        "traced: 1 calls".to_owned(),
    ];
    // It is traced, so it is shown without being asked for.
    for report in [&report, &said(&[])?] {
        assert_eq!(report.get(&script).map(Vec::as_slice), Some(&of_node[..]));
        assert_eq!(report.get(&shell), None);
    }

    let finished = genspan.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    // What is inside the model server was there before the agent, and was not touched for a moment.
    let touched = |pid: &u32| finished.log.contains(&format!("(pid {pid},"));
    assert!(!parts.iter().any(touched), "{}", finished.log);
    assert!(!finished.log.contains("lost:"), "{}", finished.log);
    let service = |span: &Span| {
        span.resource("service.name")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let mut spans: Vec<_> = finished
        .spans
        .iter()
        .map(|s| {
            (
                s.kind().to_owned(),
                service(s),
                s.pid(),
                s.model().to_owned(),
            )
        })
        .collect();
    let mut told: Vec<_> = told
        .into_iter()
        .map(|(kind, service, pid, model)| {
            (kind.to_owned(), service.to_owned(), pid, model.to_owned())
        })
        .collect();
    spans.sort();
    told.sort();
    assert_eq!(spans, told, "{}", finished.log);
    assert!(
        finished.spans.iter().all(|span| span.defects().is_empty()),
        "{}",
        finished.lines
    );
    host.end(&scene.temp.file(""))
}
