//! Programs that bring a Python under a name of their own, by their files: what is bundled by PyInstaller
//! or compiled by Nuitka, and what is linked to `libpython`.
//!
//! What a process has loaded says so too, but only once it has: a bundle spends its first second
//! unpacking itself, and may be over in the next one.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use object::read::ReadCache;

use super::rooted;
use super::tls::{FileKey, key_of, key_of_file};
use crate::probe::headers::{Budget, Headers};

/// How a program has a Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embedding {
    /// The interpreter is in the program itself, or in a library that it is linked to: whenever it runs,
    /// it is a Python.
    Holds,
    /// It unpacks one, and starts itself again with it: PyInstaller's bootloader. Whether a process of it
    /// is a Python shows in what it has mapped.
    Unpacks,
}

/// The section in which CPython has its runtime to itself, from 3.10 on (`Python/pylifecycle.c`).
const RUNTIME: &str = ".PyRuntime";
/// The section in which PyInstaller keeps what it bundles, from 5.0 on (`PyInstaller/building/api.py`).
const BUNDLED: &str = "pydata";
/// How the interpreter's library is called.
const LIBRARY: &str = "libpython";
/// Most files that are remembered; then the memory starts anew.
const MAX_FILES: usize = 4096;

/// Whether the program of a process brings a Python; `None` where it does not, or cannot be read, or not without
/// waiting for another machine or a program ([`rooted::is_program_far`]).
#[must_use]
pub fn of_process(pid: u32) -> Option<Embedding> {
    if rooted::is_program_far(pid) {
        return None;
    }
    of(&PathBuf::from(format!("/proc/{pid}/exe")))
}

/// The same for a file; it is looked through once as long as it is the same.
#[must_use]
pub fn of(file: &Path) -> Option<Embedding> {
    type Seen = Mutex<HashMap<FileKey, Option<Embedding>>>;
    static SEEN: OnceLock<Seen> = OnceLock::new();
    let seen = SEEN.get_or_init(Mutex::default);
    let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(&key_of(file).ok()?) {
        return *known;
    }
    let opened = File::open(file).ok()?;
    // Of what was opened: another file may have come in its place.
    let key = key_of_file(&opened.metadata().ok()?);
    let cache = ReadCache::new(opened);
    let budget = Budget::default();
    let found = Headers::parse(&cache, &budget).ok().and_then(|program| {
        if program.has_section(RUNTIME) || program.needs(LIBRARY) {
            Some(Embedding::Holds)
        } else {
            let bundled = program.has_section(BUNDLED);
            bundled.then_some(Embedding::Unpacks)
        }
    });
    let mut all = lock();
    if all.len() >= MAX_FILES {
        all.clear();
    }
    all.insert(key, found);
    found
}

#[cfg(test)]
mod tests {
    use super::{Embedding, of};
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    /// Has a file made by the compiler, which is there wherever this is built.
    fn compiled(dir: &Path, name: &str, code: &str, options: &[&str]) -> std::path::PathBuf {
        let out = dir.join(name);
        let source = dir.join(format!("{name}.c"));
        fs::write(&source, code).unwrap();
        let mut compiler = Command::new("cc");
        compiler.arg(&source).arg("-o").arg(&out).args(options);
        assert!(compiler.current_dir(dir).status().unwrap().success());
        out
    }

