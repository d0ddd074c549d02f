//! Batches that could not be delivered, in files, until they can.
//!
//! A spool is one directory, for one process at a time, with a bound on what all of it may take. In
//! it each [`Queue`] (of an endpoint and a signal) has a directory, in which each batch is a file of
//! its own: [`record`] has its format. A file is written under another name, brought to the disk and
//! then renamed, so that one with its final name is whole unless the disk lost it; the number in its
//! name is its place in the order, over all queues. Nothing else is kept: what a restart finds is
//! what the file names say.
//!
//! When there is no room, the oldest batch of all queues goes, and its queue counts what was in it.
//! A batch goes from the disk after it was delivered, so one that was delivered in the moment before
//! the process or the machine died is delivered again.

mod counts;
mod files;
mod record;

#[cfg(test)]
pub(crate) mod tests;

pub use counts::{Counts, Standing};

use files::{Entry, Files, Waiting};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Room that a spool must have at least: that of one batch of the usual size, for two signals.
pub const MIN_BYTES: u64 = 1 << 20;
/// The file that says that a process has the spool.
const LOCK: &str = "lock";

/// Why there is no spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The system refused something.
    #[error("the spool {}: {source}", .path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no directory.
    #[error("the spool {}: not a directory", .0.display())]
    NoDirectory(PathBuf),
    /// Others could put batches there, or take them away.
    #[error("the spool {}: others can write to it (mode {mode:03o}): name a directory that is for genspan alone, or chmod go-w it", .path.display())]
    Writable {
        /// Which directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another user could do what it liked with it.
    #[error("the spool {}: it belongs to user {owner}, and this is user {own}", .path.display())]
    Owner {
        /// Which directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// Another process uses it.
    #[error("the spool {}: another genspan uses it", .0.display())]
    InUse(PathBuf),
    /// A queue is asked for twice.
    #[error("the spool has a queue `{0}` already: an endpoint may be given only once")]
    Twice(String),
}

impl SpoolError {
    fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { path, source }
    }
}

/// A spool; a handle.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    max_bytes: u64,
    files: Mutex<Files>,
    /// Locked for as long as the spool is used.
    _lock: File,
}

/// One endpoint's batches of one signal. Dropping it leaves them on the disk.
#[derive(Debug)]
pub struct Queue {
    spool: Arc<Inner>,
    index: usize,
    kind: u8,
    counts: Arc<Counts>,
}

/// A batch that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its place in the order.
    pub sequence: u64,
    /// How many items (spans, events) it has.
    pub items: u64,
    /// What was put in.
    pub body: Vec<u8>,
}

/// Why a batch was not taken; it is counted already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// There is no room for it.
    NoRoom,
    /// The disk does not take it.
    Disk,
}

