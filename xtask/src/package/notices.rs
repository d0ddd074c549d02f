//! Whose code a static binary has in it, with their licences: most of them ask that they go along.

use super::binary::TARGET;
use crate::cmd::Cmd;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Beginnings of the names of files with licences, in capitals.
const FILES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// How many folders deep a package has the code of others: `c_src/mimalloc/v3/LICENSE`.
const DEPTH: u32 = 3;

/// A package that is linked in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    license: String,
    manifest: String,
}

/// The file: who, and then each text once, with those that it is of.
pub(super) fn text() -> Result<String> {
    let told = Cmd::cargo()
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", TARGET])
        .read()
        .context("`cargo metadata` failed")?;
    let metadata = serde_json::from_str(&told).context("`cargo metadata` did not print JSON")?;
    let packages = linked(&metadata, "genspan");
    let mut text = String::from(
        "The binary has parts of these packages, of Rust's standard library (MIT or Apache-2.0) and of\n\
         musl (MIT). Their licences follow.\n\n",
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let name = format!("{} {}", package.name, package.version);
        text += &format!("{name}: {}\n", package.license);
        let folder = Path::new(&package.manifest).parent();
        for content in folder.map(licences).unwrap_or_default() {
            texts.entry(content).or_default().push(name.clone());
        }
    }
    for (content, names) in texts {
        text += &format!("\n{}\n{}\n\n{content}\n", "-".repeat(78), names.join(", "));
    }
    Ok(text)
}

/// The packages of others that one is linked with, by the graph of `cargo metadata`: neither what only
/// builds or tests need, nor what is of this repository.
fn linked(metadata: &Value, root: &str) -> BTreeSet<Package> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata["packages"]);
    let nodes = list(&metadata["resolve"]["nodes"]);
    let mut waiting: Vec<String> = packages
        .iter()
        .filter(|package| package["name"] == root)
        .map(|package| string(&package["id"]))
        .collect();
    let mut seen: BTreeSet<String> = waiting.iter().cloned().collect();
    while let Some(id) = waiting.pop() {
        let node = nodes.iter().find(|node| node["id"] == id.as_str());
        for dep in node.map(|node| list(&node["deps"])).unwrap_or_default() {
            let normal = list(&dep["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null());
            let id = string(&dep["pkg"]);
            if normal && seen.insert(id.clone()) {
                waiting.push(id);
            }
        }
    }
    packages
        .iter()
        .filter(|package| seen.contains(&string(&package["id"])) && !package["source"].is_null())
        .map(|package| Package {
            name: string(&package["name"]),
            version: string(&package["version"]),
            license: string(&package["license"]),
            manifest: string(&package["manifest_path"]),
        })
        .collect()
}

/// What the licences of a package say: its own, and those of code that it brings along in folders.
fn licences(folder: &Path) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().to_uppercase();
            // A link is neither here.
            let is = |what: fn(&fs::FileType) -> bool| entry.file_type().is_ok_and(|t| what(&t));
            if is(fs::FileType::is_dir) && depth < DEPTH {
                folders.push((entry.path(), depth + 1));
            }
            let named = FILES.iter().any(|start| name.starts_with(start));
            // zstd is under either of two; the other is the GPL.
            let chosen = depth == 0 || !name.starts_with("COPYING");
            if is(fs::FileType::is_file) && named && chosen {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                texts.insert(text.trim().replace('\r', ""));
            }
        }
    }
    texts.remove("");
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn licences_of_code_that_is_brought_along_are_found() {
        let dir = std::env::temp_dir().join(format!("genspan-notices-{}", std::process::id()));
        let deep = dir.join("c/lib");
        fs::create_dir_all(deep.join("more/much")).expect("folders");
        for (file, text) in [
            (dir.join("LICENSE-MIT"), "mine\r\n"),
            (dir.join("COPYING"), "also mine"),
            (dir.join("README"), "no licence"),
            (deep.join("License.txt"), "theirs"),
            (deep.join("COPYING"), "not taken"),
            (deep.join("more/much/LICENSE"), "too deep"),
        ] {
            fs::write(file, text).expect("written");
        }
        let found: Vec<String> = licences(&dir).into_iter().collect();
        fs::remove_dir_all(&dir).expect("removed");
        assert_eq!(found, ["also mine", "mine", "theirs"]);
    }

    #[test]
    fn what_is_linked_is_told_and_nothing_else() {
        let package = |id: &str, source: Option<&str>| {
            json!({"id": id, "name": id, "version": "1.0.0", "license": "MIT",
                   "manifest_path": format!("/x/{id}/Cargo.toml"), "source": source})
        };
        let node = |id: &str, deps: &[(&str, Option<&str>)]| {
            let deps: Vec<Value> = deps
                .iter()
                .map(|(id, kind)| json!({"pkg": id, "dep_kinds": [{"kind": kind}]}))
                .collect();
            json!({"id": id, "deps": deps})
        };
        let registry = Some("registry");
        let metadata = json!({
            "packages": [
                package("mine", None), package("common", None), package("direct", registry),
                package("deep", registry), package("build", registry), package("test", registry),
                package("stranger", registry),
            ],
            "resolve": {"nodes": [
                node("mine", &[("common", None), ("build", Some("build")), ("test", Some("dev"))]),
                node("common", &[("direct", None)]),
                node("direct", &[("deep", None), ("direct", None)]),
                node("stranger", &[]),
            ]},
        });
        let names: Vec<String> = linked(&metadata, "mine")
            .into_iter()
            .map(|p| p.name)
            .collect();
        assert_eq!(names, ["deep", "direct"]);
    }
}
