//! What `deploy/` has for Kubernetes: the manifests, and the chart as helm renders it, checked against
//! Kubernetes's own schemas and against each other.

use anyhow::{Context as _, Result, ensure};
use genspan_tests::{Temp, need, programs};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest Kubernetes that the manifests are for: the first that has `appArmorProfile`.
const OLDEST: &str = "1.30";

/// The oldest that the chart is for (its `kubeVersion`).
const OLDEST_OF_CHART: &str = "1.25";

/// The newest whose schemas there are.
const NEWEST: &str = "1.37";

/// What belongs to the Prometheus operator and not to Kubernetes.
const OPERATOR: &str = "monitoring.coreos.com/v1";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The resources of a text with several YAML documents. A key that stands twice is an error.
fn resources(yaml: &str) -> Result<Vec<Value>> {
    use serde::Deserialize as _;
    let mut resources = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(yaml) {
        let value = serde_yaml_ng::Value::deserialize(document)?;
        if !value.is_null() {
            resources.push(serde_json::to_value(value)?);
        }
    }
    Ok(resources)
}

fn manifest(name: &str) -> Result<Vec<Value>> {
    let path = deploy().join("kubernetes").join(name);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    resources(&text).with_context(|| name.to_owned())
}

/// What is wrong with resources, by the schemas of a version of Kubernetes.
fn faults(python: &Path, version: &str, resources: &[Value]) -> Result<Vec<String>> {
    let mut child = Command::new(python)
        .arg("-I")
        .arg(programs().join("kubernetes/validate.py"))
        .arg(version)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines: String = resources.iter().map(|r| format!("{r}\n")).collect();
    let mut input = child.stdin.take().context("no input")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the validator failed");
    let said = String::from_utf8(output.stdout)?;
    let said: Vec<&str> = said.lines().collect();
    ensure!(said.len() == resources.len(), "not a line each: {said:?}");
    let faulty = said
        .iter()
        .zip(resources)
        .filter(|(line, _)| **line != "ok");
    let told = faulty.map(|(line, r)| format!("{version}: {}: {line}", r["kind"]));
    Ok(told.collect())
}

/// What helm makes of the chart, or what it complains of.
struct Helm {
    program: PathBuf,
    /// What it keeps is gone with this.
    home: Temp,
}

impl Helm {
    fn new() -> Result<Option<Self>> {
        let Some(program) = need::helm()? else {
            return Ok(None);
        };
        let home = Temp::new()?;
        Ok(Some(Self { program, home }))
    }

    fn run(&self, args: &[&str]) -> Result<std::result::Result<String, String>> {
        let output = Command::new(&self.program)
            .args(args)
            .env_remove("KUBECONFIG")
            .env("HELM_CACHE_HOME", self.home.file("cache"))
            .env("HELM_CONFIG_HOME", self.home.file("config"))
            .env("HELM_DATA_HOME", self.home.file("data"))
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        Ok(if output.status.success() {
            Ok(out)
        } else {
            Err(out + &err)
        })
    }

    fn template(
        &self,
        version: &str,
        values: &Value,
    ) -> Result<std::result::Result<Vec<Value>, String>> {
        let mut args = vec!["template".to_owned(), "genspan".to_owned(), chart()];
        args.extend(["--namespace", "genspan", "--kube-version", version].map(str::to_owned));
        for (name, value) in values.as_object().context("no object")? {
            args.extend(["--set-json".to_owned(), format!("{name}={value}")]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match self.run(&args)? {
            Ok(yaml) => Ok(Ok(resources(&yaml)?)),
            Err(complaint) => Ok(Err(complaint)),
        }
    }

    fn rendered(&self, version: &str, values: &Value) -> Result<Vec<Value>> {
        let made = self.template(version, values)?;
        made.map_err(|complaint| anyhow::anyhow!("{values}: {complaint}"))
    }
}

fn chart() -> String {
    deploy().join("helm/genspan").display().to_string()
}

/// The one resource of a kind.
fn one<'a>(resources: &'a [Value], kind: &str) -> Result<&'a Value> {
    let mut found = resources.iter().filter(|r| r["kind"] == kind);
    let first = found.next().with_context(|| format!("no {kind}"))?;
    ensure!(found.next().is_none(), "more than one {kind}");
    Ok(first)
}

