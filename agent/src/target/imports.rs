//! Modules that a Python process may import later: what the kernel is told of their files, where it sees
//! their bodies run, and which of them there are to be imported.

use std::collections::BTreeMap;

use genspan_common::imports::{Awaited, MAX_NAME, SEED, piece, with};

use super::discover;
use super::functions::{self, CannotWatch, Hook, Watchable};
use super::python::{NoSymbol, Python};
use super::rooted::Rooted;
use crate::model::process::ModuleBody;
use crate::python::code::Code;
use crate::python::find::NotFound;
use crate::python::wanted::Wanted;

/// What runs the body of a module (`Python/ceval.c`).
const EVAL: &str = "PyEval_EvalCode";
/// The module that a program begins with: no file of its own has its name.
pub const MAIN: &str = "__main__";

/// Where a probe goes that sees the bodies of modules run.
///
/// # Errors
///
/// When there is no such place.
pub fn hook(python: &Python, pid: u32) -> Result<Hook, NoSymbol> {
    let (file, offset) = python.place(pid, EVAL)?;
    Ok(Hook {
        reach: file.reach,
        offsets: vec![offset],
    })
}

/// What the kernel is told of a process in which modules are waited for; none of a layout that it cannot be
/// told of.
#[must_use]
pub fn awaited(python: &Python) -> Option<Awaited> {
    let layout = &python.fit.layout;
    Some(Awaited {
        code_file: u32::try_from(layout.code.filename).ok()?,
        text_ascii: u32::try_from(layout.text.ascii).ok()?,
        text_compact: u32::try_from(layout.text.compact).ok()?,
        code_constants: u32::try_from(layout.code.consts).ok()?,
        tuple_items: u32::try_from(layout.tuple_items).ok()?,
        ..Awaited::default()
    })
}

/// The files in which a module may be, without what is before the first package.
fn files(module: &str) -> [String; 2] {
    let path = module.replace('.', "/");
    [format!("{path}.py"), format!("{path}/__init__.py")]
}

/// Whether the file of a code object is one of a module's.
#[must_use]
pub fn is_file_of(file: &str, module: &str) -> bool {
    files(module).iter().any(|wanted| {
        file.strip_suffix(wanted.as_str())
            .is_some_and(|before| before.is_empty() || before.ends_with('/'))
    })
}

/// What the kernel's table of wanted files holds for these modules: each component of their names from the
/// end, by its hash.
#[must_use]
pub fn pieces<'m>(modules: impl Iterator<Item = &'m str>) -> Vec<(u64, u32)> {
    let mut all = BTreeMap::new();
    let modules = modules.filter(|module| *module != MAIN);
    for name in modules.flat_map(files) {
        let characters: Vec<u32> = name.chars().rev().map(u32::from).collect();
        let slashes = characters.iter().enumerate();
        let slashes = slashes.filter(|(_, c)| **c == u32::from('/'));
        let mut ends: Vec<usize> = slashes.map(|(at, _)| at).collect();
        ends.push(characters.len());
        // Of a longer one the kernel sees the end alone.
        ends.retain(|end| *end <= MAX_NAME);
        let longest = ends.last().copied();
        for end in ends {
            let own = characters.iter().take(end);
            let hash = own.fold(SEED, |hash, c| with(hash, *c));
            let value = if Some(end) == longest {
                piece::WHOLE
            } else {
                piece::END
            };
            let known = all.entry(hash).or_insert(value);
            *known = value.max(*known);
        }
    }
    all.into_iter().collect()
}

/// The code of functions and classes that the body of a module defines, as the kernel told of it when it
/// began.
#[must_use]
pub fn defined(python: &Python, body: &ModuleBody) -> Vec<Code> {
    let reader = python.reader();
    let told = body.constants.iter().filter(|at| **at != 0);
    let mut all: Vec<u64> = told.copied().collect();
    if body.count > all.len() as u64 {
        // A long one takes its time, so it may be there still.
        all.extend(reader.nested_code(body.code).unwrap_or_default());
    }
    let codes = all.into_iter().filter_map(|at| reader.code(at).ok());
    codes.collect()
}

