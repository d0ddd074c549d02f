//! What is installed where a Python process imports from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::archive;
use super::classify::Distribution;
use super::classify::description::Description;
use super::rooted::Rooted;

/// Most folders of a `sys.path` that are looked into.
const MAX_FOLDERS: usize = 48;
/// Most distributions that are told of one process.
const MAX_DISTRIBUTIONS: usize = 4096;
/// Most folders whose contents are remembered; then the memory starts anew.
const MAX_REMEMBERED: usize = 1024;
/// How deep in an archive a folder may be.
const MAX_DEPTH: usize = 8;

/// Folder or archive, inode and time of change: as long as they stay, so do the names in it. And the folder
/// within an archive.
type Stamp = ((u64, u64, i64, i64), PathBuf);

/// Remembers which folder holds which distributions: the same environment serves many processes.
#[derive(Debug, Default)]
pub struct Distributions {
    seen: HashMap<Stamp, (Vec<Distribution>, bool)>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Installed {
    /// The distributions; of two of one name the one that is imported.
    pub all: Vec<Distribution>,
    /// Why there may be others.
    pub unseen: Option<String>,
}

impl Distributions {
    /// The distributions in these folders, which stand in the order of a `sys.path`.
    pub fn of(&mut self, files: &Rooted, path: &[PathBuf], until: Instant) -> Installed {
        let mut found = Installed::default();
        if path.len() > MAX_FOLDERS {
            found.unseen = Some(format!("more than {MAX_FOLDERS} folders"));
        }
        for folder in path.iter().take(MAX_FOLDERS) {
            if Instant::now() >= until {
                found.unseen = Some("it took too long".to_owned());
                break;
            }
            match self.folder(files, folder) {
                Ok((all, whole)) => {
                    for one in all {
                        if found.all.len() >= MAX_DISTRIBUTIONS {
                            found.unseen = Some("there are too many".to_owned());
                            return found;
                        }
                        if !found.all.iter().any(|f| f.name == one.name) {
                            found.all.push(one.clone());
                        }
                    }
                    if !whole {
                        found.unseen = Some(format!("too much in {}", folder.display()));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                    found.unseen = Some(error.to_string());
                }
                // Not there.
                Err(_) => {}
            }
        }
        found
    }

    fn folder(
        &mut self,
        files: &Rooted,
        folder: &Path,
    ) -> std::io::Result<&(Vec<Distribution>, bool)> {
        let (archive, inside) = match files.stamp(folder) {
            Ok(_) => (folder, Path::new("")),
            Err(error) => archive_of(files, folder).ok_or(error)?,
        };
        let stamp = (files.stamp(archive)?, inside.to_owned());
        if self.seen.len() >= MAX_REMEMBERED {
            self.seen.clear();
        }
        match self.seen.entry(stamp) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(new) => {
                let opened = files.file(archive)?;
                if opened.metadata()?.is_file() {
                    let inside = inside.to_string_lossy();
                    return Ok(new.insert(archive::distributions(&opened, &inside)?));
                }
                let (names, whole) = files.names(folder)?;
                let found = names.iter().filter_map(|n| Distribution::of_file_name(n));
                Ok(new.insert((found.collect(), whole)))
            }
        }
    }
}

/// The archive that a path leads into, and the path within it: `/srv/app.pex/.deps/a.whl`.
fn archive_of<'p>(files: &Rooted, path: &'p Path) -> Option<(&'p Path, &'p Path)> {
    let mut above = path.ancestors().skip(1).take(MAX_DEPTH);
    let archive = above.find(|p| files.stamp(p).is_ok())?;
    files.has(archive).then_some(())?;
    Some((archive, path.strip_prefix(archive).ok()?))
}

/// Where a Python most likely imports from, as long as it was not asked itself: by where it is, by the
/// environment that its command line names, by what it has mapped (`Lib/site.py`, `Modules/getpath.py`).
#[must_use]
pub fn likely_path(process: &Description, variables: &Variables, files: &Rooted) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    if let Some(path) = &variables.python_path {
        all.extend(
            path.split(':')
                .filter(|p| p.starts_with('/'))
                .map(PathBuf::from),
        );
    }
    let Some(version) = process.version.as_deref().and_then(minor) else {
        all.extend(mapped_folders(process));
        return without_twins(all);
    };
    let library = format!("python{version}");
    let mut with_base = true;
    if let Some((prefix, settings)) = environment(process, variables, files) {
        all.extend(site(&prefix, &library));
        with_base = includes_base(&settings);
        if with_base && let Some(home) = home_of(&settings) {
            all.extend(
                home.parent()
                    .map(|p| site(p, &library))
                    .into_iter()
                    .flatten(),
            );
        }
    }
    if with_base {
        if let Some(home) = &variables.home {
            all.push(home.join(".local/lib").join(&library).join("site-packages"));
        }
        let executable = Path::new(&process.executable);
        if let Some(prefix) = executable.parent().and_then(Path::parent) {
            all.extend(site(prefix, &library));
        }
        // Debian and its kin.
        if executable.starts_with("/usr/bin") {
            all.push(PathBuf::from(format!(
                "/usr/local/lib/{library}/dist-packages"
            )));
            all.push(PathBuf::from("/usr/lib/python3/dist-packages"));
        }
    }
    all.extend(mapped_folders(process));
    without_twins(all)
}

/// Variables of the process that say where it imports from.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// `PYTHONPATH`
    pub python_path: Option<String>,
    /// `VIRTUAL_ENV`, or `CONDA_PREFIX`
    pub environment: Option<PathBuf>,
    /// `HOME`
    pub home: Option<PathBuf>,
    /// `PATH`
    pub path: Option<String>,
}