    /// Of a file little is read, however much it says that it has: here of a hole that is called its symbols.
    fn known_by_little(dir: &Path, program: &Path) {
        const HOLE: u64 = 512 << 20;
        let word =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let mut bytes = fs::read(program).unwrap();
        let (table, end) = (word(&bytes, 0x28) as usize, bytes.len() as u64);
        let count = usize::from(u16::from_le_bytes([bytes[0x3c], bytes[0x3d]]));
        let entries = (0..count).map(|n| table + n * 64);
        // `SHT_SYMTAB`, `SHT_DYNAMIC`.
        let of_kind = |kind: u8| entries.clone().find(|at| bytes[at + 4] == kind).unwrap();
        for (file, at) in [("symbols", of_kind(2)), ("dynamic", of_kind(6))] {
            let mut changed = bytes.clone();
            let start = end.next_multiple_of(24);
            changed[at + 0x18..at + 0x20].copy_from_slice(&start.to_le_bytes());
            changed[at + 0x20..at + 0x28].copy_from_slice(&(HOLE / 48 * 48).to_le_bytes());
            let path = dir.join(file);
            fs::write(&path, changed).unwrap();
            let written = fs::File::options().write(true).open(&path).unwrap();
            written.set_len(start + HOLE).unwrap();
            let before = bytes_read();
            assert_eq!(of(&path), Some(Embedding::Holds), "{file}");
            let read = bytes_read() - before;
            assert!(read < 16 << 20, "{file}: {read} bytes");
        }
        // So many sections that their table is longer than the budget: nothing is known of it.
        bytes.splice(0x3c..0x3e, [0, 0]);
        bytes[table + 0x20..table + 0x28].copy_from_slice(&(HOLE / 64).to_le_bytes());
        let path = dir.join("sections");
        fs::write(&path, bytes).unwrap();
        let written = fs::File::options().write(true).open(&path).unwrap();
        written.set_len(table as u64 + HOLE).unwrap();
        let before = bytes_read();
        assert_eq!(of(&path), None);
        let read = bytes_read() - before;
        assert!(read < 16 << 20, "sections: {read} bytes");
    }

    /// How many bytes this thread has read.
    fn bytes_read() -> u64 {
        let told = fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = told.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.unwrap().parse().unwrap()
    }

    #[test]
    fn programs_that_bring_a_python_are_told_from_others() {
        let dir = std::env::temp_dir().join(format!("genspan-embedding-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let main = "int main(void) { return 0; }";
        let runtime = "__attribute__((section(\".PyRuntime\"))) int _PyRuntime = 1; int main(void) { return _PyRuntime; }";
        let uses = "int f(void); int main(void) { return f(); }";
        let plain = compiled(&dir, "plain", main, &[]);
        let inside = compiled(&dir, "inside", runtime, &[]);
        compiled(
            &dir,
            "libpython3.99.so.1.0",
            "int f(void) { return 0; }",
            &["-shared", "-fPIC", "-Wl,-soname,libpython3.99.so.1.0"],
        );
        let linked = compiled(&dir, "linked", uses, &["./libpython3.99.so.1.0"]);
        compiled(
            &dir,
            "libother.so",
            "int f(void) { return 0; }",
            &["-shared", "-fPIC", "-Wl,-soname,libother.so"],
        );
        let other = compiled(&dir, "other", uses, &["./libother.so"]);
        let bundle = dir.join("bundle");
        fs::write(dir.join("archive"), "MEI").unwrap();
        let section = format!("pydata={}", dir.join("archive").display());
        let mut objcopy = Command::new("objcopy");
        objcopy
            .args(["--add-section", &section])
            .arg(&plain)
            .arg(&bundle);
        assert!(objcopy.status().unwrap().success());
        for (file, want) in [
            (&plain, None),
            (&other, None),
            (&inside, Some(Embedding::Holds)),
            (&linked, Some(Embedding::Holds)),
            (&bundle, Some(Embedding::Unpacks)),
            (&dir.join("archive"), None),
            (&dir.join("nothing"), None),
        ] {
            assert_eq!(of(file), want, "{}", file.display());
            assert_eq!(of(file), want, "{} again", file.display());
        }
        known_by_little(&dir, &inside);
        // The same name, and another file.
        fs::copy(&bundle, &plain).unwrap();
        assert_eq!(of(&plain), Some(Embedding::Unpacks));
        fs::remove_dir_all(&dir).unwrap();
    }
}
