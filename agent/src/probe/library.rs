//! A TLS library of a process: probed, tried where it was found by its code, given up.

use std::path::PathBuf;

use crate::probe::attach::TraceError;
use crate::probe::kernel::{AttachError, Kernel, Probes};
use crate::probe::trial::Trial;
use crate::target::process::{self, MappedFile};
use crate::target::tls::{self, FileKey, TlsFile, TlsFinder};

/// A TLS library of a process, with its probes if it could be probed.
#[derive(Debug)]
pub struct AttachedLibrary {
    /// Path as the process sees it.
    pub path: PathBuf,
    /// Path by which we reach it.
    pub(super) reach: PathBuf,
    /// What was found in it.
    pub found: TlsFile,
    pub(super) id: (i32, i32, u64),
    /// Why there are no probes, when there should be.
    pub failed: Option<String>,
    /// The process has it mapped; until then it was only foreseen.
    pub(super) mapped: bool,
    /// What calls said of its functions, where these were found by their code, and by what the file is known then.
    pub(super) trial: Option<(Trial, Option<FileKey>)>,
    pub(super) probes: Probes,
}

impl AttachedLibrary {
    /// Whether what goes through it is read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.mapped && self.failed.is_none() && matches!(self.found, TlsFile::Reachable(_))
    }

    /// Of one whose functions were found by their code, and that is read: whether calls showed that this is right.
    #[must_use]
    pub fn verified_by_calls(&self) -> Option<bool> {
        let (trial, _) = self.trial.as_ref().filter(|_| self.is_read())?;
        Some(trial.is_verified())
    }

    /// It is something else than it was taken for.
    pub(super) fn give_up(&mut self, kernel: &mut Kernel, pid: u32, why: &str) {
        if let Some((trial, _)) = &self.trial {
            kernel.revoke_guesses(pid, trial.addresses());
        }
        self.probes = Probes::default();
        let path = self.path.display();
        self.failed = Some(format!(
            "{path}: found by its code, but given up: {why}; nothing of it is told"
        ));
    }

    /// Whether this is the library in a mapped file. Some file systems show another device for a
    /// mapping than for the file, so for one that was foreseen its number and name are enough.
    pub(super) fn is(&self, file: &MappedFile) -> bool {
        self.id == file.id
            || (!self.mapped
                && self.id.2 == file.id.2
                && self.path.file_name() == file.path.file_name())
    }
}

/// Probes the TLS library in this file, if there is one.
pub(super) fn attach(
    kernel: &mut Kernel,
    finder: &mut TlsFinder,
    pid: u32,
    file: &MappedFile,
    mapped: bool,
) -> Result<Option<AttachedLibrary>, TraceError> {
    let found = finder.examine(&file.reach);
    let mut failed = None;
    let mut probes = Probes::default();
    let mut trial = None;
    match &found {
        TlsFile::None => return Ok(None),
        TlsFile::Reachable(reachable) => {
            let guessed = reachable.is_guessed();
            if guessed {
                let key = TlsFinder::key(&file.reach);
                trial = Some((Trial::new(&reachable.places), key));
            }
            match kernel.attach_tls(pid, &file.reach, &reachable.places, guessed) {
                Ok(attached) => probes = attached,
                Err(gone @ AttachError::Gone(_)) => return Err(gone.into()),
                Err(_) if !process::runs(pid) => return Err(AttachError::Gone(pid).into()),
                Err(e) => failed = Some(e.to_string()),
            }
        }
        TlsFile::Unreadable(_) if !process::runs(pid) => {
            return Err(AttachError::Gone(pid).into());
        }
        TlsFile::Unreachable { .. } | TlsFile::Unreadable(_) => {
            failed = Some(tls::describe(&file.path, &found));
        }
    }
    match &failed {
        None => tracing::debug!(pid, "{}", tls::describe(&file.path, &found)),
        Some(why) => tracing::warn!(pid, "{why}"),
    }
    Ok(Some(AttachedLibrary {
        path: file.path.clone(),
        reach: file.reach.clone(),
        found,
        id: file.id,
        failed,
        mapped,
        trial,
        probes,
    }))
}

/// What calls said of libraries holds no more: another program runs. One that was given up for what the program before it
/// did is to be looked for again; where its file is wrong, the finder knows. Gives the addresses of which the
/// kernel knows.
pub(super) fn begin_anew(libraries: &mut Vec<AttachedLibrary>) -> Vec<u64> {
    let trials = libraries.iter().filter_map(|l| l.trial.as_ref());
    let mut known: Vec<u64> = trials.flat_map(|(t, _)| t.addresses()).copied().collect();
    // Stands for all of which nothing is known.
    known.push(0);
    libraries.retain(|l| l.failed.is_none() || l.trial.is_none());
    for (trial, _) in libraries.iter_mut().filter_map(|l| l.trial.as_mut()) {
        trial.restart();
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::place::{Form, Placement, TlsPlacements};
    use genspan_common::guess::verdict;
    use std::path::Path;

    #[test]
    fn another_program_is_another_trial() {
        const READ: u64 = 0x7f00_0000_1010;
        let place = |offset| Placement {
            offset,
            form: Form::Ex,
            emulated: true,
        };
        let places = TlsPlacements {
            reads: vec![place(0x1010)],
            writes: vec![place(0x2020)],
            free: None,
        };
        let library = |name: &str, failed: Option<&str>, said: Option<u32>| {
            let mut trial = Trial::new(&places);
            if let Some(said) = said {
                trial.hear(READ, None, said);
            }
            AttachedLibrary {
                path: name.into(),
                reach: name.into(),
                found: TlsFile::None,
                id: (0, 0, 1),
                failed: failed.map(str::to_owned),
                mapped: true,
                trial: said.map(|_| (trial, None)),
                probes: Probes::default(),
            }
        };
        let mut all = vec![
            library("given up", Some("why"), Some(verdict::NO_LENGTH)),
            library("read", None, Some(verdict::PLAUSIBLE)),
            library("with names", Some("refused"), None),
        ];
        let mut known = begin_anew(&mut all);
        known.sort_unstable();
        known.dedup();
        assert_eq!(known, [0, READ, READ + 0x1010]);
        let left: Vec<_> = all.iter().map(|l| l.path.as_path()).collect();
        assert_eq!(left, [Path::new("read"), Path::new("with names")]);
        let trial = all[0].trial.as_ref().map(|(t, _)| t.addresses().len());
        assert_eq!(trial, Some(0));
    }
}
