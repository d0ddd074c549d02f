//! Which files there are, and how much they take.

use super::counts::Counts;
use super::record;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What most file systems give a file at least.
const BLOCK: u64 = 4096;
/// Most batches that wait, of all queues: each is a file, and a directory takes no end of them badly.
const MAX_FILES: usize = 100_000;
/// What the names of batches end in.
const SUFFIX: &str = ".otlp";
/// A batch that is being written.
const TEMPORARY: &str = "new.tmp";
/// More items than a batch ever has.
const MAX_ITEMS: u64 = 1 << 40;

/// What a file of this length takes.
pub(super) const fn on_disk(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * BLOCK
}

/// A batch that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) items: u64,
    bytes: u64,
}

impl Entry {
    fn name(self) -> String {
        format!("{:016x}-{}{SUFFIX}", self.sequence, self.items)
    }

    /// Of a file's name and length; none of another file's.
    fn of(name: &str, length: u64) -> Option<Self> {
        let (sequence, items) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let entry = Self {
            sequence: u64::from_str_radix(sequence, 16).ok()?,
            items: items.parse().ok().filter(|n| *n <= MAX_ITEMS)?,
            bytes: on_disk(length),
        };
        // One spelling for each, so that its file is found again.
        (entry.name() == name && entry.sequence < u64::MAX).then_some(entry)
    }
}

/// The batches of a queue, the oldest first.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) name: String,
    pub(super) claimed: bool,
    pub(super) counts: Arc<Counts>,
    directory: PathBuf,
    entries: VecDeque<Entry>,
    /// The one that is being delivered, and must not go meanwhile.
    taken: Option<u64>,
}

impl Waiting {
    pub(super) fn new(name: &str, directory: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            claimed: false,
            counts: Arc::default(),
            directory,
            entries: VecDeque::new(),
            taken: None,
        }
    }

    /// With what is in the directory.
    pub(super) fn read(name: &str, directory: PathBuf) -> io::Result<Self> {
        let mut found = Vec::new();
        for file in fs::read_dir(&directory)? {
            let file = file?;
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            if name == TEMPORARY {
                // It was being written when its process died.
                fs::remove_file(file.path())?;
                continue;
            }
            let length = file.metadata().ok().filter(fs::Metadata::is_file);
            found.extend(length.and_then(|m| Entry::of(name, m.len())));
        }
        found.sort_unstable_by_key(|e| e.sequence);
        let mut waiting = Self::new(name, directory);
        for entry in found {
            waiting.push(entry);
        }
        Ok(waiting)
    }

    fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        self.counts.batches.fetch_add(1, Relaxed);
        self.counts.items.fetch_add(entry.items, Relaxed);
        self.counts.bytes.fetch_add(entry.bytes, Relaxed);
    }

    /// The oldest that may go.
    fn victim(&self) -> Option<u64> {
        let mut all = self.entries.iter().map(|e| e.sequence);
        all.find(|sequence| Some(*sequence) != self.taken)
    }

    /// Removes one and its file.
    fn remove(&mut self, sequence: u64) -> Option<Entry> {
        // The first, or the one behind it.
        let at = self.entries.iter().position(|e| e.sequence == sequence)?;
        let entry = self.entries.remove(at)?;
        let path = self.directory.join(entry.name());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
            _ => {}
        }
        self.counts.batches.fetch_sub(1, Relaxed);
        self.counts.items.fetch_sub(entry.items, Relaxed);
        self.counts.bytes.fetch_sub(entry.bytes, Relaxed);
        if self.entries.is_empty() {
            self.counts.told_full.store(false, Relaxed);
        }
        Some(entry)
    }
}

/// All queues.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) queues: Vec<Waiting>,
    next: u64,
    bytes: u64,
    count: usize,
}

