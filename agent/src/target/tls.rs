//! Finding the TLS library of a process, and where in it the probes go.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use object::read::{ReadCache, ReadRef};

use super::banner;
use super::builds::Builds;
use super::process::MappedFile;
use crate::probe::elf::{self, Function, Image};
use crate::probe::place::{self, Form, TlsPlacements};
use crate::probe::stripped;

/// Functions that are looked for.
const READ: &str = "SSL_read";
const READ_EX: &str = "SSL_read_ex";
const WRITE: &str = "SSL_write";
const WRITE_EX: &str = "SSL_write_ex";
const FREE: &str = "SSL_free";

/// [`Reachable::found_by`] where functions have no names.
const CODE: &str = "code";

/// What was found out about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// Nothing to do with TLS, or it only uses another file's.
    None,
    /// It carries a TLS library that can be probed.
    Reachable(Reachable),
    /// It carries one whose functions cannot be found.
    Unreachable {
        /// Version banner, or which library it is, and whether it has symbols.
        banner: String,
        /// Why not.
        why: String,
    },
    /// It could not be read.
    Unreadable(String),
}

/// A TLS library with places for probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// Where they go.
    pub places: TlsPlacements,
    /// How the functions were found: `dynsym`, `symtab`, or `code` where they have no names.
    pub found_by: &'static str,
    /// Version banner (`OpenSSL 3.0.15 3 Sep 2024`), when it has one.
    pub banner: Option<String>,
}

impl Reachable {
    /// Whether the functions have no names and were found by what they do.
    #[must_use]
    pub fn is_guessed(&self) -> bool {
        self.found_by == CODE
    }

    /// Whether every probe of the data path is on an instruction that the kernel emulates.
    #[must_use]
    pub fn cheap(&self) -> bool {
        self.places
            .reads
            .iter()
            .chain(&self.places.writes)
            .all(|p| p.emulated)
    }
}

/// Identity of a file's contents, for what is remembered of it: device, inode, time of change, and size.
pub type FileKey = (u64, u64, i64, i64, u64);

/// What is remembered of a file.
#[derive(Debug)]
struct Seen {
    found: TlsFile,
    /// Its functions were guessed, and calls of a process showed that the guess is right.
    verified: bool,
}

/// Remembers what was found in which file: the same `libssl.so.3` serves every process.
#[derive(Debug, Default)]
pub struct TlsFinder {
    seen: HashMap<FileKey, Seen>,
    builds: Builds,
    linkers: HashMap<FileKey, Option<u64>>,
}

/// Extension modules of packages that carry a TLS library of their own, by what is in their paths.
const CARRIERS: [&str; 3] = [
    // OpenSSL, for pyOpenSSL among others.
    "/cryptography/hazmat/bindings/_rust.",
    // BoringSSL with names, and without.
    "/curl_cffi/_wrapper.",
    "/grpc/_cython/cygrpc.",
];

/// Whether a mapped file is an extension module that carries a TLS library of its own, beside the one
/// of Python's `ssl`.
#[must_use]
pub fn is_carrier(file: &MappedFile) -> bool {
    let path = file.path.as_os_str().as_encoded_bytes();
    CARRIERS
        .iter()
        .any(|c| memchr::memmem::find(path, c.as_bytes()).is_some())
}

/// Most files remembered; then the memory starts anew.
pub(super) const MAX_REMEMBERED: usize = 4096;

impl TlsFinder {
    /// Whether a mapped file is worth opening: its name says TLS or Python, or it is known to carry
    /// a TLS library of its own.
    #[must_use]
    pub fn candidate(file: &MappedFile, executable: &Path) -> bool {
        let name = file.name();
        is_carrier(file)
            || name.contains("ssl")
            || name.starts_with("libpython")
            || name.starts_with("python")
            || file.path == executable
    }

    /// What this file has to do with TLS.
    pub fn examine(&mut self, path: &Path) -> TlsFile {
        let Ok(key) = key_of(path) else {
            return TlsFile::Unreadable("not accessible".into());
        };
        if let Some(known) = self.seen.get(&key) {
            return known.found.clone();
        }
        let found = examine(path, &mut self.builds);
        give_back();
        if self.seen.len() >= MAX_REMEMBERED {
            self.seen.clear();
        }
        let seen = Seen {
            found: found.clone(),
            verified: false,
        };
        self.seen.insert(key, seen);
        found
    }

    /// By what [`Self::vouch`] and [`Self::accuse`] know a file.
    #[must_use]
    pub fn key(path: &Path) -> Option<FileKey> {
        key_of(path).ok()
    }