/// Takes away what helm's conventions add: labels by which releases are told apart.
fn without_release(mut resource: Value) -> Value {
    let labels = ["instance", "version", "managed-by"].map(|l| format!("app.kubernetes.io/{l}"));
    for place in [
        "/metadata/labels",
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
        "/spec/template/metadata/annotations",
    ] {
        if let Some(Value::Object(map)) = resource.pointer_mut(place) {
            for name in &labels {
                map.shift_remove(name);
            }
            map.shift_remove("helm.sh/chart");
            map.shift_remove("checksum/rules");
        }
    }
    // What is in the file of rules counts, not how it is written.
    if let Some(rules) = resource.pointer_mut("/data/rules.yaml") {
        let parsed = serde_yaml_ng::from_str(rules.as_str().unwrap_or_default());
        *rules = parsed.unwrap_or(Value::Null);
    }
    resource
}

#[test]
fn manifests_fit_the_schemas() -> Result<()> {
    let Some(python) = need::environment("kubernetes")? else {
        return Ok(());
    };
    let mut count = 0;
    for file in std::fs::read_dir(deploy().join("kubernetes"))?.flatten() {
        let name = file.file_name().into_string().unwrap_or_default();
        let resources = manifest(&name)?;
        for version in [OLDEST, NEWEST] {
            assert_eq!(faults(&python, version, &resources)?, [""; 0], "{name}");
        }
        one(&resources, "DaemonSet")?;
        count += 1;
    }
    assert_eq!(count, 2);
    Ok(())
}

#[test]
fn a_broken_manifest_is_refused() -> Result<()> {
    let Some(python) = need::environment("kubernetes")? else {
        return Ok(());
    };
    let whole = one(&manifest("genspan.yaml")?, "DaemonSet")?.clone();
    let container = "/spec/template/spec/containers/0";
    let breaks: [(&str, &str, Value, &str); 5] = [
        ("/spec/template/spec", "hostPid", json!(true), "hostPid"),
        ("/spec/template/spec", "hostPID", json!("true"), "hostPID"),
        (container, "image", json!(["genspan"]), "image"),
        (
            &format!("{container}/securityContext"),
            "capability",
            json!({}),
            "capability",
        ),
        ("/spec", "selector", Value::Null, "selector"),
    ];
    for (place, key, value, told) in breaks {
        let mut broken = whole.clone();
        let place = broken.pointer_mut(place).and_then(Value::as_object_mut);
        let place = place.context("no such place")?;
        // What is null is as good as not there, but for the schemas.
        match value {
            Value::Null => place.shift_remove(key),
            value => place.insert(key.to_owned(), value),
        };
        let faults = faults(&python, NEWEST, &[broken])?;
        assert!(
            faults.len() == 1 && faults[0].contains(told),
            "{key}: {faults:?}"
        );
    }
    // What came with 1.30 is unknown before; a kind that is none is told too.
    assert_eq!(
        faults(&python, "1.29", std::slice::from_ref(&whole))?.len(),
        1
    );
    let stranger = json!({"apiVersion": "apps/v1", "kind": "DemonSet", "metadata": {"name": "x"}});
    assert_eq!(faults(&python, NEWEST, &[stranger])?.len(), 1);
    assert!(resources("kind: A\nkind: B\n").is_err());
    Ok(())
}

#[test]
fn the_chart_is_what_the_manifests_are() -> Result<()> {
    let Some(helm) = Helm::new()? else {
        return Ok(());
    };
    for (name, values) in [
        ("genspan.yaml", json!({})),
        ("genspan-privileged.yaml", json!({"privileged": true})),
    ] {
        let written = manifest(name)?;
        let rendered = helm.rendered(OLDEST, &values)?;
        for kind in [
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
            "ConfigMap",
            "DaemonSet",
        ] {
            let mut mine = without_release(one(&rendered, kind)?.clone());
            let theirs = without_release(one(&written, kind)?.clone());
            // Only the DaemonSet has labels in the manifests.
            if theirs["metadata"].get("labels").is_none() {
                mine["metadata"]
                    .as_object_mut()
                    .context("metadata")?
                    .shift_remove("labels");
            }
            let (mine, theirs) = (sorted(mine), sorted(theirs));
            let mut lines = mine.lines().zip(theirs.lines());
            assert_eq!(lines.find(|(m, t)| m != t), None, "{name}: {kind}");
            assert_eq!(mine.len(), theirs.len(), "{name}: {kind}");
        }
        // The namespace is helm's to make.
        assert_eq!((rendered.len(), written.len()), (5, 6), "{name}");
    }
    Ok(())
}

