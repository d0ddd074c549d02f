//! The reader of CPython on real processes of every version: what it reads is what the programs
//! say of their own objects, functions and stacks.

use anyhow::{Context as _, Result};
use genspan::python::find::{FunctionName, NotFound};
use genspan::python::reader::LISTING_BUDGET;
use genspan::python::render;
use genspan::python::value::Limits;
use genspan::target::python::Python;
use genspan_tests::{Process, Temp, need, programs};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// A program with objects, and what it said of them.
struct Program {
    process: Process,
    told: Value,
    python: Python,
    _temp: Temp,
}

impl Program {
    fn start(python: &PathBuf, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(python);
        command
            .arg(programs().join("live/objects.py"))
            .args(arguments);
        Self::run(&mut command)
    }

    /// In a root directory of its own, where the program's file is not.
    fn start_in(root: &PathBuf, python: &str) -> Result<Self> {
        let source = std::fs::read_to_string(programs().join("live/objects.py"))?;
        let mut command = Command::new("chroot");
        command.arg(root).args([python, "-c", &source]);
        Self::run(&mut command)
    }

    fn run(command: &mut Command) -> Result<Self> {
        let temp = Temp::new()?;
        let mut process = Process::start(command, &temp.file("stderr"))?;
        let told = serde_json::from_str(&process.line()?)?;
        let python = Python::open(process.pid())?;
        Ok(Self {
            process,
            told,
            python,
            _temp: temp,
        })
    }

    /// The dict of objects, as found by name, not by the address that the program told.
    fn objects(&self) -> Result<u64> {
        let reader = self.python.reader();
        let main = reader.module(self.python.fit.main.address, "__main__")?;
        let dict = reader.module_dict(main.context("no __main__")?)?;
        let objects = reader.dict_get(dict, "OBJECTS")?.context("no OBJECTS")?;
        assert_eq!(Some(objects), self.told["objects"].as_u64());
        Ok(objects)
    }
}

/// What has no order, in one.
fn in_order(name: &str, value: Value) -> Value {
    let Value::Array(mut items) = value else {
        return value;
    };
    if name.contains("set") {
        items.sort_by_key(Value::to_string);
    }
    Value::Array(items)
}

