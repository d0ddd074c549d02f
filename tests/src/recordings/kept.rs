//! What was told in a run, kept, so that a comparison that was broken off need not begin anew: all of
//! it takes an hour.

use super::packages::{Http, Package};
use crate::{need, programs};
use anyhow::{Context as _, Result};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

/// What a run left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The driver's report, as JSON.
    pub report: String,
    /// The spans, as lines of JSON.
    pub spans: String,
    /// What the agent complained of.
    pub log: String,
}

/// Where a run is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    dir: PathBuf,
    key: String,
}

impl Kept {
    /// Of a run with this plan, in a folder of its own below `dir`.
    ///
    /// # Errors
    ///
    /// When what the run is made of cannot be read.
    pub fn of(dir: &Path, package: &Package, http: Http, plan: &str) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        plan.hash(&mut hasher);
        let mut files = vec![need::agent()?, programs().join("replay/drive.py")];
        let senders = programs().join("replay/senders");
        for entry in fs::read_dir(&senders).with_context(|| senders.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "py") {
                files.push(path);
            }
        }
        files.sort();
        for file in files {
            let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
            bytes.hash(&mut hasher);
        }
        Ok(Self {
            dir: dir.join(format!("{}-{}", package.environment, http.name())),
            key: format!("{:016x}", hasher.finish()),
        })
    }

    /// What was kept of the same agent, programs and plan.
    #[must_use]
    pub fn read(&self) -> Option<Told> {
        let file = |name: &str| fs::read_to_string(self.dir.join(name)).ok();
        (file("key")? == self.key).then_some(())?;
        Some(Told {
            report: file("report.json")?,
            spans: file("spans.jsonl")?,
            log: file("log")?,
        })
    }

    /// Keeps it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, told: &Told) -> Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| self.dir.display().to_string())?;
        let write = |name: &str, text: &str| {
            let file = self.dir.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
        };
        // Half of it counts for nothing.
        write("key", "")?;
        write("report.json", &told.report)?;
        write("spans.jsonl", &told.spans)?;
        write("log", &told.log)?;
        write("key", &self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept, Told};
    use crate::temp::Temp;

    #[test]
    fn only_what_is_of_the_same_is_read() {
        let temp = Temp::new().expect("a folder");
        let kept = |key: &str| Kept {
            dir: temp.file("lab-x-2"),
            key: key.to_owned(),
        };
        let told = Told {
            report: "{}".to_owned(),
            spans: "{\"name\":\"a\"}\n".to_owned(),
            log: String::new(),
        };
        assert_eq!(kept("1").read(), None);
        kept("1").write(&told).expect("written");
        assert_eq!(kept("1").read(), Some(told));
        assert_eq!(kept("2").read(), None);
        std::fs::remove_file(temp.file("lab-x-2/spans.jsonl")).expect("removed");
        assert_eq!(kept("1").read(), None);
    }
}
