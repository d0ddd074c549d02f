//! What is known of a file that may hold an interpreter, by its identity: the processes of a host have few
//! of them between them, and looking through tables of symbols takes longer than all the rest of a look.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use object::read::{ReadCache, ReadRef};

use super::resume;
use super::tls::{FileKey, give_back, key_of, key_of_file};
use crate::probe::elf::{Image, Load};
use crate::probe::place;

/// The variable that holds everything, and the section in which it is alone from 3.10 on.
const RUNTIME: &str = "_PyRuntime";
const RUNTIME_SECTION: &str = ".PyRuntime";
/// `PY_VERSION_HEX` as a variable, from 3.11 on.
const VERSION: &str = "Py_Version";

/// Most files that are remembered; beyond them, the one that was not asked for longest is forgotten.
const MAX_FILES: usize = 256;

/// Most of its functions that are remembered.
const MAX_PLACES: usize = 64;

/// What a file tells. Addresses are as the file counts.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Of the variable that holds everything.
    pub(super) runtime: Option<u64>,
    /// Of the variable that says the version.
    pub(super) version: Option<u64>,
    /// Parts that are writable when it is loaded: address and length.
    pub(super) writable: Vec<(u64, u64)>,
    loads: Vec<Load>,
    /// Of the variable that holds everything, where no symbol told it and it was found in a process.
    found: OnceLock<u64>,
    /// Where probes on functions go, of those that were asked for: offsets in the file.
    places: Mutex<HashMap<&'static str, Option<u64>>>,
    /// What was found of its code by which functions begin, once that was looked for.
    pub(super) resume: resume::Remembered,
}

impl Facts {
    fn of<'d, R: ReadRef<'d>>(image: &Image<'d, R>) -> Self {
        Self {
            runtime: image
                .variable(RUNTIME)
                .or_else(|| image.section(RUNTIME_SECTION)),
            version: image.variable(VERSION),
            writable: image.writable(),
            loads: image.loads().collect(),
            found: OnceLock::new(),
            places: Mutex::default(),
            resume: resume::Remembered::default(),
        }
    }

    /// The variable that holds everything was found here. Only what is proved anew in each process may
    /// be told.
    pub(super) fn found_runtime(&self, address: u64) {
        // Where two found it, they found the same.
        self.found.set(address).ok();
    }

    /// Where the variable that holds everything was found in another process.
    pub(super) fn runtime_elsewhere(&self) -> Option<u64> {
        self.found.get().copied()
    }

    /// The address of what is at this offset in the file.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        self.loads.iter().find_map(|load| load.address_of(offset))
    }

    /// Where a probe on a function goes so that it costs little: the offset in the file, which is
    /// reached by this path.
    pub(super) fn place(&self, reach: &Path, name: &'static str) -> Option<u64> {
        let mut places = locked(&self.places);
        if let Some(known) = places.get(name) {
            return *known;
        }
        let cache = ReadCache::new(File::open(reach).ok()?);
        let image = Image::parse(&cache).ok()?;
        let (found, _) = image.functions(&[name]);
        let function = found.get(name).copied();
        let place = function.and_then(|f| place::own(&image, f, place::Form::Plain));
        let offset = place.map(|place| place.offset);
        if places.len() < MAX_PLACES {
            places.insert(name, offset);
        }
        offset
    }
}

/// What files tell that were asked for, each with when that was, counted in questions.
#[derive(Debug, Default)]
struct Remembered {
    files: HashMap<FileKey, (Arc<Facts>, u64)>,
    questions: u64,
    most: usize,
}

impl Remembered {
    fn new(most: usize) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    fn get(&mut self, key: &FileKey) -> Option<Arc<Facts>> {
        self.questions += 1;
        let (facts, asked) = self.files.get_mut(key)?;
        *asked = self.questions;
        Some(Arc::clone(facts))
    }

