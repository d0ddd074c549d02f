//! What was found in stripped files, by the identity of their build: so that the same file in another container is
//! not searched again.
//!
//! A build's identity says nothing of what is in a file: `patchelf` moves code and keeps it, and anybody can write one
//! into a file of theirs. So what is remembered is taken for another file only if that has, where they were found,
//! byte for byte the same functions and the texts by which they were told. And it is a guess as before: calls have to
//! verify it.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::tls::Reachable;

/// Most builds remembered; then the memory starts anew.
const MOST_BUILDS: usize = 64;
/// Most bytes of functions and texts of one that are remembered; OpenSSL's are some 6 KB.
const MOST_EVIDENCE: u64 = 64 << 10;

/// Identity of the build, and size of the file.
type BuildKey = (Vec<u8>, u64);

/// A build in which functions were found.
#[derive(Debug)]
struct Build {
    found: Reachable,
    /// Offsets in the file, and what was there.
    evidence: Vec<(u64, Vec<u8>)>,
}

/// What was found in which builds.
#[derive(Debug, Default)]
pub struct Builds(HashMap<BuildKey, Build>);

impl Builds {
    /// Whether a file of this size, in bytes, may be of a build that is remembered.
    #[must_use]
    pub fn has_one_of(&self, size: u64) -> bool {
        self.0.keys().any(|(_, of)| *of == size)
    }

    /// Remembers what was found in a file; not if it has no identity, or too much says what was found.
    pub fn keep(&mut self, file: &File, id: &[u8], found: &Reachable, evidence: &[Range<u64>]) {
        let length = |range: &Range<u64>| range.end.saturating_sub(range.start);
        let total = evidence.iter().map(length).fold(0, u64::saturating_add);
        if id.is_empty() || evidence.is_empty() || total > MOST_EVIDENCE {
            return;
        }
        let Ok(size) = file.metadata().map(|m| m.len()) else {
            return;
        };
        let read = evidence.iter().map(|range| {
            let mut bytes = vec![0; usize::try_from(length(range)).ok()?];
            file.read_exact_at(&mut bytes, range.start).ok()?;
            Some((range.start, bytes))
        });
        let Some(evidence) = read.collect() else {
            return;
        };
        if self.0.len() >= MOST_BUILDS {
            self.0.clear();
        }
        let build = Build {
            found: found.clone(),
            evidence,
        };
        self.0.insert((id.to_vec(), size), build);
    }

    /// What is in this file, if it is of a build that is remembered, and has the same functions in the same places.
    #[must_use]
    pub fn recall(&self, file: &File, id: &[u8]) -> Option<Reachable> {
        let size = file.metadata().ok()?.len();
        let build = self.0.get(&(id.to_vec(), size))?;
        let mut bytes = Vec::new();
        let same = build.evidence.iter().all(|(at, want)| {
            bytes.resize(want.len(), 0);
            file.read_exact_at(&mut bytes, *at).is_ok() && bytes == *want
        });
        same.then(|| build.found.clone())
    }

    /// It was wrong: it is not to be taken for another file.
    pub fn forget(&mut self, found: &Reachable) {
        self.0.retain(|_, build| build.found != *found);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;

    use super::{Builds, MOST_BUILDS, MOST_EVIDENCE, Reachable};
    use crate::probe::place::TlsPlacements;

    struct Written(PathBuf);

    impl Written {
        fn new(name: &str, bytes: &[u8]) -> Self {
            let name = format!("genspan-builds-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, bytes).unwrap();
            Self(path)
        }

        fn open(&self) -> File {
            File::open(&self.0).unwrap()
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn found(free: u64) -> Reachable {
        Reachable {
            places: TlsPlacements {
                free: Some(free),
                ..TlsPlacements::default()
            },
            found_by: "code",
            banner: None,
        }
    }

    #[test]
    fn another_file_must_have_the_same_bytes() {
        let first = Written::new("first", b"....read....write....free....");
        let evidence = [4..8, 12..17, 21..25];
        let mut builds = Builds::default();
        assert!(!builds.has_one_of(29));
        builds.keep(&first.open(), b"id", &found(21), &evidence);
        let cases: [(&str, &[u8], &[u8], bool); 6] = [
            ("same", b"....read....write....free....", b"id", true),
            // What nothing was gone by may differ.
            ("rest", b"####read####write####free####", b"id", true),
            ("patched", b"....read....wrote....free....", b"id", false),
            ("moved", b"...read.....write....free....", b"id", false),
            ("longer", b"....read....write....free.....", b"id", false),
            ("other", b"....read....write....free....", b"di", false),
        ];
        for (name, bytes, id, taken) in cases {
            let file = Written::new(name, bytes);
            let recalled = builds.recall(&file.open(), id);
            assert_eq!(recalled, taken.then(|| found(21)), "{name}");
        }
        assert!(builds.has_one_of(29) && !builds.has_one_of(30));
        builds.forget(&found(22));
        assert!(builds.recall(&first.open(), b"id").is_some());
        builds.forget(&found(21));
        assert!(builds.0.is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let file = Written::new("bounds", &vec![7; MOST_EVIDENCE as usize + 8]);
        let file = file.open();
        let mut builds = Builds::default();
        let all = 0..MOST_EVIDENCE + 1;
        builds.keep(&file, b"id", &found(1), std::slice::from_ref(&all));
        let one = |at: u64| at..at + 1;
        builds.keep(&file, b"", &found(1), &[one(0), one(1)]);
        builds.keep(&file, b"id", &found(1), &[]);
        // Beyond the end of the file.
        builds.keep(&file, b"id", &found(1), &[one(0), one(1 << 20)]);
        assert!(builds.0.is_empty());
        for n in 0..MOST_BUILDS + 3 {
            builds.keep(&file, &n.to_le_bytes(), &found(1), &[one(0), one(1)]);
        }
        assert_eq!(builds.0.len(), 3);
    }
}