/// With the keys of every object in order, so that a difference shows where it is.
fn sorted(value: Value) -> String {
    fn sort(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut pairs: Vec<(String, Value)> = map.into_iter().collect();
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                pairs.into_iter().map(|(k, v)| (k, sort(v))).collect()
            }
            Value::Array(list) => list.into_iter().map(sort).collect(),
            other => other,
        }
    }
    format!("{:#}", sort(value))
}

/// Each choice that the chart has, made at least once.
fn choices() -> Vec<Value> {
    let digest = format!("sha256:{}", "a".repeat(64));
    vec![
        json!({}),
        json!({"privileged": true, "tolerations": [], "priorityClassName": "", "resources": {}}),
        json!({"sysAdmin": true}),
        json!({"serviceMonitor.enabled": true, "serviceMonitor.labels": {"release": "p"},
               "state.scrapeAnnotations": false, "state.port": 9999}),
        json!({"image": {"repository": "a.example/genspan", "digest": digest,
                         "pullPolicy": "Always", "pullSecrets": [{"name": "registry"}]}}),
        json!({"otlp": {"endpoint": "https://b.example:4318", "protocol": "http/protobuf",
                        "headersSecret": {"name": "key"}, "caConfigMap": {"name": "authority"}}}),
        json!({"rules": {"include": ["type=app", "name=shop.*"], "exclude": ["user=root"]},
               "extraArgs": ["--no-content"], "extraEnv": [{"name": "A", "value": "b"}],
               "spool": {"hostPath": "/var/lib/genspan", "size": "512M"}}),
        json!({"nodeSelector": {"gpu": "yes"}, "podLabels": {"team": "a"},
               "podAnnotations": {"note": "b"}, "updateStrategy": {"type": "OnDelete"},
               "affinity": {"nodeAffinity": {}}, "terminationGracePeriodSeconds": 5,
               "nameOverride": "n", "fullnameOverride": "agent",
               "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]}),
        json!({"serviceAccount": {"create": false, "name": "own"}}),
        json!({"serviceAccount.annotations": {"note": "c"}}),
        json!({"kubernetes.enabled": false}),
        json!({"kubernetes.kubelet.enabled": true}),
        json!({"kubernetes.kubelet": {"enabled": true, "insecureSkipVerify": true}}),
        json!({"kubernetes": {"rbac": false, "labels": ["team", "a.example/*"],
                              "annotations": ["note"], "wellKnownLabels": true}}),
    ]
}

#[test]
fn every_choice_of_the_chart_fits_the_schemas() -> Result<()> {
    let Some(helm) = Helm::new()? else {
        return Ok(());
    };
    let Some(python) = need::environment("kubernetes")? else {
        return Ok(());
    };
    for version in [OLDEST_OF_CHART, "1.29", OLDEST, NEWEST] {
        let mut all = Vec::new();
        for values in choices() {
            all.extend(helm.rendered(version, &values)?);
        }
        all.retain(|resource| resource["apiVersion"] != OPERATOR);
        assert!(all.len() >= 3 * choices().len() - 1, "{}", all.len());
        assert_eq!(faults(&python, version, &all)?, [""; 0]);
    }
    Ok(())
}

#[test]
fn what_is_chosen_is_rendered() -> Result<()> {
    let Some(helm) = Helm::new()? else {
        return Ok(());
    };
    let endpoint = "https://b.example:4318";
    let values = json!({
        "rules": {"include": ["type=app"], "exclude": []},
        "otlp": {"endpoint": endpoint, "headersSecret": {"name": "key"},
                 "caConfigMap": {"name": "authority"}},
        "extraArgs": ["--no-content"], "state.port": 9999, "serviceMonitor.enabled": true,
        "spool.hostPath": "/var/a",
    });
    let rendered = helm.rendered(NEWEST, &values)?;
    let set = one(&rendered, "DaemonSet")?;
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let args = container["args"].as_array().context("args")?;
    assert!(args.contains(&json!("--no-content")) && args.contains(&json!("0.0.0.0:9999")));
    assert!(args.contains(&json!("--spool")) && args.contains(&json!("1G")));
    let volumes = &set["spec"]["template"]["spec"]["volumes"];
    let volumes = volumes.as_array().context("volumes")?;
    let of_spool = volumes.iter().find(|v| v["name"] == "spool");
    assert_eq!(of_spool.context("spool")?["hostPath"]["path"], "/var/a");
    let variable = |name: &str| {
        let all = container["env"].as_array().into_iter().flatten();
        let found = all.into_iter().find(|v| v["name"] == name);
        found.cloned().unwrap_or_default()
    };
    assert_eq!(variable("OTEL_EXPORTER_OTLP_ENDPOINT")["value"], endpoint);
    let from = &variable("OTEL_EXPORTER_OTLP_HEADERS")["valueFrom"]["secretKeyRef"];
    assert_eq!(*from, json!({"name": "key", "key": "headers"}));
    let authority = variable("OTEL_EXPORTER_OTLP_CERTIFICATE");
    assert_eq!(authority["value"], "/etc/genspan-ca/ca.crt");
    let mounts = container["volumeMounts"].as_array().context("mounts")?;
    assert!(
        mounts
            .iter()
            .any(|m| m["name"] == "ca" && m["mountPath"] == "/etc/genspan-ca")
    );

    let rules = &one(&rendered, "ConfigMap")?["data"]["rules.yaml"];
    let rules: Value = serde_yaml_ng::from_str(rules.as_str().context("rules")?)?;
    assert_eq!(rules["include"], json!(["type=app"]));
    let other = helm.rendered(NEWEST, &json!({"rules.include": ["type=model"]}))?;
    let sum = |set: &Value| {
        set.pointer("/spec/template/metadata/annotations/checksum~1rules")
            .cloned()
    };
    assert!(sum(set).is_some() && sum(set) != sum(one(&other, "DaemonSet")?));

    // What perf's probes take comes in addition, where it is asked for.
    let added = |set: &Value| -> Vec<String> {
        let of = "/spec/template/spec/containers/0/securityContext/capabilities/add";
        let all = set.pointer(of).and_then(Value::as_array);
        let all = all.into_iter().flatten().filter_map(Value::as_str);
        all.map(str::to_owned).collect()
    };
    let old = helm.rendered(NEWEST, &json!({"sysAdmin": true}))?;
    let old = added(one(&old, "DaemonSet")?);
    let (last, rest) = old.split_last().context("no capabilities")?;
    assert_eq!((last.as_str(), rest), ("SYS_ADMIN", &*added(set)));
    let all = helm.rendered(NEWEST, &json!({"sysAdmin": true, "privileged": true}))?;
    assert!(added(one(&all, "DaemonSet")?).is_empty());

    // Who asks Kubernetes may, and who does not has no token.
    let account =
        |set: &Value| set["spec"]["template"]["spec"]["automountServiceAccountToken"].clone();
    assert_eq!(account(set), json!(true));
    assert_eq!(
        variable("NODE_NAME")["valueFrom"]["fieldRef"]["fieldPath"],
        "spec.nodeName"
    );
    let binding = one(&rendered, "ClusterRoleBinding")?;
    assert_eq!(
        binding["roleRef"]["name"],
        one(&rendered, "ClusterRole")?["metadata"]["name"]
    );
    let named = &one(&rendered, "ServiceAccount")?["metadata"]["name"];
    assert_eq!(binding["subjects"][0]["name"], *named);
    let values = json!({"kubernetes": {"labels": ["team"], "wellKnownLabels": true}});
    let chosen = helm.rendered(NEWEST, &values)?;
    let config = &one(&chosen, "ConfigMap")?["data"]["rules.yaml"];
    let config: Value = serde_yaml_ng::from_str(config.as_str().context("rules")?)?;
    let wanted =
        json!({"api": "auto", "labels": ["team"], "annotations": [], "well_known_labels": true});
    assert_eq!(config["kubernetes"], wanted);
    for (version, resource, skip) in [("1.32", "nodes/proxy", true), (NEWEST, "nodes/pods", false)]
    {
        let values = json!({"kubernetes.kubelet": {"enabled": true, "insecureSkipVerify": skip}});
        let kubelet = helm.rendered(version, &values)?;
        let role = one(&kubelet, "ClusterRole")?["rules"].clone();
        let want = json!([{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]);
        assert_eq!(role, want, "{version}");
        let config = &one(&kubelet, "ConfigMap")?["data"]["rules.yaml"];
        let config: Value = serde_yaml_ng::from_str(config.as_str().context("rules")?)?;
        let authority = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
        let want = if skip {
            json!({"insecure_skip_verify": true, "interval_seconds": 10})
        } else {
            json!({"certificate_authority": authority, "interval_seconds": 10})
        };
        assert_eq!(config["kubernetes"]["api"], "kubelet");
        assert_eq!(config["kubernetes"]["kubelet"], want);
        assert_eq!(account(one(&kubelet, "DaemonSet")?), json!(true));
    }
    let without = helm.rendered(NEWEST, &json!({"kubernetes.enabled": false}))?;
    assert!(one(&without, "ClusterRole").is_err() && one(&without, "ClusterRoleBinding").is_err());
    assert_eq!(account(one(&without, "DaemonSet")?), json!(false));

    // Prometheus finds the service, the service the pods, and the port is the same all the way.
    let monitor = one(&rendered, "ServiceMonitor")?;
    let service = one(&rendered, "Service")?;
    let pods = &set["spec"]["template"]["metadata"]["labels"];
    for (wanted, labels) in [
        (
            &monitor["spec"]["selector"]["matchLabels"],
            &service["metadata"]["labels"],
        ),
        (&service["spec"]["selector"], pods),
        (&set["spec"]["selector"]["matchLabels"], pods),
    ] {
        let wanted = wanted.as_object().context("a selector")?;
        assert!(!wanted.is_empty());
        assert!(
            wanted.iter().all(|(name, value)| labels[name] == *value),
            "{wanted:?}"
        );
    }
    let port = &service["spec"]["ports"][0];
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], port["name"]);
    assert_eq!(port["targetPort"], container["ports"][0]["name"]);
    assert_eq!(container["ports"][0]["containerPort"], 9999);
    Ok(())
}

#[test]
fn values_that_are_none_are_refused() -> Result<()> {
    let Some(helm) = Helm::new()? else {
        return Ok(());
    };
    for (values, told) in [
        (json!({"otlp.endpont": "http://a.example"}), "endpont"),
        (json!({"otlp.endpoint": "collector:4317"}), "endpoint"),
        (json!({"otlp.protocol": "http"}), "protocol"),
        (json!({"privileged": "yes"}), "privileged"),
        (json!({"sysAdmin": "yes"}), "sysAdmin"),
        (json!({"state.port": 70000}), "port"),
        (json!({"image.digest": "sha256:abc"}), "digest"),
        (json!({"rules.include": "type=app"}), "include"),
        (json!({"kubernetes.labels": "team"}), "labels"),
        (json!({"kubernetes.enable": true}), "enable"),
    ] {
        match helm.template(NEWEST, &values)? {
            Ok(_) => panic!("{values} was taken"),
            Err(complaint) => assert!(complaint.contains(told), "{values}: {complaint}"),
        }
    }
    let old = helm.template("1.24", &json!({}))?;
    assert!(old.is_err_and(|complaint| complaint.contains("kubeVersion")));
    let lint = helm.run(&["lint", "--strict", &chart()])?;
    assert!(lint.is_ok(), "{lint:?}");
    Ok(())
}

#[test]
fn the_versions_are_the_agents() -> Result<()> {
    let chart: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(
        deploy().join("helm/genspan/Chart.yaml"),
    )?)?;
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    for name in ["genspan.yaml", "genspan-privileged.yaml"] {
        let set = one(&manifest(name)?, "DaemonSet")?.clone();
        let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(
            *image,
            concat!("genspan:", env!("CARGO_PKG_VERSION")),
            "{name}"
        );
    }
    Ok(())
}
