//! Proving a layout against the process before anything is read with it: what every CPython has,
//! and what is known of it, must be found where the layout says. What moves with small changes of
//! a version is looked for.

use thiserror::Error;

use super::layout::Layout;
use super::memory::Memory;
use super::number::Int;
use super::object::Kind;
use super::paged::Paged;
use super::reader::{ReadError, Reader};
use super::runtime::{Interpreter, MAX_FRAMES, Thread};
use super::version::{Version, hex_to_text};

/// What the whole proof may cost.
const BUDGET: u64 = 32 << 20;

/// How often it is tried: the process runs while it is read.
const ATTEMPTS: u32 = 5;

/// Bytes of an interpreter in which `modules` is looked for.
const INTERPRETER_BYTES: usize = 16 << 10;

/// Where glibc keeps a thread's specific data, from its base on (`struct pthread` of x86-64:
/// `specific_1stblock`, 32 pairs of a number and a pointer), and the end of it.
const SPECIFIC: u64 = 0x310;
const SPECIFIC_END: u64 = SPECIFIC + 32 * 16;

/// A function that every CPython has, with its arguments in the order of their slots.
const KNOWN_MODULE: &str = "_frozen_importlib";
const KNOWN_FUNCTION: &str = "_verbose_message";
const KNOWN_ARGUMENTS: [&str; 3] = ["message", "verbosity", "args"];
const KNOWN_FILE: &str = "importlib._bootstrap";

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Address of `_PyRuntime`.
    Runtime(u64),
    /// Address of an interpreter from which the others are reached: where no symbol led to
    /// `_PyRuntime`.
    Interpreter(u64),
}

/// Why a layout is not used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoFit {
    /// Nothing that the layout says of this is there.
    #[error("the layout of CPython {version} does not fit: {what}")]
    Wrong {
        /// The version it is for.
        version: Version,
        /// What was looked for.
        what: &'static str,
    },
    /// The process says that it is another version.
    #[error("the process says that it is CPython {found}, not {version}")]
    OtherVersion {
        /// The version that the layout is for.
        version: Version,
        /// What the process says.
        found: String,
    },
    /// It could not be read.
    #[error("the layout of CPython {version} does not fit: {what}: {source}")]
    Read {
        /// The version it is for.
        version: Version,
        /// What was looked for.
        what: &'static str,
        /// Why it was not found.
        source: ReadError,
    },
}

/// A layout that fits, and what was found out with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The layout, corrected where something had moved.
    pub layout: Layout,
    /// `PY_VERSION_HEX`, as the process says.
    pub hex: u32,
    /// The main interpreter.
    pub main: Interpreter,
    /// All interpreters.
    pub interpreters: Vec<Interpreter>,
    /// Threads of the main interpreter.
    pub threads: usize,
    /// From a thread's base (`fsbase`) to the word that points to its `PyThreadState`, in bytes.
    /// `None` where there is no such word, as on another C library than glibc.
    pub thread_state: Option<i32>,
    /// Whether `modules` was not where the table has it.
    pub modules_moved: bool,
}

/// Proves a layout.
///
/// # Errors
///
/// What of it was not found.
pub fn fit(memory: &dyn Memory, layout: &Layout, root: Root) -> Result<Fit, NoFit> {
    let mut result = attempt(memory, layout, root);
    for _ in 1..ATTEMPTS {
        match result {
            // That it is another version does not change.
            Ok(_) | Err(NoFit::OtherVersion { .. }) => return result,
            Err(_) => result = attempt(memory, layout, root),
        }
    }
    result
}

fn attempt(memory: &dyn Memory, layout: &Layout, root: Root) -> Result<Fit, NoFit> {
    let version = layout.version;
    let step = Step { version };
    let mut layout = layout.clone();
    // Of this attempt alone: the next one is made because something may be otherwise by then.
    let memory = &Paged::new(memory);
    let reader = Reader::new(memory, &layout, BUDGET);
    let interpreters = step.of(
        "interpreters",
        match root {
            Root::Runtime(address) => reader.interpreters(address),
            Root::Interpreter(address) => reader.interpreters_from(address),
        },
    )?;
    let main = interpreters.iter().find(|i| i.id == 0).copied();
    let main = main.ok_or_else(|| step.wrong("main interpreter"))?;
    let modules = find_modules(&reader, main.address);
    let modules = modules.ok_or_else(|| step.wrong("sys.modules"))?;
    let modules_moved = modules != layout.interpreter.modules;
    let left = reader.left();
    layout.interpreter.modules = modules;

    let reader = Reader::new(memory, &layout, left);
    let hex = check_sys(&reader, step, main.address)?;
    check_builtins(&reader, step, main.address)?;
    check_function(&reader, step, main.address)?;
    let threads = step.of("threads", reader.threads(main.address))?;
    // Both C libraries: the first word of a thread's control block points to itself.
    let is_sound = |t: &&Thread| reader.word(t.base).is_ok_and(|word| word == t.base);
    if !threads.iter().any(|thread| is_sound(&thread)) {
        return Err(step.wrong("thread_id of a thread"));
    }
    check_frames(&reader, step, &threads)?;
    // One that runs a sub-interpreter has the state of its thread there for its own.
    let others = interpreters.iter().filter(|other| **other != main);
    let others: Vec<_> = others
        .flat_map(|other| reader.threads(other.address).unwrap_or_default())
        .collect();
    let all = threads.iter().chain(&others).filter(is_sound);
    let all: Vec<_> = all.copied().collect();
    let thread_state = thread_state(&reader, &all, hinted(&reader, root));
    Ok(Fit {
        hex,
        main,
        threads: threads.len(),
        thread_state,
        modules_moved,
        interpreters,
        layout,
    })
}