    /// Calls of a process showed that what was guessed of a file is right.
    pub fn vouch(&mut self, key: FileKey) {
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.verified = true;
        }
    }

    /// A call of a process showed that what was guessed of a file is wrong. From now on nothing is found in it, and
    /// this says `true`; unless it was right in another process: then what is wrong is this one alone.
    pub fn accuse(&mut self, key: FileKey, why: &str) -> bool {
        let Some(seen) = self.seen.get_mut(&key) else {
            return false;
        };
        if seen.verified {
            return false;
        }
        if let TlsFile::Reachable(found) = &seen.found {
            self.builds.forget(found);
            seen.found = TlsFile::Unreachable {
                banner: nameless(found.banner.as_deref()),
                why: format!("found by its code, but given up: {why}"),
            };
        }
        true
    }

    /// Offset in this dynamic linker of the function that it calls when libraries change.
    pub fn linker_hook(&mut self, path: &Path) -> Option<u64> {
        let key = key_of(path).ok()?;
        if self.linkers.len() >= MAX_REMEMBERED {
            self.linkers.clear();
        }
        *self.linkers.entry(key).or_insert_with(|| {
            let mut bytes = Vec::new();
            let file = File::open(path).ok()?;
            file.take(MOST_AT_ONCE).read_to_end(&mut bytes).ok()?;
            let image = Image::parse(bytes.as_slice()).ok()?;
            let (found, _) = image.functions(&["_dl_debug_state"]);
            image.file_offset(found.get("_dl_debug_state")?.address)
        })
    }
}

/// Gives memory back to the system: symbol tables of tens of megabytes were just looked through,
/// and nothing like that comes again for a long time.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no preconditions; it only concerns memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
    #[cfg(target_env = "musl")]
    // SAFETY: no preconditions; it only concerns memory that is free.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

pub(super) fn key_of(path: &Path) -> std::io::Result<FileKey> {
    Ok(key_of_file(&std::fs::metadata(path)?))
}

pub(super) fn key_of_file(m: &std::fs::Metadata) -> FileKey {
    (m.dev(), m.ino(), m.mtime(), m.mtime_nsec(), m.size())
}

/// Whether a mapped file is a dynamic linker: `ld-linux-x86-64.so.2`, `ld-2.31.so`,
/// `ld-musl-x86_64.so.1` (which is the C library as well).
#[must_use]
pub fn is_linker(file: &MappedFile) -> bool {
    let name = file.name();
    (name.starts_with("ld-") || name.starts_with("ld.so") || name.starts_with("ld64"))
        && name.contains(".so")
        || name.starts_with("libc.musl-")
}

/// Files up to this size are read at once: a library that is loaded late must be known before its
/// first call, and libpython with its symbols before that. Larger ones are read where needed.
pub(super) const MOST_AT_ONCE: u64 = 64 << 20;

fn examine(path: &Path, builds: &mut Builds) -> TlsFile {
    let unreadable = |e: &dyn std::fmt::Display| TlsFile::Unreadable(e.to_string());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) => return unreadable(&e),
    };
    let size = file.metadata().map(|m| m.len());
    if size.as_ref().is_ok_and(|size| builds.has_one_of(*size))
        && let Some(found) = recall(&file, builds)
    {
        return TlsFile::Reachable(found);
    }
    if size.is_ok_and(|size| size <= MOST_AT_ONCE) {
        let mut bytes = Vec::new();
        // What was read of it above has moved where it is read.
        let read = (&file).rewind();
        let read = read.and_then(|()| (&file).take(MOST_AT_ONCE).read_to_end(&mut bytes));
        if let Err(e) = read {
            return unreadable(&e);
        }
        return match Image::parse(bytes.as_slice()) {
            Ok(image) => examine_image(&image, &file, builds),
            Err(e) => unreadable(&e),
        };
    }
    let data = ReadCache::new(&file);
    match Image::parse(&data) {
        Ok(image) => examine_image(&image, &file, builds),
        Err(e) => unreadable(&e),
    }
}

/// What was found in another file of the same build that is the same where it counts. Reads little of the file.
fn recall(file: &File, builds: &Builds) -> Option<Reachable> {
    let data = ReadCache::new(file);
    let image = Image::parse(&data).ok()?;
    builds.recall(file, image.build_id()?)
}

fn examine_image<'d, R: ReadRef<'d>>(
    image: &Image<'d, R>,
    file: &File,
    builds: &mut Builds,
) -> TlsFile {
    let (found, from_symtab) = image.functions(&[READ, READ_EX, WRITE, WRITE_EX, FREE]);
    let get = |name: &str| -> Option<Function> { found.get(name).copied() };
    if get(READ).or(get(READ_EX)).is_none() || get(WRITE).or(get(WRITE_EX)).is_none() {
        // Importing them means that another file has them.
        if image.imports(&[READ, READ_EX, WRITE, WRITE_EX]) {
            return TlsFile::None;
        }
        return without_names(image, file, builds);
    }
    let places = TlsPlacements {
        reads: place::pair(image, get(READ), get(READ_EX)),
        writes: place::pair(image, get(WRITE), get(WRITE_EX)),
        free: get(FREE)
            .and_then(|f| place::own(image, f, Form::Plain))
            .map(|p| p.offset),
    };
    let text = image.read_only().unwrap_or_default();
    let version = banner::openssl_version(&text);
    if !places.are_distinct() {
        return TlsFile::Unreachable {
            banner: version.unwrap_or_else(|| "a library like OpenSSL".to_owned()),
            why: "several of its functions begin at one place".to_owned(),
        };
    }
    TlsFile::Reachable(Reachable {
        places,
        found_by: if from_symtab { "symtab" } else { "dynsym" },
        banner: version,
    })
}

