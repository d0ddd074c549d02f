//! Plain sockets by BPF trampolines: programs on the return of the kernel's functions for calls on
//! sockets. They need Linux 5.15, and a kernel that takes such programs, which is found out by trying.

use aya::maps::ProgramArray;
use aya::programs::{Program, ProgramError};
use aya::{Btf, BtfError, Ebpf};

use super::again::again;
use super::kernel::LoadError;
use super::programs::refusal;
use super::sockets::chain;

/// What it means when one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing is read.
    All,
    /// A family of sockets is not seen: IPv6 may be a module, or not built.
    Family,
    /// Nothing, where the kernel has no such function.
    IfThere,
}

/// A program, and the kernel's function that it is for.
type Trampoline = (&'static str, &'static str, Need);

/// Those that a tail call copies a segment with, each with the table that it is called by.
const SEGMENTS: [(&str, Trampoline); 5] = [
    (
        "SEGMENT_RECEIVED",
        ("socket_segment_received", "inet_recvmsg", Need::All),
    ),
    (
        "SEGMENT_SENT",
        ("socket_segment_sent", "inet_sendmsg", Need::All),
    ),
    (
        "SEGMENT_SENT_UNIX",
        (
            "socket_segment_sent_unix",
            "unix_stream_sendmsg",
            Need::Family,
        ),
    ),
    (
        "SEGMENT_PAGED",
        ("socket_segment_paged", "inet_sendpage", Need::IfThere),
    ),
    (
        "SEGMENT_PAGED_UNIX",
        (
            "socket_segment_paged_unix",
            "unix_stream_sendpage",
            Need::IfThere,
        ),
    ),
];

/// Those that run when the kernel's function does.
const PROGRAMS: [Trampoline; 9] = [
    ("socket_inet_received", "inet_recvmsg", Need::All),
    ("socket_inet_sent", "inet_sendmsg", Need::All),
    ("socket_inet6_received", "inet6_recvmsg", Need::Family),
    ("socket_inet6_sent", "inet6_sendmsg", Need::Family),
    ("socket_unix_received", "unix_stream_recvmsg", Need::Family),
    ("socket_unix_sent", "unix_stream_sendmsg", Need::Family),
    ("socket_unix_closed", "unix_release", Need::Family),
    // Until Linux 6.5 `sendfile` and `splice` came by here.
    ("socket_inet_paged", "inet_sendpage", Need::IfThere),
    ("socket_unix_paged", "unix_stream_sendpage", Need::IfThere),
];

/// The kernel's function that a program is for.
pub(super) fn function_of(program: &str) -> Option<&'static str> {
    let segments = SEGMENTS.iter().map(|(_, segment)| segment);
    segments
        .chain(&PROGRAMS)
        .find_map(|(name, function, _)| (*name == program).then_some(*function))
}

/// The kernel's type information, as such programs are loaded by.
pub(super) fn type_information() -> Result<Btf, ProgramError> {
    Btf::from_sys_fs().map_err(ProgramError::Btf)
}

/// Loads and attaches them. When it fails, none is left.
///
/// Not by [`super::kernel::refused`]: some kernels refuse them to everyone, with EPERM, which is then not
/// for want of privileges.
pub(super) fn attach(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let btf = type_information().map_err(|e| LoadError::NoTrampolines(e.to_string()))?;
    let done = attach_all(ebpf, &btf);
    if done.is_err() {
        remove_all(ebpf);
    }
    done
}

fn attach_all(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), LoadError> {
    for (table, (name, function, need)) in SEGMENTS {
        match load(ebpf, name, function, btf)? {
            Ok(()) => chain(ebpf, table, name)?,
            Err(error) => done_without(name, function, need, &error)?,
        }
    }
    for (name, function, need) in PROGRAMS {
        let attached = match load(ebpf, name, function, btf)? {
            Ok(()) => run(ebpf, name),
            Err(error) => Err(error),
        };
        if let Err(error) = attached {
            done_without(name, function, need, &error)?;
        }
    }
    Ok(())
}