#[derive(Clone, Copy)]
struct Step {
    version: Version,
}

impl Step {
    fn wrong(self, what: &'static str) -> NoFit {
        let version = self.version;
        NoFit::Wrong { version, what }
    }

    fn of<T>(self, what: &'static str, result: super::reader::Result<T>) -> Result<T, NoFit> {
        let version = self.version;
        result.map_err(|source| NoFit::Read {
            version,
            what,
            source,
        })
    }

    fn is(self, what: &'static str, holds: bool) -> Result<(), NoFit> {
        if holds { Ok(()) } else { Err(self.wrong(what)) }
    }
}

/// Where in an interpreter `modules` is: as the layout says, or where else a dict is that holds
/// the modules which every interpreter has.
fn find_modules(reader: &Reader<'_>, interpreter: u64) -> Option<u64> {
    let told = reader.layout.interpreter.modules;
    let is_modules = |dict: u64| -> Option<()> {
        if dict == 0 || !dict.is_multiple_of(8) || reader.type_of(dict).ok()?.kind != Kind::Dict {
            return None;
        }
        for name in ["sys", "builtins"] {
            let module = reader.dict_get(dict, name).ok().flatten()?;
            let dict = reader.module_dict(module).ok()?;
            let named = reader.dict_get(dict, "__name__").ok().flatten()?;
            (reader.short_text(named).ok()? == name).then_some(())?;
        }
        Some(())
    };
    let at = |offset: u64| reader.word(interpreter.wrapping_add(offset)).ok();
    if at(told).and_then(is_modules).is_some() {
        return Some(told);
    }
    let words = reader.words(interpreter, INTERPRETER_BYTES / 8).ok()?;
    let found = words.iter().position(|word| is_modules(*word).is_some())?;
    Some(found as u64 * 8)
}

/// What `sys` says of the interpreter; its version.
fn check_sys(reader: &Reader<'_>, step: Step, interpreter: u64) -> Result<u32, NoFit> {
    let sys = step.of("sys", reader.module(interpreter, "sys"))?;
    let sys = step.of("sys", reader.module_dict(sys.unwrap_or(0)))?;
    let get = |name: &'static str| -> Result<u64, NoFit> {
        let found = step.of("sys", reader.dict_get(sys, name))?;
        found.ok_or_else(|| step.wrong(name))
    };
    let hex = step.of("sys.hexversion", reader.integer(get("hexversion")?))?;
    let hex = match hex {
        Int::Small(hex) => u32::try_from(hex).ok(),
        _ => None,
    };
    let hex = hex.ok_or_else(|| step.wrong("sys.hexversion"))?;
    if Version::from_hex(hex) != Ok(step.version) {
        return Err(NoFit::OtherVersion {
            version: step.version,
            found: hex_to_text(hex),
        });
    }
    let maxsize = step.of("sys.maxsize", reader.integer(get("maxsize")?))?;
    step.is("sys.maxsize", maxsize == Int::Small(i64::MAX))?;
    let version = step.of("sys.version", reader.short_text(get("version")?))?;
    step.is("sys.version", version.starts_with(&hex_to_text(hex)))?;
    let implementation = get("implementation")?;
    let name = step.of(
        "sys.implementation",
        reader.attribute(implementation, "name"),
    )?;
    let name = step.of("sys.implementation", reader.short_text(name.unwrap_or(0)))?;
    step.is("sys.implementation", name == "cpython")?;
    Ok(hex)
}

/// What `builtins` holds.
fn check_builtins(reader: &Reader<'_>, step: Step, interpreter: u64) -> Result<(), NoFit> {
    let module = step.of("builtins", reader.module(interpreter, "builtins"))?;
    let dict = step.of("builtins", reader.module_dict(module.unwrap_or(0)))?;
    for (name, kind) in [
        ("None", Kind::None),
        ("True", Kind::Bool),
        ("int", Kind::Type),
    ] {
        let object = step.of(name, reader.dict_get(dict, name))?;
        let found = step.of(name, reader.type_of(object.unwrap_or(0)))?;
        step.is(name, found.kind == kind)?;
        if kind == Kind::Type {
            let found = step.of(name, reader.type_at(object.unwrap_or(0)))?;
            step.is(name, found.name == name && found.kind == Kind::Int)?;
        }
    }
    Ok(())
}

