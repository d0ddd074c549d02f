//! Where recordings, references and the programs that replay them are, when they are.

use super::{Exchange, Peer, cassette};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// The recordings beside this repository.
#[derive(Clone, Debug)]
pub struct Lab {
    dir: PathBuf,
}

impl Lab {
    /// The lab, if there is one: where `GENSPAN_LAB` says, or beside this repository.
    #[must_use]
    pub fn find() -> Option<Self> {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/lab");
        let dir = std::env::var_os("GENSPAN_LAB").map_or_else(beside, PathBuf::from);
        let dir = dir.canonicalize().ok()?;
        dir.join("openai_files.txt")
            .is_file()
            .then_some(Self { dir })
    }

    /// The recordings of OpenAI-shaped traffic, by their names below [`Self::path`].
    ///
    /// # Errors
    ///
    /// When the list cannot be read.
    pub fn files(&self) -> Result<Vec<String>> {
        let list = self.path("openai_files.txt");
        let text = std::fs::read_to_string(&list)
            .with_context(|| format!("cannot read {}", list.display()))?;
        let names = text.lines().map(str::trim).filter(|l| !l.is_empty());
        Ok(names.map(str::to_owned).collect())
    }

    /// All recordings, by their names below [`Self::path`].
    ///
    /// # Errors
    ///
    /// When they cannot be listed.
    pub fn all_files(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut dirs = vec![self.path("cassettes")];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir)? {
                let path = entry?.path();
                if path.is_dir() {
                    dirs.push(path);
                } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                    let name = path.strip_prefix(&self.dir)?;
                    found.push(name.to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Something in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What one recording holds.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn exchanges(&self, file: &str) -> Result<Vec<Exchange>> {
        cassette::load(&self.path(file)).with_context(|| file.to_owned())
    }

    /// What the peer reported for a recording.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn peer(&self, file: &str) -> Result<Peer> {
        let name = Path::new(below(file)).with_extension("json");
        Peer::load(&self.path("expected/genai-openai").join(name))
    }

    /// Where its environments and certificates are.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        let named = std::env::var_os("LAB_HOME").map(PathBuf::from);
        named.unwrap_or_else(|| {
            let home = std::env::var_os("HOME").map(PathBuf::from);
            home.unwrap_or_default().join(".cache/genspan-lab")
        })
    }

    /// The interpreter of the environment that replays, if it is set up.
    #[must_use]
    pub fn python(&self) -> Option<PathBuf> {
        let python = self.home().join("venvs/replay/bin/python");
        python.is_file().then_some(python)
    }
}

/// A recording's name below the folder of all recordings.
#[must_use]
pub fn below(file: &str) -> &str {
    file.strip_prefix("cassettes/").unwrap_or(file)
}