/// `3.12` of `3.12.1`.
fn minor(version: &str) -> Option<String> {
    let mut parts = version.split('.');
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}

fn site(prefix: &Path, library: &str) -> [PathBuf; 2] {
    ["lib", "lib64"].map(|lib| prefix.join(lib).join(library).join("site-packages"))
}

/// The virtual environment that a process runs in: its folder and the text of its `pyvenv.cfg`.
fn environment(
    process: &Description,
    variables: &Variables,
    files: &Rooted,
) -> Option<(PathBuf, String)> {
    let settings = |prefix: &Path| files.text(&prefix.join("pyvenv.cfg")).ok();
    let mut starts: Vec<PathBuf> = Vec::new();
    // The interpreter by the name under which it was called, which the kernel's link does not tell.
    if let Some(first) = process.command.first() {
        if first.starts_with('/') {
            starts.push(PathBuf::from(first));
        } else if !first.contains('/') && !first.is_empty() {
            let folders = variables.path.as_deref().unwrap_or_default().split(':');
            let on_path = folders
                .filter(|f| f.starts_with('/'))
                .map(|f| Path::new(f).join(first));
            starts.extend(on_path.into_iter().find(|p| files.has(p)));
        }
    }
    let prefixes = starts.iter().filter_map(|p| p.parent()?.parent());
    let named = prefixes
        .map(Path::to_owned)
        .find_map(|p| Some((settings(&p)?, p)));
    let found = named.or_else(|| {
        let prefix = variables.environment.clone()?;
        Some((settings(&prefix)?, prefix))
    });
    found.map(|(settings, prefix)| (prefix, settings))
}

/// A setting of a `pyvenv.cfg`.
fn setting<'a>(settings: &'a str, name: &str) -> Option<&'a str> {
    settings.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn includes_base(settings: &str) -> bool {
    setting(settings, "include-system-site-packages")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Where the interpreter beneath an environment is.
fn home_of(settings: &str) -> Option<PathBuf> {
    setting(settings, "home")
        .filter(|h| h.starts_with('/'))
        .map(PathBuf::from)
}

/// Folders of packages of which the process has something mapped.
fn mapped_folders(process: &Description) -> Vec<PathBuf> {
    let found = process.mapped.iter().filter_map(|path| {
        let at = ["/site-packages/", "/dist-packages/"]
            .iter()
            .find_map(|f| Some(path.find(f)? + f.len() - 1))?;
        path.get(..at).map(PathBuf::from)
    });
    found.collect()
}

fn without_twins(all: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in all {
        if !kept.contains(&path) {
            kept.push(path);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{Distributions, Variables, home_of, includes_base, likely_path, mapped_folders};
    use crate::target::classify::Description;
    use crate::target::rooted::Rooted;
    use std::fs;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    #[test]
    fn settings_of_environments() {
        let text =
            "home = /opt/python/bin\nInclude-System-Site-Packages = True\nversion = 3.12.1\n";
        assert!(includes_base(text));
        assert_eq!(home_of(text), Some(PathBuf::from("/opt/python/bin")));
        assert!(!includes_base(
            "home=/x\ninclude-system-site-packages = false"
        ));
        assert!(!includes_base(""));
        assert_eq!(home_of("home = relative"), None);
    }

    #[test]
    fn mapped_files_lead_to_folders() {
        let process = Description {
            mapped: vec![
                "/v/lib/python3.12/site-packages/jiter/jiter.so".to_owned(),
                "/usr/lib/libc.so.6".to_owned(),
            ],
            ..Description::default()
        };
        let want = PathBuf::from("/v/lib/python3.12/site-packages");
        assert_eq!(mapped_folders(&process), [want]);
    }

    #[test]
    fn an_environment_is_found_by_the_name_of_its_interpreter() {
        let dir = std::env::temp_dir().join(format!("genspan-venv-{}", std::process::id()));
        let site = dir.join("lib/python3.12/site-packages");
        fs::create_dir_all(site.join("openai-2.1.0.dist-info")).unwrap();
        fs::create_dir_all(site.join("openai")).unwrap();
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::write(dir.join("bin/python"), "").unwrap();
        fs::write(dir.join("pyvenv.cfg"), "home = /nowhere/bin\n").unwrap();
        let files = Rooted::open(std::process::id()).unwrap();
        let bin = dir.join("bin");
        let on_path = Variables {
            path: Some(format!("/no/such/bin:{}", bin.display())),
            ..Variables::default()
        };
        let activated = Variables {
            environment: Some(dir.clone()),
            ..Variables::default()
        };
        let by_path = bin.join("python").display().to_string();
        for (first, variables) in [
            (by_path.as_str(), Variables::default()),
            ("python", on_path),
            ("./python", activated),
        ] {
            let process = Description {
                python: true,
                version: Some("3.12.4".to_owned()),
                executable: "/nowhere/bin/python3.12".to_owned(),
                command: vec![first.to_owned(), "app.py".to_owned()],
                ..Description::default()
            };
            let path = likely_path(&process, &variables, &files);
            assert_eq!(path.first(), Some(&site), "{first}: {path:?}");
            assert!(!path.iter().any(|p| p.starts_with("/nowhere")), "{path:?}");
            let until = Instant::now() + Duration::from_secs(5);
            let found = Distributions::default().of(&files, &path, until);
            let names: Vec<_> = found.all.iter().map(|d| d.name.as_str()).collect();
            assert_eq!((names, found.unseen), (vec!["openai"], None));
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