/// What is known of one function.
fn check_function(reader: &Reader<'_>, step: Step, interpreter: u64) -> Result<(), NoFit> {
    const WHAT: &str = "a function of importlib";
    let module = step.of(WHAT, reader.module(interpreter, KNOWN_MODULE))?;
    let dict = step.of(WHAT, reader.module_dict(module.unwrap_or(0)))?;
    let function = step.of(WHAT, reader.dict_get(dict, KNOWN_FUNCTION))?;
    let function = function.ok_or_else(|| step.wrong(WHAT))?;
    let found = step.of(WHAT, reader.type_of(function))?;
    step.is(WHAT, found.kind == Kind::Function)?;
    let at = function.wrapping_add(reader.layout.function.code);
    let code = step.of(WHAT, reader.word(at).and_then(|code| reader.code(code)))?;
    let names = code.arguments.iter().map(|a| a.name.as_str());
    step.is(
        WHAT,
        code.name == KNOWN_FUNCTION
            && code.qualname.as_deref().unwrap_or(KNOWN_FUNCTION) == KNOWN_FUNCTION
            && names.eq(KNOWN_ARGUMENTS)
            && code.filename.contains(KNOWN_FILE),
    )?;
    let place = step.of("a line of importlib", reader.place(code.address, 0))?;
    step.is(
        "a line of importlib",
        place.line == code.first_line || {
            // The first instruction may be that of the first statement.
            place.line > code.first_line && place.line < code.first_line + 8
        },
    )
}

/// The frames of at least one thread are frames of Python code, or no thread runs any.
fn check_frames(reader: &Reader<'_>, step: Step, threads: &[Thread]) -> Result<(), NoFit> {
    let mut empty = 0;
    for thread in threads {
        match reader.frames(thread.address, MAX_FRAMES) {
            Ok(frames) if frames.is_empty() => empty += 1,
            Ok(frames) => {
                let is_code = |code| reader.type_of(code).is_ok_and(|t| t.kind == Kind::Code);
                if frames.iter().all(|frame| is_code(frame.code)) {
                    return Ok(());
                }
            }
            Err(_) => {}
        }
    }
    step.is("the frames of a thread", empty == threads.len())
}

/// Where glibc keeps what `autoTSSkey` names, from a thread's base on.
fn hinted(reader: &Reader<'_>, root: Root) -> Option<u64> {
    let Root::Runtime(runtime) = root else {
        return None;
    };
    let key = runtime.wrapping_add(reader.layout.runtime.auto_tss_key);
    let (initialised, key) = (reader.int(key).ok()?, reader.int(key + 4).ok()?);
    let key = u64::try_from(key).ok().filter(|key| *key < 32)?;
    (initialised != 0).then_some(SPECIFIC + key * 16 + 8)
}

/// The word that points to the thread state at the same distance from every thread's base.
///
/// A thread has a state in each interpreter that it ran; the word points to one of them. One that begins
/// or ends may not have it: that most have it is enough.
fn thread_state(reader: &Reader<'_>, threads: &[Thread], hint: Option<u64>) -> Option<i32> {
    let mut bases = std::collections::BTreeMap::<u64, Vec<u64>>::new();
    for thread in threads {
        bases.entry(thread.base).or_default().push(thread.address);
    }
    let mut counts = std::collections::BTreeMap::<u64, usize>::new();
    for (base, states) in &bases {
        let words = reader.words(*base, (SPECIFIC_END / 8) as usize);
        for (i, word) in words.unwrap_or_default().iter().enumerate() {
            if states.contains(word) {
                *counts.entry(i as u64 * 8).or_default() += 1;
            }
        }
    }
    let most = counts.values().max().copied()?;
    if most * 2 <= bases.len() {
        return None;
    }
    let best = |at: &u64| counts.get(at) == Some(&most);
    let found = hint.filter(best).or_else(|| {
        let mut all = counts.iter().filter(|(_, count)| **count == most);
        let only = all.next().map(|(at, _)| *at);
        // Two that are as good: which of them will be right for the next thread nobody can say.
        only.filter(|_| all.next().is_none())
    });
    found.and_then(|at| i32::try_from(at).ok())
}

/// Looks for an interpreter among the words of writable data, where no symbol leads to
/// `_PyRuntime`: a word that points to something whose first thread points back to it.
#[must_use]
pub fn scan(memory: &dyn Memory, layout: &Layout, words: &[u64]) -> Option<Root> {
    let reader = Reader::new(memory, layout, BUDGET);
    let (head, interp) = (layout.interpreter.threads_head, layout.thread.interp);
    words.iter().copied().find_map(|word| {
        let believable = word.is_multiple_of(8) && (0x1_0000..1 << 47).contains(&word);
        let thread = believable
            .then(|| reader.word(word + head).ok())
            .flatten()?;
        let back =
            (thread.is_multiple_of(8)).then(|| reader.word(thread.wrapping_add(interp)).ok());
        (back.flatten()? == word).then_some(Root::Interpreter(word))
    })
}
