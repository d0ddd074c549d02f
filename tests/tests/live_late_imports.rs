//! Functions of modules that a program imports while it is traced: called soon after, they are seen; and the
//! program is probed for that only as long as a module is waited for.

use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Finished, Process, Span, Temp, agent, memory, need};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What runs the bodies of modules, and what says so where that is not seen.
const EVAL: &[u8] = b"\0PyEval_EvalCode\0";
const POLLED: &str = "modules that are imported later are looked for now and then";

fn program(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(genspan_tests::programs().join("live/late_imports.py"));
    command
}

/// An agent that waits for two functions, each of a module that is not there.
fn waiting(temp: &Temp, pid: u32, functions: [&str; 2], options: &[&str]) -> Result<Agent> {
    let named = functions.map(|name| format!("{name}(number)"));
    let mut all = vec!["--function", &named[0], "--function", &named[1]];
    all.extend_from_slice(options);
    let list = pid.to_string();
    let mut agent = Agent::start(temp, &all, &["--pid", &list])?;
    for name in functions {
        agent.wait_for_log(&format!("waiting for {name}: the module"))?;
    }
    // Its threads that place probes may not have begun yet.
    std::thread::sleep(Duration::from_millis(200));
    agent.wait_placed()?;
    Ok(agent)
}

/// The numbers of the calls of a function that were told, in order.
fn told(spans: &[Span], function: &str) -> Vec<u64> {
    let name = function.replace(':', ".");
    let own = spans
        .iter()
        .filter(|s| s.text(attr::CODE_FUNCTION_NAME) == name);
    let number = format!("{}number", attr::FUNCTION_ARGUMENT);
    let mut all: Vec<_> = own.filter_map(|s| s.attribute(&number).as_u64()).collect();
    all.sort_unstable();
    all
}

/// Where the bodies of modules are run in a process: the offset in its file.
struct Place {
    pid: u32,
    offset: u64,
}

impl Place {
    /// As `genspan doctor` tells it.
    fn of(pid: u32) -> Result<Self> {
        let list = pid.to_string();
        let asked = ["doctor", "--json", "--socket", "none", "--pid", &list];
        let done = agent::command(&asked)?.output()?;
        let report: Value = serde_json::from_slice(&done.stdout)?;
        let ways = report["processes"][0]["mechanisms"].as_array();
        let ways = ways.context("no mechanisms")?;
        let way = ways.iter().find(|way| way["name"] == "imports");
        let way = way.context("no imports")?;
        let said = way["found"].as_str().context("not found")?;
        let offset = said.strip_prefix("PyEval_EvalCode at 0x");
        let offset = offset.and_then(|rest| rest.split(' ').next());
        let offset = u64::from_str_radix(offset.context("no place")?, 16)?;
        Ok(Self { pid, offset })
    }

    /// Whether it is probed.
    fn is_probed(&self) -> Result<bool> {
        let changed = memory::changed_code(self.pid)?;
        let python = changed.iter().filter(|(file, _)| file.contains("python"));
        let mut places = python.flat_map(|(_, places)| places);
        Ok(places.any(|(at, _)| *at == self.offset))
    }

    /// Waits until it is probed: that is asked for right after it is said what is waited for.
    fn wait_probed(&self) -> Result<()> {
        let is_probed = || self.is_probed().is_ok_and(|is| is).then_some(());
        genspan_tests::wait_for("the probe on imports", is_probed)
    }

    /// Waits until it is not probed.
    fn wait_clear(&self) -> Result<()> {
        let is_clear = || self.is_probed().is_ok_and(|is| !is).then_some(());
        genspan_tests::wait_for("the probe on imports to be gone", is_clear)
    }
}

