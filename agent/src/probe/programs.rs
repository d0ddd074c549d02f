//! Every program of the object, tried one by one: for `genspan doctor --programs` and for kernels
//! that are new to us. Nothing is attached, and all are gone when it returns.

use aya::Btf;
use aya::programs::{Program, ProgramError};
use aya::sys::SyscallError;

use super::again::again;
use super::kernel::{KernelOptions, LoadError};
use super::multi::{self, MultiProbes};
use super::object;
use super::sockets::SocketWay;
use super::trampolines;

/// A program, and what the kernel said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Its name in the object.
    pub name: String,
    /// What it is loaded for: `uprobe`, `tracepoint`, `watchpoint`, `trampoline`, `multi-uprobe`, `session`.
    pub kind: &'static str,
    /// Why it was refused: the system call's error, and the end of the verifier's log.
    pub refusal: Option<String>,
    /// Instructions that the verifier went through, of which it takes a million; where the kernel
    /// tells (5.16).
    pub verified: Option<u32>,
}

/// Lines of the verifier's log that are told: its verdict stands at the end.
const LOG_LINES: usize = 4;

/// Loads each program that has `part` in its name.
///
/// # Errors
///
/// When not even the maps can be made.
pub fn load_each(part: &str) -> Result<Vec<Tried>, LoadError> {
    let options = KernelOptions {
        ring_bytes: 1 << 20,
        message_bytes: 1 << 20,
        debug: false,
        perf_probes: false,
        sockets: SocketWay::Auto,
        python: true,
        functions: true,
        frameworks: true,
        stacks: true,
    };
    let mut ebpf = object::open(&options)?;
    let btf = trampolines::type_information().ok();
    let mut all = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        // Those of sessions are loaded as such only.
        if multi::is_session(name) || !name.contains(part) {
            continue;
        }
        let (kind, loaded) = load(name, program, btf.as_ref());
        let info = program.info().ok();
        all.push(Tried {
            name: name.to_owned(),
            kind,
            refusal: loaded.err().as_ref().map(refusal),
            verified: info.and_then(|info| info.verified_instruction_count()),
        });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    match MultiProbes::load_each(object::bytes(), &ebpf, part) {
        Ok(loaded) => all.extend(loaded.into_iter().map(|(name, session, said)| Tried {
            name: name.to_owned(),
            kind: if session { "session" } else { "multi-uprobe" },
            refusal: said.err().map(|e| e.to_string()),
            verified: None,
        })),
        Err(why) => all.push(Tried {
            name: "all".to_owned(),
            kind: "multi-uprobe",
            refusal: Some(why.to_string()),
            verified: None,
        }),
    }
    Ok(all)
}

/// Loads one for the kernel's function that it is of.
fn trampoline(name: &str, program: &mut Program, btf: Option<&Btf>) -> Result<(), ProgramError> {
    let (Some(function), Some(btf)) = (trampolines::function_of(name), btf) else {
        return Err(ProgramError::UnexpectedProgramType);
    };
    trampolines::load_one(program, function, btf)
}

/// Loads one, for what it is.
fn load(
    name: &str,
    program: &mut Program,
    btf: Option<&Btf>,
) -> (&'static str, Result<(), ProgramError>) {
    match program {
        Program::UProbe(p) => ("uprobe", again(|| p.load())),
        Program::RawTracePoint(p) => ("tracepoint", again(|| p.load())),
        Program::PerfEvent(p) => ("watchpoint", again(|| p.load())),
        Program::FExit(_) | Program::FEntry(_) => ("trampoline", trampoline(name, program, btf)),
        _ => ("unknown", Err(ProgramError::UnexpectedProgramType)),
    }
}

/// What is told of a refusal.
pub(super) fn refusal(error: &ProgramError) -> String {
    let (io_error, verifier_log) = match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => (io_error, verifier_log),
        ProgramError::SyscallError(SyscallError { call, io_error }) => {
            return format!("{call}: {io_error}");
        }
        other => return other.to_string(),
    };
    let log = verifier_log.to_string();
    let end = end_of(&log);
    if end.is_empty() {
        io_error.to_string()
    } else {
        format!("{io_error}: {end}")
    }
}

/// The verdict of a verifier's log: its last lines, without the count of what was processed.
fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !is_account(line))
        .collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    lines.get(from..).unwrap_or_default().join("; ")
}

/// Whether a line is one of the account at the log's end (`print_verification_stats`,
/// `kernel/bpf/verifier.c`).
fn is_account(line: &str) -> bool {
    ["verification time ", "stack depth ", "processed "]
        .iter()
        .any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::super::kernel::LoadError;
    use super::{ProgramError, SyscallError, end_of, load_each};

    #[test]
    fn every_program_loads_on_this_kernel() {
        let all = match load_each("") {
            Err(LoadError::NotPermitted | LoadError::NoBtf(_)) => {
                println!("skipped: loading eBPF programs needs root, and a kernel with BTF");
                return;
            }
            all => all.unwrap(),
        };
        // `all` stands for those that this kernel is too old for; trampolines some refuse to everyone.
        let refused =
            |t: &&super::Tried| t.refusal.is_some() && t.name != "all" && t.kind != "trampoline";
        let refused: Vec<_> = all.iter().filter(refused).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        assert!(all.len() > 40);
    }

    /// What the system said is told, and once, however an error is shown.
    #[test]
    fn a_refusal_is_told_once() {
        let said = ProgramError::SyscallError(SyscallError {
            call: "perf_event_open",
            io_error: std::io::Error::from_raw_os_error(libc::EINVAL),
        });
        let error = LoadError::Refused { program: "p", said };
        let want =
            "the kernel refused the program p: perf_event_open: Invalid argument (os error 22)";
        assert_eq!(error.to_string(), want);
        assert_eq!(crate::cli::whole(&error.into()), want);
    }

    #[test]
    fn the_verdict_of_a_log() {
        let log = "0: (bf) r6 = r1\n1: (85) call unknown#174\ninvalid func unknown#174\n\
                   verification time 41 usec\nstack depth 0\n\
                   processed 2 insns (limit 1000000) max_states_per_insn 0\n";
        let want = "0: (bf) r6 = r1; 1: (85) call unknown#174; invalid func unknown#174";
        assert_eq!(end_of(log), want);
        assert_eq!(end_of("a\nb\nc\nd\ne\n"), "b; c; d; e");
        assert_eq!(end_of(""), "");
    }
}
