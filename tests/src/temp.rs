//! A directory for one test.

use anyhow::{Context as _, Result, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that is gone with this value.
#[derive(Debug)]
pub struct Temp(PathBuf);

impl Temp {
    /// A new one; others may look into it.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        Self::below(&std::env::temp_dir())
    }

    /// A new one below this directory.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn below(place: &Path) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("genspan-live-{}-{number}", std::process::id());
        let dir = place.join(name);
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let temp = Self(dir);
        std::fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o755))?;
        Ok(temp)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A copy of a program in it, which can be run at once, by anybody. A process of its own writes
    /// it: what this one has open for writing, whatever another thread starts meanwhile has too until
    /// it is a program of its own, and what anybody may write cannot be run (`ETXTBSY`).
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn copy_to_run(&self, program: &Path, name: &str) -> Result<PathBuf> {
        let copy = self.file(name);
        let (from, to) = (program.display(), copy.display());
        let made = Command::new("install")
            .arg("--mode=755")
            .args([program, &copy])
            .output()
            .context("install cannot be run")?;
        let complaints = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "{from} to {to}: {complaints}");
        Ok(copy)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if std::env::var_os("GENSPAN_KEEP").is_none() {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_copy_runs_while_other_threads_start_programs() -> Result<()> {
        let temp = Temp::new()?;
        let is_over = AtomicBool::new(false);
        let run = || {
            for number in 0..40 {
                let copy = temp.copy_to_run(Path::new("/bin/true"), &format!("copy{number}"))?;
                let status = Command::new(copy).status().context("the copy")?;
                ensure!(status.success(), "{status}");
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        Command::new("true").status().ok();
                    }
                });
            }
            let ran = run();
            is_over.store(true, Ordering::Relaxed);
            ran
        })
    }
}