/// A file that has no names for such functions, and does not take them from another one.
fn without_names<'d, R: ReadRef<'d>>(
    image: &Image<'d, R>,
    file: &File,
    builds: &mut Builds,
) -> TlsFile {
    let Some(segments) = image.read_only() else {
        return TlsFile::Unreadable(format!(
            "its segments lie outside of it, or are more than {} MB, which are not searched",
            elf::MAX_SEARCHED >> 20
        ));
    };
    if banner::has_boringssl(&segments) {
        return TlsFile::Unreachable {
            banner: "BoringSSL without symbols".to_owned(),
            why: "its functions are found by their names only".to_owned(),
        };
    }
    if !banner::has_openssl(&segments) {
        return TlsFile::None;
    }
    let version = banner::openssl_version(&segments);
    match (stripped::find(image, segments), version) {
        (Ok(found), banner) => {
            let reachable = Reachable {
                places: found.places,
                found_by: CODE,
                banner,
            };
            let id = image.build_id().unwrap_or_default();
            builds.keep(file, id, &reachable, &found.evidence);
            TlsFile::Reachable(reachable)
        }
        (Err(why), Some(version)) => TlsFile::Unreachable {
            banner: nameless(Some(&version)),
            why: why.to_string(),
        },
        // A mere mention.
        (Err(_), None) => TlsFile::None,
    }
}

/// How a library without names is called.
fn nameless(version: Option<&str>) -> String {
    format!("{} without symbols", version.unwrap_or("OpenSSL"))
}

/// One line about a TLS library for `genspan doctor` and the log.
#[must_use]
pub fn describe(path: &Path, found: &TlsFile) -> String {
    let path: PathBuf = path.to_owned();
    match found {
        TlsFile::None => format!("{}: no TLS", path.display()),
        TlsFile::Reachable(r) => format!(
            "{}: {}, found by {}, {}",
            path.display(),
            r.banner.as_deref().unwrap_or("OpenSSL-like"),
            r.found_by,
            if r.cheap() {
                "cheap probes"
            } else {
                "probes on single-stepped instructions"
            }
        ),
        TlsFile::Unreachable { banner, why } => {
            format!("{}: {banner}: found but unreachable: {why}", path.display())
        }
        TlsFile::Unreadable(why) => format!("{}: {why}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::{CODE, Reachable, Seen, TlsFile, TlsFinder, TlsPlacements, describe};
    use std::path::Path;

    #[test]
    fn the_systems_library_is_reachable_at_cheap_places() {
        let paths = [
            "/usr/lib/x86_64-linux-gnu/libssl.so.3",
            "/usr/lib64/libssl.so.3",
        ];
        let Some(path) = paths.iter().map(Path::new).find(|p| p.exists()) else {
            println!("skipped: no libssl.so.3 in the usual places");
            return;
        };
        let TlsFile::Reachable(found) = TlsFinder::default().examine(path) else {
            panic!("not reachable")
        };
        println!("{found:?}");
        assert_eq!(found.found_by, "dynsym");
        assert!(found.cheap());
        assert!(!found.places.reads.is_empty() && !found.places.writes.is_empty());
        assert!(found.places.free.is_some());
    }

    #[test]
    fn a_wrong_guess_is_remembered_and_a_right_one_is_kept() {
        let key = |n| (1, n, 0, 0, 0);
        let found = TlsFile::Reachable(Reachable {
            places: TlsPlacements::default(),
            found_by: CODE,
            banner: Some("OpenSSL 3.0.19".to_owned()),
        });
        let seen = || Seen {
            found: found.clone(),
            verified: false,
        };
        let mut finder = TlsFinder::default();
        finder.seen.extend([(key(1), seen()), (key(2), seen())]);
        finder.vouch(key(2));
        assert!(finder.accuse(key(1), "what writes returned too much"));
        assert!(!finder.accuse(key(2), "what writes returned too much"));
        assert!(!finder.accuse(key(3), "it is not known"));
        let text = describe(Path::new("/lib.so"), &finder.seen[&key(1)].found);
        let want = "/lib.so: OpenSSL 3.0.19 without symbols: found but unreachable: found by its \
                    code, but given up: what writes returned too much";
        assert_eq!(text, want);
        assert_eq!(finder.seen[&key(2)].found, found);
    }

    #[test]
    fn a_file_without_tls_is_none() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(TlsFinder::default().examine(&own), TlsFile::None);
        let unreadable = TlsFinder::default().examine(Path::new("/proc/self/status"));
        assert!(matches!(unreadable, TlsFile::Unreadable(_)));
    }
}
