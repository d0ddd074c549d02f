//! The CPython of a process: found in its files, read through `/proc/PID/mem`, never written to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::interpreter;
use super::maps::Maps;
use super::process::{MappedFile, ProcessError, mapped_code, python_version};
use crate::python::check::{self, Fit, NoFit, Root};
use crate::python::code::Code;
use crate::python::find::{FunctionName, NotFound};
use crate::python::layout::{DEBUG_OFFSETS_BYTES, DebugOffsets, Layout, NoDebugOffsets};
use crate::python::memory::{Memory, Unreadable};
use crate::python::paged::Paged;
use crate::python::reader::{QUESTION_BUDGET, Reader};
use crate::python::version::{Unsupported, Version, hex_to_text};

/// Most bytes of writable data that are scanned for what no symbol names.
const MAX_SCANNED_BYTES: u64 = 64 << 20;
/// They are read in pieces of so many.
const PIECE: usize = 1 << 20;

/// Why the interpreter of a process is not read.
#[derive(Debug, Error)]
pub enum NoPython {
    /// The process cannot be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its memory cannot be opened.
    #[error("cannot open the memory of process {pid}: {source}")]
    Memory {
        /// Process.
        pid: u32,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// No interpreter is loaded, or none that can be told.
    #[error("process {0} has no CPython loaded that can be found")]
    NotFound(u32),
    /// One that is not read.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// What it says of itself is wrong.
    #[error(transparent)]
    DebugOffsets(#[from] NoDebugOffsets),
    /// Its layout is not what is known of its version.
    #[error(transparent)]
    NoFit(#[from] NoFit),
}

/// Why a function of the interpreter is not found.
#[derive(Debug, Error)]
pub enum NoSymbol {
    /// The process cannot be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its file has none of this name, or cannot be read.
    #[error("no {0} in {path}", path = .1.display())]
    Missing(&'static str, PathBuf),
}

/// The memory of a process.
///
/// It is that of the program that ran when it was opened: after an `exec`, or when the process is
/// gone, nothing can be read any more, so that no other program is taken for it.
#[derive(Debug)]
pub struct ProcessMemory {
    file: File,
}

impl ProcessMemory {
    /// Opens it for reading.
    ///
    /// # Errors
    ///
    /// When there is no such process, or it is not ours to look at.
    pub fn open(pid: u32) -> io::Result<Self> {
        let file = File::open(format!("/proc/{pid}/mem"))?;
        Ok(Self { file })
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let bytes = into.len();
        let read = self.file.read_exact_at(into, address);
        read.map_err(|_| Unreadable { address, bytes })
    }
}

/// The interpreter of a process, found and proved.
#[derive(Debug)]
pub struct Python {
    /// The process's memory.
    pub memory: ProcessMemory,
    /// Where things are in it.
    pub fit: Fit,
    /// The file that holds the interpreter, as the process sees it.
    pub file: PathBuf,
    /// Where reading begins.
    pub root: Root,
}

impl Python {
    /// Finds the interpreter of a process, and proves its layout against it.
    ///
    /// # Errors
    ///
    /// Why it is not read.
    pub fn open(pid: u32) -> Result<Self, NoPython> {
        Self::mapped(pid, &Maps::read(pid)?)
    }

    /// The same for a process whose mappings were just read.
    pub(super) fn mapped(pid: u32, maps: &Maps) -> Result<Self, NoPython> {
        let files = maps.files();
        if let Some(other) = other_implementation(&files) {
            return Err(Unsupported::Implementation(other).into());
        }
        let memory = ProcessMemory::open(pid).map_err(|source| NoPython::Memory { pid, source })?;
        let mut last = NoPython::NotFound(pid);
        for file in candidates(&files) {
            match in_file(&memory, file, &files, maps) {
                Ok(Some((fit, root))) => {
                    let file = file.path.clone();
                    return Ok(Self {
                        memory,
                        fit,
                        file,
                        root,
                    });
                }
                Ok(None) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The same interpreter in a process that was forked from this one: its memory is laid out alike.
    ///
    /// # Errors
    ///
    /// When the memory cannot be opened.
    pub fn of_fork(&self, pid: u32) -> Result<Self, NoPython> {
        let memory = ProcessMemory::open(pid).map_err(|source| NoPython::Memory { pid, source })?;
        Ok(Self {
            memory,
            fit: self.fit.clone(),
            file: self.file.clone(),
            root: self.root,
        })
    }

    /// A reader for one question.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        self.reader_with(QUESTION_BUDGET)
    }

    /// A reader that may spend so much.
    #[must_use]
    pub fn reader_with(&self, budget: u64) -> Reader<'_> {
        Reader::new(&self.memory, &self.fit.layout, budget)
    }

    /// Where a probe on a function of the interpreter goes, so that it costs little: the file in
    /// this process, and the offset in that. At its entry or just after it, with the return address
    /// still on top of the stack.
    ///
    /// # Errors
    ///
    /// When it is not found.
    pub fn place(&self, pid: u32, name: &'static str) -> Result<(MappedFile, u64), NoSymbol> {
        let offset = |file: &MappedFile| interpreter::of(&file.reach)?.place(&file.reach, name);
        let files = mapped_code(pid)?;
        let own = files.into_iter().filter(|file| file.path == self.file);
        own.filter_map(|file| Some((offset(&file)?, file)))
            .map(|(offset, file)| (file, offset))
            .next()
            .ok_or_else(|| NoSymbol::Missing(name, self.file.clone()))
    }

    /// `3.11.2`.
    #[must_use]
    pub fn version(&self) -> String {
        hex_to_text(self.fit.hex)
    }

    /// The code of the function with this name: of the main interpreter, or of another one.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn find(&self, name: &FunctionName) -> Result<Code, NotFound> {
        self.find_function(name).map(|(code, _)| code)
    }

    /// The same with its function object, as [`Reader::find_function`] finds it.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find_function(&self, name: &FunctionName) -> Result<(Code, Option<u64>), NotFound> {
        // A process may have thousands of modules, whose names lie close together.
        let paged = Paged::new(&self.memory);
        let reader = || Reader::new(&paged, &self.fit.layout, QUESTION_BUDGET);
        self.in_any(|interpreter| reader().find_function(interpreter, name))
    }

    /// The class with this name, as [`Reader::find_class`] finds it.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find_class(&self, name: &FunctionName) -> Result<u64, NotFound> {
        self.in_any(|interpreter| self.reader().find_class(interpreter, name))
    }

    /// What the main interpreter has, else another one; what the main one says when none has it.
    fn in_any<T>(&self, find: impl Fn(u64) -> Result<T, NotFound>) -> Result<T, NotFound> {
        let main = find(self.fit.main.address);
        let Err(error) = main else { return main };
        let others = self
            .fit
            .interpreters
            .iter()
            .filter(|i| **i != self.fit.main);
        others
            .filter_map(|other| find(other.address).ok())
            .next()
            .ok_or(error)
    }
}

/// Files that may hold an interpreter, the likeliest first: the library of that name, the
/// executable, which is mapped first, and what embeds one.
fn candidates(files: &[MappedFile]) -> Vec<&MappedFile> {
    let is_library = |f: &MappedFile| f.name().starts_with("libpython");
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by_key(|f| !is_library(f));
    // The executable beside its library only starts it.
    let libraries = sorted.iter().filter(|f| is_library(f)).count();
    let most = if libraries > 0 { libraries } else { 4 };
    sorted.truncate(most);
    sorted
}

fn other_implementation(files: &[MappedFile]) -> Option<String> {
    let names = [("libpypy", "PyPy"), ("libgraalpy", "GraalPy")];
    names.iter().find_map(|(prefix, name)| {
        let found = files.iter().any(|f| f.name().starts_with(prefix));
        found.then(|| (*name).to_owned())
    })
}

/// The interpreter that this file holds, if it does.
fn in_file(
    memory: &ProcessMemory,
    file: &MappedFile,
    files: &[MappedFile],
    maps: &Maps,
) -> Result<Option<(Fit, Root)>, NoPython> {
    let Some(facts) = interpreter::of(&file.reach) else {
        return Ok(None);
    };
    let bias = maps.all().filter(|map| map.id == file.id).find_map(|map| {
        let address = facts.address(map.offset)?;
        Some(map.start.wrapping_sub(address))
    });
    let Some(bias) = bias else { return Ok(None) };
    let at = |address: u64| address.wrapping_add(bias);
    let told = version_of(memory, facts.version.map(at), file, files)?;
    if let Some(runtime) = facts.runtime.map(at) {
        return fit_at(memory, runtime, told).map(Some);
    }
    if let Some(runtime) = facts.runtime_elsewhere().map(at)
        && let Ok(found) = fit_at(memory, runtime, told)
    {
        return Ok(Some(found));
    }
    let writable = facts.writable.iter();
    let ranges = writable.map(|(start, len)| (at(*start), *len));
    let found = scan(memory, ranges, told)?;
    if let Some((_, Root::Runtime(runtime))) = &found {
        facts.found_runtime(runtime.wrapping_sub(bias));
    }
    Ok(found)
}

/// The version of the interpreter in a file, if anything tells it.
fn version_of(
    memory: &ProcessMemory,
    variable: Option<u64>,
    file: &MappedFile,
    files: &[MappedFile],
) -> Result<Option<Version>, Unsupported> {
    let mut hex = [0; 4];
    if let Some(address) = variable
        && memory.read(address, &mut hex).is_ok()
    {
        return Version::from_hex(u32::from_le_bytes(hex)).map(Some);
    }
    let all: Vec<&Path> = files.iter().map(|f| f.path.as_path()).collect();
    let text = python_version(&file.path, &[&file.path])
        .flatten()
        .or_else(|| python_version(Path::new(""), &all).flatten());
    text.map(|text| Version::parse(&text)).transpose()
}

/// Proves the layout of the `_PyRuntime` at this address.
fn fit_at(
    memory: &ProcessMemory,
    runtime: u64,
    told: Option<Version>,
) -> Result<(Fit, Root), NoPython> {
    let root = Root::Runtime(runtime);
    let mut head = vec![0; DEBUG_OFFSETS_BYTES];
    let offsets = match memory.read(runtime, &mut head) {
        Ok(()) => DebugOffsets::read(&head),
        Err(_) => Err(NoDebugOffsets::None),
    };
    match offsets {
        Ok(offsets) => {
            let fit = check::fit(memory, &offsets.layout()?, root)?;
            return Ok((fit, root));
        }
        Err(NoDebugOffsets::None) => {}
        Err(NoDebugOffsets::Unsupported(error)) => return Err(error.into()),
        Err(error) => return Err(error.into()),
    }
    let fits = |version| check::fit(memory, Layout::table(version), root);
    if let Some(version) = told {
        return Ok((fits(version)?, root));
    }
    // A file without a version in its name: the one that fits, since each says what it is.
    let mut last = None;
    for version in Version::ALL {
        match fits(version) {
            Ok(fit) => return Ok((fit, root)),
            Err(error) => last = Some(error),
        }
    }
    let version = Version::V3_12;
    let what = "any version";
    Err(last.unwrap_or(NoFit::Wrong { version, what }).into())
}

/// Looks for an interpreter in writable data: by what `_PyRuntime` begins with from 3.13 on, else
/// by what an interpreter looks like.
fn scan(
    memory: &ProcessMemory,
    ranges: impl Iterator<Item = (u64, u64)>,
    told: Option<Version>,
) -> Result<Option<(Fit, Root)>, NoPython> {
    let versions: Vec<_> = Version::ALL
        .into_iter()
        .filter(|v| told.is_none_or(|told| told == *v))
        .collect();
    let mut left = MAX_SCANNED_BYTES;
    for (start, len) in ranges {
        let mut at = start & !7;
        let end = start.saturating_add(len);
        while at < end && left > 0 {
            let take = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE) & !7;
            let mut bytes = vec![0; take];
            left = left.saturating_sub(PIECE as u64);
            if take == 0 || memory.read(at, &mut bytes).is_err() {
                break;
            }
            if let Some(found) = in_piece(memory, at, &bytes, &versions)? {
                return Ok(Some(found));
            }
            at += take as u64;
        }
    }
    Ok(None)
}

fn in_piece(
    memory: &ProcessMemory,
    start: u64,
    bytes: &[u8],
    versions: &[Version],
) -> Result<Option<(Fit, Root)>, NoPython> {
    for at in memchr::memmem::find_iter(bytes, b"xdebugpy") {
        match fit_at(memory, start + at as u64, None) {
            Ok(found) => return Ok(Some(found)),
            // The text stands elsewhere too.
            Err(NoPython::Unsupported(error)) => return Err(error.into()),
            Err(_) => {}
        }
    }
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|chunk| chunk.try_into().map_or(0, u64::from_le_bytes))
        .collect();
    for version in versions {
        let layout = Layout::table(*version);
        if let Some(root) = check::scan(memory, layout, &words)
            && let Ok(fit) = check::fit(memory, layout, root)
        {
            return Ok(Some((fit, root)));
        }
    }
    Ok(None)
}