/// How many microseconds after its import the first of a module's calls is told; none when none is. From there
/// on each call is to be told, but for so many.
fn seen_after(truth: &[Value], told: &[u64], but: usize) -> Result<Option<u64>> {
    let number = |call: &Value| call["number"].as_u64();
    let mut first = None;
    let mut left = but;
    for call in truth {
        let is_told = told.contains(&number(call).context("no number")?);
        if is_told && first.is_none() {
            first = Some(call["after"].as_u64().context("no time")?);
        }
        if first.is_some() && !is_told {
            let known = left.checked_sub(1);
            left = known.with_context(|| format!("not told: {call}, {told:?}"))?;
        }
    }
    anyhow::ensure!(told.len() <= truth.len(), "told twice: {told:?}");
    Ok(first)
}

/// Imports a module of each kind, and calls soon after and at once. Gives when the latter was seen, in microseconds.
///
/// A machine may do something else just then, which makes it late once; what is ours does so each time.
fn imports(python: &Path, options: &[&str], late: u64) -> Result<Vec<u64>> {
    let mut why = Vec::new();
    for _ in 0..TIMES {
        match each_kind(python, options, late)? {
            Ok(at_once) => return Ok(at_once),
            Err(was_late) => why.push(was_late),
        }
    }
    anyhow::bail!("{}", why.join("\n"))
}

/// Imports a module of each kind, waits 5 ms and calls; then one more, called at once. Gives when the latter was
/// seen, in microseconds; or which was seen later than that, or not at all.
fn each_kind(python: &Path, options: &[&str], late: u64) -> Result<Result<Vec<u64>, String>> {
    let temp = Temp::new()?;
    let mut traced = Process::ready(&mut program(python), &temp)?;
    let place = Place::of(traced.pid())?;
    let mut at_once = Vec::new();
    // Each kind with what is to be seen of it besides.
    for (kind, name, but) in [
        ("late_plain", "added", 0),
        ("late_class", "Bot.Inner.added", 0),
        // When the one that took its place is watched instead.
        ("late_replaced", "added", 12),
        ("late_steps", "added", 0),
        ("late_fails", "added", 0),
    ] {
        let functions = [0, 1].map(|at| format!("{kind}{at}:{name}"));
        let names = [functions[0].as_str(), functions[1].as_str()];
        let temp = Temp::new()?;
        let agent = waiting(&temp, traced.pid(), names, options)?;
        place.wait_probed().with_context(|| agent.log())?;
        traced.tell(&format!("{kind}0 5 60 2000"))?;
        let soon = traced.record()?;
        traced.tell(&format!("{kind}1 0 2000 100"))?;
        let now = traced.record()?;
        if kind == "late_plain" {
            // All are found: there is no module to wait for.
            place.wait_clear()?;
        }
        let Finished { spans, log, .. } = agent.stop()?;
        assert!(!log.contains(POLLED) && !log.contains("lost:"), "{log}");
        let seen = seen_after(&soon, &told(&spans, names[0]), but)?;
        let other = seen_after(&now, &told(&spans, names[1]), but)?;
        let in_time = seen.filter(|seen| *seen <= late);
        let (Some(_), Some(other)) = (in_time, other) else {
            let of = python.display();
            return Ok(Err(format!(
                "{kind} of {of}: seen after {seen:?} and {other:?} us: {log}"
            )));
        };
        at_once.push(other);
    }
    Ok(Ok(at_once))
}

/// Those whose modules are there 5 ms before they are called. By polls it would be an eighth of a second and
/// more; what a busy machine adds is little beside that.
const SOON: u64 = 100_000;

/// So often it is tried whether they are seen so soon.
const TIMES: usize = 3;

#[test]
fn called_soon_after_the_import() -> Result<()> {
    if need::root()?.is_none() {
        return Ok(());
    }
    let pythons = [need::python(8)?, need::python(13)?, need::system_python()?];
    for python in pythons.into_iter().flatten() {
        let at_once = imports(&python, &[], SOON)?;
        println!("{}: at once, seen after {at_once:?} us", python.display());
    }
    Ok(())
}

/// The same by perf's probes, which tell no ends of modules: they are looked for often instead.
#[test]
fn called_soon_by_perfs_probes() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::any_python()?) else {
        return Ok(());
    };
    let at_once = imports(&python, &["--perf-probes"], SOON)?;
    println!("{}: at once, seen after {at_once:?} us", python.display());
    Ok(())
}