fn values(program: &Program) -> Result<()> {
    let limits = Limits {
        items: 1000,
        ..Limits::default()
    };
    let told = program.told["values"].as_object().context("no values")?;
    let entries = program
        .python
        .reader()
        .dict_entries(program.objects()?, 1000)?;
    assert_eq!(entries.len(), told.len());
    let mut wrong = Vec::new();
    for (key, value) in entries {
        let reader = program.python.reader();
        let name = reader.short_text(key)?;
        let read = in_order(&name, render::json(&reader.value(value, limits)));
        let wanted = in_order(&name, told[&name].clone());
        // The order of attributes counts for nothing: split dicts have that of their class.
        if read != wanted {
            wrong.push(format!("{name}: read {read}, is {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn functions(program: &Program) -> Result<()> {
    let told = program.told["functions"]
        .as_object()
        .context("no functions")?;
    assert!(told.len() >= 12);
    for (path, wanted) in told {
        let name = FunctionName::parse(&format!("__main__:{path}"))?;
        let code = program.python.find(&name).context(path.clone())?;
        assert_eq!(Some(code.address), wanted["address"].as_u64(), "{path}");
        assert_eq!(code.name, wanted["name"], "{path}");
        if let Some(qualname) = &code.qualname {
            assert_eq!(qualname, path);
        }
        assert_eq!(code.filename, wanted["file"], "{path}");
        assert_eq!(u64::from(code.first_line), wanted["line"], "{path}");
        assert_eq!(u64::from(code.flags), wanted["flags"], "{path}");
        let names: Vec<_> = code.arguments.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(serde_json::json!(names), wanted["arguments"], "{path}");
        let slots: Vec<_> = code.arguments.iter().map(|a| a.slot).collect();
        assert_eq!(slots, (0..names.len() as u32).collect::<Vec<_>>());
        // What an inner function uses is in a cell: at the entry up to 3.10, soon after it since.
        let enclosed: &[&str] = match path.as_str() {
            "Outer.used_in_closure" => &["self", "value"],
            "Outer.Inner.method" => &["a"],
            _ => &[],
        };
        let old = program.python.fit.layout.version.minor() <= 10;
        let kinds = program.python.reader().becomes_cells(code.address)?;
        for argument in &code.arguments {
            let is_cell = if old {
                argument.cell.is_some()
            } else {
                kinds[argument.slot as usize]
            };
            let wanted = enclosed.contains(&argument.name.as_str());
            assert_eq!(is_cell, wanted, "{} of {path}", argument.name);
        }
    }
    for (name, wanted) in [
        ("nowhere:f", "the module `nowhere` is not loaded"),
        ("__main__:nothing", "`__main__` has no `nothing`"),
        (
            "__main__:Outer.nothing",
            "`__main__:Outer` has no `nothing`",
        ),
        ("__main__:bound.x", "`__main__:bound` has no `x`"),
        ("__main__:bound.<locals>.x", "`bound` has no `x`"),
        (
            "__main__:OBJECTS",
            "`__main__:OBJECTS` is no Python function but of type `dict`",
        ),
        (
            "builtins:len",
            "`builtins:len` is no Python function but of type `builtin_function_or_method`",
        ),
    ] {
        let found = program.python.find(&FunctionName::parse(name)?);
        let error: NotFound = found.err().context(name)?;
        assert_eq!(error.to_string(), wanted);
    }
    Ok(())
}

fn listing(program: &Program) -> Result<()> {
    let reader = program.python.reader_with(LISTING_BUDGET);
    let main = program.python.fit.main.address;
    let own = reader.functions(main, Some("__main__"))?;
    let names: Vec<_> = own.iter().map(|f| f.name.as_str()).collect();
    for wanted in [
        "__main__:Data.__init__",
        "__main__:Outer.Inner.of_class",
        "__main__:Outer.Inner.prop",
        "__main__:behind_wrapper",
        "__main__:main",
    ] {
        assert!(names.contains(&wanted), "{wanted} in {names:?}");
    }
    assert!(names.iter().all(|name| name.starts_with("__main__:")));
    let all = reader.functions(main, None)?;
    assert!(all.len() > 500, "{}", all.len());
    for listed in all.iter().filter(|f| f.name.starts_with("json")) {
        let found = program.python.find(&FunctionName::parse(&listed.name)?)?;
        assert_eq!(found.address, listed.code, "{}", listed.name);
    }
    Ok(())
}

fn modules(program: &Program) -> Result<()> {
    let reader = program.python.reader();
    let mut names = Vec::new();
    for (name, _) in reader.modules(program.python.fit.main.address)? {
        names.push(Value::String(reader.short_text(name)?));
    }
    names.sort_by_key(Value::to_string);
    let mut told = program.told["modules"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    told.sort_by_key(Value::to_string);
    assert_eq!(names, told);
    Ok(())
}

fn stacks(program: &Program) -> Result<()> {
    let told = program.told["stacks"].as_object().context("no stacks")?;
    assert_eq!(told.len(), 3);
    let reader = program.python.reader();
    let threads = reader.threads(program.python.fit.main.address)?;
    assert_eq!(threads.len(), 4);
    for (ident, wanted) in told {
        let ident: u64 = ident.parse()?;
        let thread = threads.iter().find(|t| t.base == ident);
        let thread = thread.context("a thread is missing")?;
        let mut read = Vec::new();
        for frame in reader.frames(thread.address, 64)? {
            let offset = reader.instruction_offset(frame.code, frame.instruction);
            let place = reader.place(frame.code, offset.context("no instruction")?)?;
            read.push(serde_json::json!([
                place.function,
                place.filename,
                place.line
            ]));
        }
        assert_eq!(&Value::Array(read), wanted);
    }
    Ok(())
}

fn all(python: Option<PathBuf>, version: Option<&str>) -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, python) else {
        return Ok(());
    };
    check(Program::start(&python, &[])?, version)
}

/// What other packages' objects are, by the program's own word: that it is this is known beforehand.
const EXPECTED: [(&str, &str); 2] = [
    (
        "pydantic_model",
        r#"{"model": "m", "temperature": 0.5, "tags": ["a", "b"],
            "inner": {"model": "n", "temperature": 0.5, "tags": [], "inner": null}}"#,
    ),
    (
        "msgspec_struct",
        r#"{"request_id": "r-1", "tokens": [1, 2, 3], "done": false}"#,
    ),
];

/// Every word of a program about itself is what is read of it. Of a `version` that was asked for the packages are there
/// of which it makes objects; the system's own Python has those that happen to be.
fn check(mut program: Program, version: Option<&str>) -> Result<()> {
    assert_eq!(program.told["version"], program.python.version());
    if let Some(version) = version {
        assert!(program.python.version().starts_with(version));
        assert_eq!(program.told["missing"], serde_json::json!([]));
        for (name, wanted) in EXPECTED {
            let told = &program.told["values"][name];
            assert_eq!(*told, serde_json::from_str::<Value>(wanted)?, "{name}");
        }
    }
    let fit = &program.python.fit;
    assert_eq!(fit.interpreters.len(), 1);
    let thread_state = fit.thread_state.context("no thread state")?;
    assert!((0x310..0x510).contains(&thread_state), "{thread_state}");
    values(&program)?;
    functions(&program)?;
    listing(&program)?;
    modules(&program)?;
    stacks(&program)?;
    // It was only looked at.
    program.process.close();
    assert_eq!(
        program.process.wait()?,
        0,
        "{}",
        program.process.complaints()
    );
    Ok(())
}

#[test]
fn cpython_3_8() -> Result<()> {
    all(need::python(8)?, Some("3.8."))
}

#[test]
fn cpython_3_9() -> Result<()> {
    all(need::python(9)?, Some("3.9."))
}

#[test]
fn cpython_3_10() -> Result<()> {
    all(need::python(10)?, Some("3.10."))
}

#[test]
fn cpython_3_11() -> Result<()> {
    all(need::python(11)?, Some("3.11."))
}

#[test]
fn cpython_3_12() -> Result<()> {
    all(need::python(12)?, Some("3.12."))
}

#[test]
fn cpython_3_13() -> Result<()> {
    all(need::python(13)?, Some("3.13."))
}

/// On Debian an executable without symbols but those for extensions.
#[test]
fn the_systems_python() -> Result<()> {
    all(need::system_python()?, None)
}

/// In another root, static, stripped, with tagged pointers in frames.
#[test]
fn debians_cpython_3_14() -> Result<()> {
    let (Some(()), Some(root)) = (need::root()?, need::debian_python(14)?) else {
        return Ok(());
    };
    check(
        Program::start_in(&root, "/usr/bin/python3.14")?,
        Some("3.14."),
    )
}

#[test]
fn sub_interpreters_are_told() -> Result<()> {
    for minor in [8, 12, 13] {
        let Some(python) = need::python(minor)? else {
            continue;
        };
        let program = Program::start(&python, &["sub"])?;
        assert_eq!(program.python.fit.interpreters.len(), 2, "3.{minor}");
        assert_eq!(program.python.fit.main.id, 0);
        values(&program)?;
    }
    Ok(())
}

/// Nothing is read of a process that is gone, nor of the program that it became.
#[test]
fn a_program_that_is_gone_is_not_read() -> Result<()> {
    let Some(python) = need::any_python()? else {
        return Ok(());
    };
    let mut program = Program::start(&python, &[])?;
    let reader = program.python.reader();
    assert!(reader.modules(program.python.fit.main.address).is_ok());
    program.process.close();
    program.process.wait()?;
    assert!(reader.modules(program.python.fit.main.address).is_err());
    assert!(Python::open(program.process.pid()).is_err());
    Ok(())
}

#[test]
fn what_is_not_python_is_refused() -> Result<()> {
    let temp = Temp::new()?;
    let mut command = Command::new("sleep");
    let process = Process::start(command.arg("60"), &temp.file("stderr"))?;
    let refused = genspan_tests::wait_for("sleep to run", || {
        let error = Python::open(process.pid()).err()?.to_string();
        error.contains("no CPython").then_some(error)
    })?;
    assert!(refused.contains(&process.pid().to_string()), "{refused}");
    Ok(())
}