impl Spool {
    /// Opens the directory, which is made if need be, with what waits in it. `max_bytes` bounds what
    /// all files take, in whole blocks; more than that, left by an earlier setting, goes when the next
    /// batch comes.
    ///
    /// # Errors
    /// When it cannot be used, others than this user could write to it, or another process has it.
    pub fn open(directory: &Path, max_bytes: u64) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::io(directory, source);
        if !directory.exists() {
            let mut maker = DirBuilder::new();
            maker
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(failed)?;
        }
        check(directory)?;
        let lock = lock(directory)?;
        let mut files = Files::default();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let Some(name) = name.to_str().filter(|n| is_directory && is_name(n)) {
                let path = entry.path();
                check(&path)?;
                let waiting = Waiting::read(name, path.clone())
                    .map_err(|source| SpoolError::io(&path, source))?;
                files.add(waiting);
            }
        }
        if max_bytes < MIN_BYTES {
            let directory = directory.display();
            tracing::warn!(
                "the spool {directory} has room for {} MiB: {max_bytes} bytes are too few",
                MIN_BYTES >> 20
            );
        }
        Ok(Self(Arc::new(Inner {
            directory: directory.to_owned(),
            max_bytes: max_bytes.max(MIN_BYTES),
            files: Mutex::new(files),
            _lock: lock,
        })))
    }

    /// The queue of this name, whose batches are of this kind; with what an earlier process left. The
    /// name becomes one of a directory: what is not a small letter, digit, `.`, `_` or `-` becomes `_`.
    ///
    /// # Errors
    /// When its directory cannot be made, or the queue was taken already.
    pub fn queue(&self, name: &str, kind: u8) -> Result<Queue, SpoolError> {
        let name = name_of(name);
        let mut files = self.0.lock();
        let known = files.queues.iter().position(|q| q.name == name);
        let index = match known {
            Some(index) => index,
            None => {
                let path = self.0.directory.join(&name);
                let made = DirBuilder::new().mode(0o700).create(&path);
                made.map_err(|source| SpoolError::io(&path, source))?;
                files.add(Waiting::new(&name, path))
            }
        };
        let counts = match files.queues.get_mut(index) {
            Some(queue) if !queue.claimed => {
                queue.claimed = true;
                Arc::clone(&queue.counts)
            }
            _ => return Err(SpoolError::Twice(name)),
        };
        drop(files);
        Ok(Queue {
            spool: Arc::clone(&self.0),
            index,
            kind,
            counts,
        })
    }

    /// The queues with batches that nobody asked for, and the items in them: those of endpoints that
    /// are not used any more. Their batches stay until the room is needed.
    #[must_use]
    pub fn unclaimed(&self) -> Vec<(String, u64)> {
        let files = self.0.lock();
        let left = files.queues.iter().filter(|q| !q.claimed);
        left.map(|q| (q.name.clone(), q.counts.items.load(Relaxed)))
            .filter(|(_, items)| *items > 0)
            .collect()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Puts a batch behind all others. Where there is no room, the oldest ones go.
    ///
    /// # Errors
    /// When it is lost instead.
    pub fn push(&self, items: u64, body: &[u8]) -> Result<(), Lost> {
        let lost = match self.put(items, body, false) {
            Ok(_) => return Ok(()),
            Err(lost) => lost,
        };
        let counter = match lost {
            Lost::NoRoom => &self.counts.dropped_full,
            Lost::Disk => &self.counts.dropped_failed,
        };
        counter.fetch_add(items, Relaxed);
        Err(lost)
    }

    /// The same for a batch that is on its way to the endpoint meanwhile, as if it had been taken: it stays
    /// until [`remove`](Self::remove), or goes back to the others by [`release`](Self::release). None when
    /// it could not be put there; then nothing is lost yet, and nothing counted.
    #[must_use]
    pub fn push_taken(&self, items: u64, body: &[u8]) -> Option<u64> {
        self.put(items, body, true).ok()
    }

    /// Puts a batch behind all others; gives its place in the order.
    fn put(&self, items: u64, body: &[u8], taken: bool) -> Result<u64, Lost> {
        if body.len() as u64 > record::MAX_BODY {
            return Err(Lost::NoRoom);
        }
        let content = record::file(self.kind, items, body).map_err(|e| self.failed(&e))?;
        let bytes = files::on_disk(content.len() as u64);
        let mut files = self.spool.lock();
        if bytes > self.spool.max_bytes || !files.make_room(bytes, self.spool.max_bytes) {
            return Err(Lost::NoRoom);
        }
        match files.write(self.index, items, &content) {
            Ok(sequence) => {
                if taken {
                    files.hold(self.index, sequence);
                }
                self.counts.written.fetch_add(items, Relaxed);
                self.counts.told_failed.store(false, Relaxed);
                Ok(sequence)
            }
            Err(error) => {
                drop(files);
                Err(self.failed(&error))
            }
        }
    }

    /// Says, once, that the disk takes nothing.
    fn failed(&self, error: &io::Error) -> Lost {
        if !self.counts.told_failed.swap(true, Relaxed) {
            let directory = self.spool.directory.display();
            tracing::warn!(
                "the spool {directory} takes nothing: {error}; what cannot be delivered is dropped"
            );
        }
        Lost::Disk
    }

    /// The oldest batch. It stays until [`remove`](Self::remove), and does not go for want of room
    /// until that or [`release`](Self::release). What is not a whole batch any more is counted and
    /// passed over.
    #[must_use]
    pub fn oldest(&self) -> Option<Batch> {
        self.whole(|files| files.take(self.index))
    }

    /// The one behind that, in its place: it is this one then that does not go.
    #[must_use]
    pub fn behind(&self, sequence: u64) -> Option<Batch> {
        self.whole(|files| files.take_behind(self.index, sequence))
    }

    fn whole(&self, next: impl Fn(&mut Files) -> Option<(Entry, PathBuf)>) -> Option<Batch> {
        loop {
            let (entry, path) = next(&mut self.spool.lock())?;
            match record::read(&path, self.kind, entry.items) {
                Ok(body) => {
                    return Some(Batch {
                        sequence: entry.sequence,
                        items: entry.items,
                        body,
                    });
                }
                Err(why) => {
                    tracing::warn!(
                        "a batch of {} items is lost: {}: {why}",
                        entry.items,
                        path.display()
                    );
                    self.remove(entry.sequence);
                    self.counts.dropped_corrupt.fetch_add(entry.items, Relaxed);
                }
            }
        }
    }

    /// The batch is over and done with; nothing is taken then. Whether it was still there.
    pub fn remove(&self, sequence: u64) -> bool {
        let mut files = self.spool.lock();
        let was_there = files.drop_entry(self.index, sequence).is_some();
        files.release(self.index);
        was_there
    }

    /// The batch that was taken stays for later.
    pub fn release(&self) {
        self.spool.lock().release(self.index);
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.batches.load(Relaxed) == 0
    }

    /// What waits, and what became of the rest; readable by anyone at any time.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

/// Whether a directory is ours alone to write to.
fn check(directory: &Path) -> Result<(), SpoolError> {
    let path = directory.to_owned();
    let found = fs::metadata(directory).map_err(|source| SpoolError::io(directory, source))?;
    if !found.is_dir() {
        return Err(SpoolError::NoDirectory(path));
    }
    // SAFETY: takes and gives plain numbers, and cannot fail.
    let own = unsafe { libc::geteuid() };
    let owner = found.uid();
    if owner != own && owner != 0 {
        return Err(SpoolError::Owner { path, owner, own });
    }
    let mode = found.mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(SpoolError::Writable { path, mode });
    }
    Ok(())
}

/// Takes the directory for this process; the lock goes with the file's handle, however the process
/// ends.
fn lock(directory: &Path) -> Result<File, SpoolError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|source| SpoolError::io(&path, source))?;
    // SAFETY: the descriptor is that of an open file, and no memory is handed over.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(file);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock {
        Err(SpoolError::InUse(directory.to_owned()))
    } else {
        Err(SpoolError::io(&path, error))
    }
}

/// A name for a queue's directory, and for nothing outside of the spool.
fn name_of(text: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
        'A'..='Z' => c.to_ascii_lowercase(),
        _ => '_',
    };
    let name: String = text.chars().take(MAX_NAME).map(plain).collect();
    name.trim_start_matches('.').to_owned()
}

/// Longest name of a queue.
const MAX_NAME: usize = 200;

fn is_name(name: &str) -> bool {
    !name.is_empty() && name_of(name) == name
}