/// What calls a function may be the body of its module.
#[test]
fn called_by_the_body() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::any_python()?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let mut traced = Process::ready(&mut program(&python), &temp)?;
    let names = ["late_own0:added", "pack.age:added"];
    let agent = waiting(&temp, traced.pid(), names, &[])?;
    for module in ["late_own0", "pack.age"] {
        traced.tell(&format!("{module} 5 10 500"))?;
        traced.record()?;
    }
    let Finished { spans, log, .. } = agent.stop()?;
    let all: Vec<u64> = (0..10).chain(900..905).collect();
    assert_eq!(told(&spans, names[0]), all, "{log}");
    // In a package, whose own body ran before.
    assert!(!told(&spans, names[1]).is_empty(), "{log}");
    Ok(())
}

/// A process in which all is found, and one that lives by `eval`, are not probed there.
#[test]
fn probed_only_while_it_is_of_use() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::any_python()?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let mut traced = Process::ready(&mut program(&python), &temp)?;
    let list = traced.pid().to_string();
    let options = ["--function", "__main__:imported(name)"];
    let mut agent = Agent::start(&temp, &options, &["--pid", &list])?;
    agent.wait_for_log("watching __main__:imported (pid")?;
    std::thread::sleep(Duration::from_millis(200));
    agent.wait_placed()?;
    let place = Place::of(traced.pid())?;
    assert!(!place.is_probed()?, "{}", agent.log());
    agent.stop()?;
    let temp = Temp::new()?;
    let names = ["late_plain2:added", "late_never0:missing"];
    let mut agent = waiting(&temp, traced.pid(), names, &[])?;
    place.wait_probed().with_context(|| agent.log())?;
    traced.tell("late_plain2 0 1 0")?;
    traced.record()?;
    // What a module that is there has not will not come by an import.
    traced.tell("late_never0 0 1 0")?;
    traced.record()?;
    place.wait_clear()?;
    agent.wait_for_log("waiting for late_never0:missing: `late_never0` has no `missing`")?;
    agent.stop()?;
    let temp = Temp::new()?;
    let mut agent = waiting(&temp, traced.pid(), ["nowhere:f", "neither:f"], &[])?;
    traced.tell("eval 250000")?;
    traced.line()?;
    agent.wait_for_log(POLLED)?;
    agent.wait_for_log("it ran the code of modules, and of `exec` and `eval`, ")?;
    place.wait_clear()?;
    agent.stop()?;
    Ok(())
}

/// A Python that does not tell where it runs modules: they are looked for, and that is told by name.
#[test]
fn where_the_symbol_is_missing() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::system_python()?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let other = without_symbol(&python, &temp)?;
    let mut command = program(&other);
    command.env("PYTHONHOME", "/usr");
    let mut traced = Process::ready(&mut command, &temp)?;
    let names = ["late_plain0:added", "late_plain1:added"];
    let mut agent = waiting(&temp, traced.pid(), names, &[])?;
    agent.wait_for_log(POLLED)?;
    agent.wait_for_log("no PyEval_EvalCode in")?;
    traced.tell("late_plain0 0 1 0")?;
    traced.record()?;
    agent.wait_for_log("watching late_plain0:added (pid")?;
    agent.stop()?;
    Ok(())
}

/// A copy of an executable in which the function has another name.
fn without_symbol(python: &Path, temp: &Temp) -> Result<PathBuf> {
    let mut bytes = std::fs::read(python)?;
    let mut found = 0;
    for at in 0..bytes.len().saturating_sub(EVAL.len()) {
        let Some(name) = bytes.get_mut(at..at + EVAL.len()) else {
            break;
        };
        if name == EVAL {
            name[EVAL.len() - 2] = b'X';
            found += 1;
        }
    }
    anyhow::ensure!(found > 0, "{} has no such symbol", python.display());
    let changed = temp.file("changed");
    std::fs::write(&changed, bytes)?;
    temp.copy_to_run(&changed, "python3")
}
