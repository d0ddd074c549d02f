//! The tables of process descriptions, each with what it is: those written by hand in `cases.yaml`, and those
//! recorded of real processes in `recorded/` (`docs/host.md` says how).

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::{Description, Package, classify};
use crate::model::process::AppType;
use crate::target::survey::service_name;

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
    /// The name of the service that it is, when it stands for itself.
    service: Option<String>,
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
    if let Some(service) = want.service {
        assert_eq!(service_name(&process), service, "{about}: service");
    }
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

/// What must not be in a recording: folders and addresses of the machine on which it was made, and keys.
const OF_ONE_MACHINE: [&str; 4] = ["/root", "/tmp", ".pyenv", "sk-"];

#[test]
fn every_recorded_process_is_what_it_was_found_to_be() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/target/classify/recorded");
    let files = fs::read_dir(folder).unwrap();
    let mut count = 0;
    for file in files.map(|file| file.unwrap().path()) {
        let text = fs::read_to_string(&file).unwrap();
        for part in OF_ONE_MACHINE {
            assert!(!text.contains(part), "{part} in {}", file.display());
        }
        // One process in each.
        let case: Case = serde_yaml_ng::from_str(&text).unwrap_or_else(|error| {
            panic!("{}: {error}", file.display());
        });
        assert!(case.want.service.is_some() && case.want.packages.is_some());
        assert!(!case.process.name.is_empty() && !case.process.command.is_empty());
        check(case);
        count += 1;
    }
    assert!(count >= 60, "{count} recordings");
}
