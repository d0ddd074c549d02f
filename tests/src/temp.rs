//! A directory for one test.

use anyhow::{Context as _, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("genspan-live-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
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
}

impl Drop for Temp {
    fn drop(&mut self) {
        if std::env::var_os("GENSPAN_KEEP").is_none() {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }
}