/// Finds a function in what its module defines, whether that was done already or not.
///
/// # Errors
///
/// Why it is not watched.
pub fn find(python: &Python, defined: &[Code], wanted: &Wanted) -> Result<Watchable, CannotWatch> {
    let name = &wanted.name;
    let (part, rest) = name
        .parts
        .split_first()
        .ok_or_else(|| NotFound::NoName(name.to_string()))?;
    // The last of a name counts, as in Python.
    let own = |code: &&Code| code.name == *part && is_file_of(&code.filename, &name.module);
    let outer = defined.iter().rev().find(own);
    let outer = outer.ok_or_else(|| NotFound::NoPart {
        within: name.module.clone(),
        part: part.clone(),
    })?;
    let reader = python.reader();
    let code = reader.code(reader.find_nested(outer.address, rest)?)?;
    functions::watchable(python, (code, None), wanted)
}

/// Those of these packages, and modules without one, that the process could import: they are in a folder of
/// its `sys.path`. One that is reached in another way is not seen.
#[must_use]
pub fn importable(python: &Python, pid: u32, packages: &[&str]) -> Vec<String> {
    let Ok(files) = Rooted::open(pid) else {
        return Vec::new();
    };
    let folders = discover::search_path(&python.reader(), python.fit.main.address);
    let is_there = |package: &&&str| {
        let mut folders = folders.iter();
        folders.any(|folder| files.stamp(&folder.join(package)).is_ok())
    };
    let found = packages.iter().filter(is_there);
    found.map(|package| (*package).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{files, is_file_of, pieces};
    use genspan_common::imports::{MAX_NAME, SEED, piece, with};
    use std::collections::HashMap;

    /// As the kernel does it (`genspan_module_wanted`).
    fn is_wanted(table: &HashMap<u64, u32>, file: &str) -> bool {
        let mut hash = SEED;
        let mut characters: Vec<_> = file.chars().rev().map(u32::from).collect();
        characters.push(u32::from('/'));
        for character in characters.into_iter().take(MAX_NAME + 1) {
            if character == u32::from('/') {
                match table.get(&hash) {
                    Some(&piece::WHOLE) => return true,
                    Some(_) => {}
                    None => return false,
                }
            }
            hash = with(hash, character);
        }
        false
    }

    #[test]
    fn files_are_known_by_their_ends() {
        let long = format!("{0}.{0}.{0}", "päckage_of_many_letters");
        let modules = ["app", "app.chat", "langchain_core.callbacks.manager", &long];
        let table: HashMap<_, _> = pieces(modules.into_iter()).into_iter().collect();
        for (file, module) in [
            ("/srv/app.py", "app"),
            ("app.py", "app"),
            ("/srv/app/__init__.py", "app"),
            ("/srv/app/chat.py", "app.chat"),
            ("/x/langchain_core/callbacks/manager.py", modules[2]),
            (&format!("/x/{}", files(&long)[0]), &long),
        ] {
            assert!(is_wanted(&table, file), "{file}");
            assert!(is_file_of(file, module), "{file}");
        }
        for file in [
            "/srv/myapp.py",
            "/srv/app.pyc",
            "/srv/chat.py",
            "/srv/other/chat.py",
            "/srv/__init__.py",
            "manager.py",
            "callbacks/manager.py",
            "<string>",
            "/",
            "",
        ] {
            assert!(!is_wanted(&table, file), "{file}");
            let of_any = modules.iter().any(|module| is_file_of(file, module));
            assert!(!of_any, "{file}");
        }
        // What begins a program has a name that says nothing of its file.
        assert!(pieces(["__main__"].into_iter()).is_empty());
    }
}
