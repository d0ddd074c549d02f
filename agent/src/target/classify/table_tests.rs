//! The table of process descriptions in `cases.yaml`, each with what it is.

use serde::Deserialize;

use super::{Description, Package, classify};
use crate::model::process::AppType;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it stands for.
    about: String,
    /// Words with spaces between; where one has spaces itself, a list in `process.command`.
    #[serde(default)]
    line: String,
    #[serde(default)]
    process: Description,
    /// Not a Python.
    #[serde(default)]
    native: bool,
    want: Want,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Want {
    /// `none` for nothing that is traced.
    kind: String,
    /// Source and text of the evidence that decides.
    why: Option<String>,
    /// Server and part.
    server: Option<String>,
    model: Option<String>,
    #[serde(default)]
    served_as: Vec<String>,
    port: Option<u16>,
    tensor_parallel: Option<u32>,
    version: Option<String>,
    /// All packages: name, version, `loaded`.
    packages: Option<Vec<String>>,
}

fn package(of: &Package) -> String {
    let version = of.version.as_ref().map(|v| format!(" {v}"));
    let loaded = if of.loaded { " loaded" } else { "" };
    format!("{}{}{loaded}", of.name, version.unwrap_or_default())
}

fn check(case: Case) {
    let Case {
        about,
        line,
        mut process,
        native,
        want,
    } = case;
    process.python = !native;
    if process.command.is_empty() {
        process.command = line.split(' ').map(str::to_owned).collect();
    }
    let got = classify(&process);
    let kind = got.kind.map_or("none", AppType::name);
    assert_eq!(kind, want.kind, "{about}: {:?}", got.evidence);
    let why = got
        .evidence
        .first()
        .map(|e| format!("{}: {}", e.source.name(), e.what));
    if want.why.is_some() || want.kind == "none" {
        assert_eq!(why, want.why, "{about}");
    }
    let server = got
        .server
        .as_ref()
        .map(|s| format!("{} {}", s.server.name(), s.part.name()));
    assert_eq!(server, want.server, "{about}");
    let told = got
        .server
        .as_ref()
        .map(|s| s.told.clone())
        .unwrap_or_default();
    assert_eq!(told.model, want.model, "{about}: model");
    assert_eq!(told.served_as, want.served_as, "{about}: served_as");
    assert_eq!(told.port, want.port, "{about}: port");
    assert_eq!(
        told.tensor_parallel, want.tensor_parallel,
        "{about}: tensor_parallel"
    );
    let version = got.server.and_then(|s| s.version);
    assert_eq!(version, want.version, "{about}: version");
    if let Some(packages) = want.packages {
        let found: Vec<_> = got.packages.iter().map(package).collect();
        assert_eq!(found, packages, "{about}: packages");
    }
}

#[test]
fn every_process_is_what_the_table_says() {
    let cases: Vec<Case> = serde_yaml_ng::from_str(include_str!("cases.yaml")).unwrap();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    for case in cases {
        check(case);
    }
}
