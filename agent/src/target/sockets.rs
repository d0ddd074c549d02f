//! Finding the functions of the C library through which a process uses its sockets, and where in
//! them the probes go.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use object::read::ReadRef;

use super::process::MappedFile;
use super::tls::{FileKey, MAX_REMEMBERED, MOST_AT_ONCE, give_back, key_of};
use crate::probe::elf::Image;
use crate::probe::place::{self, Form};
use crate::probe::sockets::{SocketPlace, SocketPlacements, SocketProgram};

/// Functions that move bytes, and the program for each. Those that another one may stand behind
/// (`recv` behind `recvfrom` in musl) come after it.
const CALLS: [(&str, SocketProgram); 11] = [
    ("recvfrom", SocketProgram::Recv),
    ("recv", SocketProgram::Recv),
    ("sendto", SocketProgram::Write),
    ("send", SocketProgram::Write),
    ("read", SocketProgram::Read),
    ("write", SocketProgram::Write),
    ("recvmsg", SocketProgram::Recvmsg),
    ("sendmsg", SocketProgram::Sendmsg),
    ("readv", SocketProgram::Readv),
    ("writev", SocketProgram::Writev),
    ("sendfile", SocketProgram::Sendfile),
];

const CLOSE: &str = "close";

/// Remembers what was found in which file.
#[derive(Debug, Default)]
pub struct LibcFinder {
    seen: HashMap<FileKey, Option<SocketPlacements>>,
}

impl LibcFinder {
    /// The files that are C libraries by their names (glibc before 2.34 has the same functions in
    /// libpthread, which come first); of a static program, the program itself.
    #[must_use]
    pub fn candidates<'f>(files: &'f [MappedFile], executable: &Path) -> Vec<&'f MappedFile> {
        let named: Vec<_> = files.iter().filter(|f| is_c_library(f.name())).collect();
        if named.is_empty() {
            files.iter().filter(|f| f.path == executable).collect()
        } else {
            named
        }
    }

    /// Whether a C library is among the files.
    #[must_use]
    pub fn is_loaded(files: &[MappedFile]) -> bool {
        files.iter().any(|f| is_c_library(f.name()))
    }

    /// Where the probes go in this file; none when it has not the functions.
    pub fn examine(&mut self, path: &Path) -> Option<SocketPlacements> {
        let key = key_of(path).ok()?;
        if let Some(known) = self.seen.get(&key) {
            return known.clone();
        }
        let found = examine(path);
        give_back();
        if self.seen.len() >= MAX_REMEMBERED {
            self.seen.clear();
        }
        self.seen.insert(key, found.clone());
        found
    }
}

/// `libc.so.6`, `libc-2.31.so`, `libpthread-2.31.so`, `ld-musl-x86_64.so.1`, `libc.musl-x86_64.so.1`
fn is_c_library(name: &str) -> bool {
    [
        "libc.so",
        "libc-2.",
        "libpthread.so",
        "libpthread-2.",
        "ld-musl-",
        "libc.musl-",
    ]
    .iter()
    .any(|start| name.starts_with(start))
}

fn examine(path: &Path) -> Option<SocketPlacements> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MOST_AT_ONCE).read_to_end(&mut bytes).ok()?;
    let image = Image::parse(bytes.as_slice())
        .inspect_err(|e| tracing::debug!("{}: {e}", path.display()))
        .ok()?;
    places(&image)
}

fn places<'d, R: ReadRef<'d>>(image: &Image<'d, R>) -> Option<SocketPlacements> {
    let mut names: Vec<&'static str> = CALLS.iter().map(|(name, _)| *name).collect();
    names.push(CLOSE);
    let (found, _) = image.functions(&names);
    let mut taken = Vec::new();
    let mut calls = Vec::new();
    for (name, program) in CALLS {
        let Some(&function) = found.get(name) else {
            continue;
        };
        if taken.contains(&function.address) {
            continue;
        }
        let behind = place::behind_system_calls(image, function);
        if behind.is_empty() {
            let twice = |at: &&str| {
                found
                    .get(*at)
                    .is_some_and(|&to| to != function && place::hands_over(image, function, to))
            };
            if !["recvfrom", "sendto"].iter().any(twice) {
                calls.extend(
                    place::own(image, function, Form::Plain).map(|p| SocketPlace {
                        program,
                        offset: p.offset,
                        behind: false,
                    }),
                );
            }
        }
        calls.extend(behind.into_iter().map(|offset| SocketPlace {
            program,
            offset,
            behind: true,
        }));
        taken.push(function.address);
    }
    let reads = calls.iter().any(|c| c.program == SocketProgram::Read);
    let writes = calls.iter().any(|c| c.program == SocketProgram::Write);
    let close = found
        .get(CLOSE)
        .and_then(|&f| place::own(image, f, Form::Plain))
        .map(|p| p.offset);
    (reads && writes).then_some(SocketPlacements { calls, close })
}

#[cfg(test)]
mod tests {
    use super::{LibcFinder, is_c_library};
    use std::path::Path;

    #[test]
    fn names_of_c_libraries() {
        for name in [
            "libc.so.6",
            "libc-2.31.so",
            "libpthread-2.31.so",
            "ld-musl-x86_64.so.1",
        ] {
            assert!(is_c_library(name), "{name}");
        }
        for name in ["libcrypto.so.3", "libcurl.so.4", "python3.12", ""] {
            assert!(!is_c_library(name), "{name}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_systems_library_has_cheap_places() {
        let paths = [
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            "/usr/lib64/libc.so.6",
        ];
        let Some(path) = paths.iter().map(Path::new).find(|p| p.exists()) else {
            println!("skipped: no libc.so.6 in the usual places");
            return;
        };
        let found = LibcFinder::default().examine(path).unwrap();
        println!("{found:?}");
        assert!(found.close.is_some());
        assert!(found.calls.len() >= 11);
        let mut offsets: Vec<_> = found.calls.iter().map(|c| c.offset).collect();
        offsets.sort_unstable();
        offsets.dedup();
        assert_eq!(offsets.len(), found.calls.len());
    }
}