/// Whether it goes on without one.
fn done_without(
    name: &'static str,
    function: &str,
    need: Need,
    error: &ProgramError,
) -> Result<(), LoadError> {
    let is_there = !matches!(
        error,
        ProgramError::Btf(BtfError::UnknownBtfTypeName { .. })
    );
    match need {
        Need::All => {
            return Err(LoadError::NoTrampolines(format!(
                "{name}: {}",
                refusal(error)
            )));
        }
        Need::IfThere if !is_there => {}
        Need::Family | Need::IfThere => tracing::warn!(
            "sockets are not seen where `{function}` serves them: {}",
            refusal(error)
        ),
    }
    Ok(())
}

/// Takes back what was loaded; of what was not, there is nothing to take.
fn remove_all(ebpf: &mut Ebpf) {
    for (table, _) in SEGMENTS {
        let table = ebpf
            .map_mut(table)
            .and_then(|m| ProgramArray::try_from(m).ok());
        let _ = table.map(|mut table| table.clear_index(&0));
    }
    let segments = SEGMENTS.iter().map(|(_, segment)| segment);
    for (name, ..) in segments.chain(&PROGRAMS) {
        let _ = match ebpf.program_mut(name) {
            Some(Program::FExit(program)) => program.unload(),
            Some(Program::FEntry(program)) => program.unload(),
            _ => Ok(()),
        };
    }
}

/// Loads one: what the kernel said, if the object has it.
fn load(
    ebpf: &mut Ebpf,
    name: &'static str,
    function: &str,
    btf: &Btf,
) -> Result<Result<(), ProgramError>, LoadError> {
    let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
    Ok(load_one(program, function, btf))
}

/// Loads one for this function.
pub(super) fn load_one(
    program: &mut Program,
    function: &str,
    btf: &Btf,
) -> Result<(), ProgramError> {
    match program {
        Program::FExit(program) => again(|| program.load(function, btf)),
        Program::FEntry(program) => again(|| program.load(function, btf)),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn run(ebpf: &mut Ebpf, name: &str) -> Result<(), ProgramError> {
    match ebpf.program_mut(name) {
        Some(Program::FExit(program)) => again(|| program.attach()).map(drop),
        Some(Program::FEntry(program)) => again(|| program.attach()).map(drop),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

#[cfg(test)]
mod tests {
    use super::{Need, PROGRAMS, SEGMENTS, done_without, function_of};
    use crate::probe::object;
    use aya::BtfError;
    use aya::programs::ProgramError;

    #[test]
    fn functions_of_programs() {
        assert_eq!(function_of("socket_unix_closed"), Some("unix_release"));
        assert_eq!(function_of("socket_segment_sent"), Some("inet_sendmsg"));
        assert_eq!(function_of("socket_sent"), None);
    }

    #[test]
    fn the_object_has_each_for_its_function() {
        let object = aya_obj::Object::parse(object::bytes()).unwrap();
        let segments = SEGMENTS.iter().map(|(_, segment)| segment);
        for (name, ..) in segments.chain(&PROGRAMS) {
            assert!(object.programs.contains_key(*name), "{name}");
        }
    }

    #[test]
    fn what_a_kernel_does_not_have_is_no_error_unless_all_hangs_on_it() {
        let unknown = || {
            ProgramError::Btf(BtfError::UnknownBtfTypeName {
                type_name: "inet_sendpage".to_owned(),
            })
        };
        for (need, fine) in [
            (Need::All, false),
            (Need::Family, true),
            (Need::IfThere, true),
        ] {
            let told = done_without("p", "f", need, &unknown());
            assert_eq!(told.is_ok(), fine, "{need:?}");
        }
        let told = done_without("p", "f", Need::All, &unknown())
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("--sockets tracepoints") && told.contains("p: "),
            "{told}"
        );
    }
}