impl Files {
    /// Adds a queue; gives its index.
    pub(super) fn add(&mut self, waiting: Waiting) -> usize {
        let last = waiting.entries.back().map_or(0, |e| e.sequence + 1);
        self.next = self.next.max(last);
        self.bytes += waiting.entries.iter().map(|e| e.bytes).sum::<u64>();
        self.count += waiting.entries.len();
        self.queues.push(waiting);
        self.queues.len() - 1
    }

    /// Drops the oldest batches until there is room; gives whether there is.
    pub(super) fn make_room(&mut self, bytes: u64, max_bytes: u64) -> bool {
        while self.bytes + bytes > max_bytes || self.count >= MAX_FILES {
            let victims = self.queues.iter().enumerate();
            let oldest = victims
                .filter_map(|(at, q)| Some((q.victim()?, at)))
                .min_by_key(|(sequence, _)| *sequence);
            let Some((sequence, index)) = oldest else {
                return false;
            };
            let Some(entry) = self.drop_entry(index, sequence) else {
                return false;
            };
            let Some(queue) = self.queues.get(index) else {
                return false;
            };
            queue.counts.dropped_full.fetch_add(entry.items, Relaxed);
            if !queue.counts.told_full.swap(true, Relaxed) {
                tracing::warn!(
                    "the spool is full ({} MiB): the oldest batches of {} are dropped until it was \
                     empty once; a larger one holds more",
                    max_bytes >> 20,
                    queue.name
                );
            }
        }
        true
    }

    /// Writes a batch, the youngest of all.
    /// Gives its place in the order.
    pub(super) fn write(&mut self, index: usize, items: u64, content: &[u8]) -> io::Result<u64> {
        let queue = self.queues.get_mut(index);
        let queue = queue.ok_or(io::ErrorKind::NotFound)?;
        let entry = Entry {
            sequence: self.next,
            items: items.min(MAX_ITEMS),
            bytes: on_disk(content.len() as u64),
        };
        let temporary = queue.directory.join(TEMPORARY);
        let path = queue.directory.join(entry.name());
        if let Err(error) = record::write(&temporary, &path, content) {
            fs::remove_file(&temporary).ok();
            return Err(error);
        }
        // The name, too, must be on the disk. Where this fails the batch is there all the same.
        File::open(&queue.directory).and_then(|d| d.sync_all()).ok();
        queue.push(entry);
        self.next += 1;
        self.bytes += entry.bytes;
        self.count += 1;
        Ok(entry.sequence)
    }

    /// The oldest of a queue, which is not dropped until it is released, and its file.
    pub(super) fn take(&mut self, index: usize) -> Option<(Entry, PathBuf)> {
        let queue = self.queues.get_mut(index)?;
        let entry = *queue.entries.front()?;
        queue.taken = Some(entry.sequence);
        Some((entry, queue.directory.join(entry.name())))
    }

    /// The one behind that, in its place.
    pub(super) fn take_behind(&mut self, index: usize, sequence: u64) -> Option<(Entry, PathBuf)> {
        let queue = self.queues.get_mut(index)?;
        let entry = *queue.entries.iter().find(|e| e.sequence > sequence)?;
        queue.taken = Some(entry.sequence);
        Some((entry, queue.directory.join(entry.name())))
    }

    /// That one is not dropped until it is released.
    pub(super) fn hold(&mut self, index: usize, sequence: u64) {
        if let Some(queue) = self.queues.get_mut(index) {
            queue.taken = Some(sequence);
        }
    }

    /// What was taken may go.
    pub(super) fn release(&mut self, index: usize) {
        if let Some(queue) = self.queues.get_mut(index) {
            queue.taken = None;
        }
    }

    /// Removes a batch.
    pub(super) fn drop_entry(&mut self, index: usize, sequence: u64) -> Option<Entry> {
        let entry = self.queues.get_mut(index)?.remove(sequence)?;
        self.bytes -= entry.bytes;
        self.count -= 1;
        Some(entry)
    }
}