    fn put(&mut self, key: FileKey, facts: Arc<Facts>) {
        if self.files.len() >= self.most && !self.files.contains_key(&key) {
            let oldest = self.files.iter().min_by_key(|(_, (_, asked))| *asked);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.files.remove(&oldest);
            }
        }
        self.files.insert(key, (facts, self.questions));
    }
}

/// What the file tells that is reached by this path; nothing when it cannot be opened. One that is no
/// program of this machine tells nothing, and that is remembered too.
pub(super) fn of(reach: &Path) -> Option<Arc<Facts>> {
    /// For all that ask: they run in different threads.
    static REMEMBERED: OnceLock<Mutex<Remembered>> = OnceLock::new();
    let all = REMEMBERED.get_or_init(|| Mutex::new(Remembered::new(MAX_FILES)));
    if let Some(known) = locked(all).get(&key_of(reach).ok()?) {
        return Some(known);
    }
    // Not under the lock: two that ask for the same file at the same time both look, which is rare.
    let file = File::open(reach).ok()?;
    // Of what was opened: another file may have come in its place.
    let key = key_of_file(&file.metadata().ok()?);
    let cache = ReadCache::new(file);
    let facts = Image::parse(&cache).map_or_else(|_| Facts::default(), |image| Facts::of(&image));
    drop(cache);
    give_back();
    let facts = Arc::new(facts);
    locked(all).put(key, Arc::clone(&facts));
    Some(facts)
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Facts, Remembered, of};
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    fn tags(all: &mut Remembered, keys: &[u64]) -> Vec<bool> {
        let key = |inode: u64| (0, inode, 0, 0, 0);
        keys.iter().map(|k| all.get(&key(*k)).is_some()).collect()
    }

    #[test]
    fn the_one_that_was_not_asked_for_longest_goes() {
        let mut all = Remembered::new(2);
        for inode in [1, 2] {
            all.put((0, inode, 0, 0, 0), Arc::new(Facts::default()));
        }
        assert_eq!(tags(&mut all, &[1]), [true]);
        all.put((0, 3, 0, 0, 0), Arc::new(Facts::default()));
        assert_eq!(tags(&mut all, &[1, 2, 3]), [true, false, true]);
        // One that is known already takes nobody's place.
        all.put((0, 3, 0, 0, 0), Arc::new(Facts::default()));
        assert_eq!(tags(&mut all, &[1, 3]), [true, true]);
        assert_eq!(all.files.len(), 2);
    }

    #[test]
    fn a_file_is_looked_through_once_as_long_as_it_is_the_same() {
        let own = std::env::current_exe().unwrap();
        let first = of(&own).unwrap();
        assert!(!first.writable.is_empty() && first.runtime.is_none());
        assert_eq!(first.address(0), Some(first.loads[0].address));
        assert!(Arc::ptr_eq(&first, &of(&own).unwrap()));
        let copy = std::env::temp_dir().join(format!("genspan-facts-{}", std::process::id()));
        fs::write(&copy, "no program").unwrap();
        let nothing = of(&copy).unwrap();
        assert!(nothing.writable.is_empty() && nothing.address(0).is_none());
        assert!(Arc::ptr_eq(&nothing, &of(&copy).unwrap()));
        // The same name, and another file.
        fs::copy(&own, &copy).unwrap();
        let changed = of(&copy).unwrap();
        assert_eq!(changed.writable, first.writable);
        fs::remove_file(&copy).unwrap();
        assert!(of(&copy).is_none() && of(Path::new("/no/such/file")).is_none());
    }

    #[test]
    fn a_function_that_is_not_there_has_no_place() {
        let own = std::env::current_exe().unwrap();
        let facts = of(&own).unwrap();
        for _ in 0..2 {
            assert_eq!(facts.place(&own, "no_such_function_in_here"), None);
        }
        assert_eq!(facts.places.lock().unwrap().len(), 1);
    }
}
