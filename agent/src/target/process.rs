//! Looking at one process through `/proc`.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use procfs::ProcError;
use procfs::process::Process;
use thiserror::Error;

use super::embedding::{self, Embedding};
use super::environment::Environment;
use super::maps::Maps;
use super::{classify, command, container, system};
use crate::model::process::{AppType, ContentPolicy, ProcessFacts, Share};

/// Why a process cannot be looked at.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// No such process.
    #[error("there is no process {0}; `pgrep -af python` lists those that run")]
    NotFound(u32),
    /// It ended while we looked.
    #[error("process {0} ended while it was looked at")]
    Gone(u32),
    /// It has no program: a kernel thread.
    #[error("process {0} runs no program: it is a kernel thread")]
    NoProgram(u32),
    /// Not Python.
    #[error(
        "process {pid} is not Python (it runs {executable}): give the PID of the interpreter, or --others \
         to read what this program itself asks over OpenSSL"
    )]
    NotPython {
        /// Process.
        pid: u32,
        /// What it runs.
        executable: String,
    },
    /// Not allowed.
    #[error(
        "not allowed to look into process {0}: run genspan as root (sudo), or give it \
         CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
    )]
    NotPermitted(u32),
    /// Anything else.
    #[error("cannot look into process {pid}: {source}")]
    Other {
        /// Process.
        pid: u32,
        /// What went wrong.
        #[source]
        source: ProcError,
    },
}

/// A file of which a process has code mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// Its path as the process sees it.
    pub path: PathBuf,
    /// A path by which we reach it, whatever the process's root is.
    pub reach: PathBuf,
    /// Device and inode: the same file whatever its name.
    pub id: (i32, i32, u64),
}

impl MappedFile {
    /// Last part of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        name_of(&self.path)
    }
}

/// Last part of a path.
fn name_of(path: &Path) -> &str {
    let name = path.file_name().and_then(OsStr::to_str);
    name.unwrap_or_default()
}

/// A process that was looked at.
#[derive(Clone, Debug)]
pub struct Target {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// What goes into resources and settings.
    pub facts: ProcessFacts,
    /// Variables of its environment that could not be used.
    pub rejected: Vec<(&'static str, &'static str)>,
    /// Its executable, as it sees it.
    pub executable: PathBuf,
    /// Whether it is a Python interpreter.
    pub python: bool,
    /// Where its environment has the dynamic linker look first (`LD_LIBRARY_PATH`).
    pub library_path: Vec<PathBuf>,
}

impl Target {
    /// What a child is that was just forked, where nobody could look at it.
    #[must_use]
    pub fn forked(&self, pid: u32) -> Self {
        let mut child = self.clone();
        child.pid = pid;
        child.facts.pid = pid;
        // That of no process: it is not taken for one that has its number later.
        child.facts.start_ticks = 0;
        child
    }
}

pub(super) fn wrap(pid: u32) -> impl Fn(ProcError) -> ProcessError {
    move |source| match source {
        ProcError::PermissionDenied(_) => ProcessError::NotPermitted(pid),
        // An ending process loses its files and its memory before its entry in /proc.
        ProcError::NotFound(_) | ProcError::Incomplete(_) => ProcessError::Gone(pid),
        ProcError::Io(ref e, _) if e.raw_os_error() == Some(libc::ESRCH) => ProcessError::Gone(pid),
        source => ProcessError::Other { pid, source },
    }
}

fn open(pid: u32) -> Result<Process, ProcessError> {
    let number = i32::try_from(pid).map_err(|_| ProcessError::NotFound(pid))?;
    Process::new(number).map_err(|e| match e {
        ProcError::NotFound(_) => ProcessError::NotFound(pid),
        e => wrap(pid)(e),
    })
}

/// The thread group that this thread or process id belongs to.
///
/// # Errors
///
/// When there is no such process.
pub fn group_of(pid: u32) -> Result<u32, ProcessError> {
    let status = open(pid)?.status().map_err(wrap(pid))?;
    u32::try_from(status.tgid).map_err(|_| ProcessError::NotFound(pid))
}

/// Whether a process whose main thread ended still has others that run.
#[must_use]
pub fn other_threads(pid: u32) -> bool {
    let Ok(process) = open(pid) else { return false };
    // At the moment of the event the main thread is still there, on its way out; a dead process
    // shows no other task, or all of them ending.
    process.tasks().is_ok_and(|tasks| {
        tasks
            .flatten()
            .any(|t| t.tid as u32 != pid && t.stat().is_ok_and(|s| !matches!(s.state, 'Z' | 'X')))
    })
}

/// The threads of a process; none when it is gone.
#[must_use]
pub fn threads(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let names = tasks.into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// `PF_EXITING`, `PF_KTHREAD` (`include/linux/sched.h`): flags of a task in `/proc/PID/stat`.
const EXITING: u32 = 0x0000_0004;
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Whether the process runs. One that is on its way out does not: its memory and its root are
/// given back before it is called a zombie.
#[must_use]
pub fn runs(pid: u32) -> bool {
    let stat = open(pid).and_then(|p| p.stat().map_err(wrap(pid)));
    stat.is_ok_and(|s| !matches!(s.state, 'Z' | 'X') && s.flags & EXITING == 0)
}

/// Whether this is the process that started then, not another with its number, and it runs.
#[must_use]
pub fn is_same(pid: u32, start_ticks: u64) -> bool {
    let stat = open(pid).and_then(|p| p.stat().map_err(wrap(pid)));
    stat.is_ok_and(|s| {
        s.starttime == start_ticks && (!matches!(s.state, 'Z' | 'X') || other_threads(pid))
    })
}

/// The process that started this one, or that adopted it.
#[must_use]
pub fn parent(pid: u32) -> Option<u32> {
    let stat = open(pid).and_then(|p| p.stat().map_err(wrap(pid)));
    u32::try_from(stat.ok()?.ppid)
        .ok()
        .filter(|parent| *parent > 0)
}

/// The command line of a process, or what it calls itself instead; empty when there is none to be had.
#[must_use]
pub fn command(pid: u32) -> Vec<String> {
    let found = open(pid).and_then(|p| p.cmdline().map_err(wrap(pid)));
    found.unwrap_or_default()
}

/// The children of a process, as far as the kernel tells (`/proc/PID/task/TID/children`).
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let tasks = open(pid).and_then(|p| p.tasks().map_err(wrap(pid)));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks
        .flat_map(|task| task.children().unwrap_or_default())
        .collect()
}

/// Looks at a process. The environment is that of the process itself, read anew; unless `trusts`, what it says of
/// how the process is to be traced counts for nothing, and the `defaults` hold.
///
/// # Errors
///
/// When it is not there, not ours to look at, or runs no program.
pub fn look(pid: u32, defaults: &ContentPolicy, trusts: bool) -> Result<Target, ProcessError> {
    let process = open(pid)?;
    let executable = process.exe().map_err(|e| match e {
        // One that ends has none any more, either.
        ProcError::NotFound(_) => match process.stat() {
            Ok(stat) if stat.flags & KERNEL_THREAD != 0 => ProcessError::NoProgram(pid),
            _ => ProcessError::Gone(pid),
        },
        e => wrap(pid)(e),
    })?;
    let start_ticks = process.stat().map_err(wrap(pid))?.starttime;
    let arguments = process.cmdline().map_err(wrap(pid))?;
    let variables = process.environ().map_err(wrap(pid))?;
    let get = |name: &str| {
        variables
            .get(OsStr::new(name))
            .map(|v| v.to_string_lossy().into_owned())
    };
    let environment = Environment::read(|name| get(name).filter(|_| trusts), defaults);
    let maps = Maps::read(pid).ok();
    let executable = match &maps {
        Some(maps) => maps.seen(&executable),
        None => executable,
    };
    let code = maps.as_ref().map(Maps::paths).unwrap_or_default();
    let version = python_version(&executable, &code).or_else(|| holds_python(pid));
    let facts = ProcessFacts {
        pid,
        start_ticks,
        service_name: environment
            .service_name
            .unwrap_or_else(|| command::service_name_in(&arguments, get("PEX").as_deref())),
        executable: executable.to_string_lossy().into_owned(),
        runtime_name: version.is_some().then(|| "cpython".to_owned()),
        runtime_version: version.clone().flatten(),
        app_type: environment.app_type,
        network: network_of(&process).unwrap_or_default(),
        model_server: serves_models(&arguments),
        command: command::without_secrets(&arguments),
        host_name: host_name(),
        detected: system::attributes()
            .into_iter()
            .chain(container::of_process(pid).attributes())
            .collect(),
        resource: environment.resource,
        split_applications: environment.split_applications.unwrap_or_else(splits),
        content: environment.content,
        share: Share::ALL,
    };
    Ok(Target {
        pid,
        facts,
        rejected: environment.rejected,
        executable,
        python: version.is_some(),
        library_path: get("LD_LIBRARY_PATH")
            .map(|p| std::env::split_paths(&p).collect())
            .unwrap_or_default(),
    })
}

/// What holds for processes that do not say themselves whether their applications are services: what genspan's own
/// environment says.
fn splits() -> bool {
    let get = |name: &str| std::env::var(name).ok();
    let own = Environment::read(get, &ContentPolicy::default());
    own.split_applications.unwrap_or_default()
}

/// The model server that a command line starts: that is who answers what it serves. A gateway hands
/// on what others answer.
fn serves_models(command: &[String]) -> Option<String> {
    let found = classify::server::of(command, "")?;
    (found.server.makes() == AppType::Model).then(|| found.server.name().to_owned())
}

/// The name of the part of a model server that a process is, by its title, where it is none that is traced.
#[must_use]
pub fn inner_part(pid: u32) -> Option<&'static str> {
    let process = open(pid).ok()?;
    let command = process.cmdline().ok()?;
    let name = process.stat().ok()?.comm;
    let found = classify::server::of(&command, &name)?;
    (!found.server.has_traced(found.part)).then(|| found.part.name())
}

/// The network namespace of a process.
fn network_of(process: &Process) -> Option<u64> {
    let all = process.namespaces().ok()?;
    all.0.get(OsStr::new("net")).map(|n| n.identifier)
}

/// Whether a process has something mapped from a file whose path has this in it.
#[must_use]
pub fn maps_name(pid: u32, part: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains(part))
}

/// The files of which the process has code mapped, each once.
///
/// # Errors
///
/// When the process is gone or not ours to look at.
pub fn mapped_code(pid: u32) -> Result<Vec<MappedFile>, ProcessError> {
    Ok(Maps::read(pid)?.files())
}

/// Device and inode of the file that a process has mapped at this address, and the offset in it.
#[must_use]
pub fn file_at(pid: u32, address: u64) -> Option<((i32, i32, u64), u64)> {
    let maps = Maps::read(pid).ok()?;
    let map = maps.all().find(|m| (m.start..m.end).contains(&address))?;
    let into = address.checked_sub(map.start)?;
    Some((map.id, map.offset.checked_add(into)?))
}

/// Names of the TLS libraries that Python's `_ssl` is linked to.
const TLS_LIBRARIES: [&str; 2] = ["libssl.so.3", "libssl.so.1.1"];

/// Where dynamic linkers look when nothing says otherwise.
const LIBRARY_FOLDERS: [&str; 7] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/local/lib64",
    "/usr/local/lib",
    "/usr/lib",
    "/lib",
];

/// The TLS libraries that a process has not loaded but most likely will: those that its dynamic
/// linker would find. Probed ahead, their first call cannot come too early; a wrong guess costs
/// nothing, as it is never mapped.
#[must_use]
pub fn foreseen_tls(target: &Target) -> Vec<MappedFile> {
    let beside = target
        .executable
        .parent()
        .and_then(Path::parent)
        .map(|p| p.join("lib"));
    let folders = target.library_path.iter().cloned().chain(beside);
    let folders: Vec<_> = folders.chain(LIBRARY_FOLDERS.map(PathBuf::from)).collect();
    let root = PathBuf::from(format!("/proc/{}/root", target.pid));
    TLS_LIBRARIES
        .iter()
        .filter_map(|name| {
            folders.iter().find_map(|folder| {
                let path = folder.join(name);
                let reach = root.join(path.strip_prefix("/").ok()?);
                let found = std::fs::metadata(&reach).ok()?;
                let (major, minor) = (libc::major(found.dev()), libc::minor(found.dev()));
                let device = (i32::try_from(major).ok()?, i32::try_from(minor).ok()?);
                let id = (device.0, device.1, found.ino());
                Some(MappedFile { path, reach, id })
            })
        })
        .collect()
}

/// `Some` when this is a Python: with its version `3.N` when a name tells it, its own or that of a file
/// of which it has code mapped.
#[must_use]
pub fn python_version(executable: &Path, code: &[&Path]) -> Option<Option<String>> {
    let name = name_of(executable);
    let by_name = name.strip_prefix("python").is_some_and(|v| {
        v.chars()
            .all(|c| c.is_ascii_digit() || c == '.' || c == 't')
    });
    let library = code
        .iter()
        .find_map(|path| minor_version(name_of(path).strip_prefix("libpython")?));
    // Of its own extensions only: what is no Python may come in a package, too (Ray's daemons, Node).
    let extends = |path: &Path| {
        let name = name_of(path);
        let tagged = name.contains(".cpython-") || name.contains(".abi3.");
        tagged || path.iter().any(|part| part == "lib-dynload")
    };
    let folder = || {
        let extensions = code.iter().filter(|path| extends(path));
        extensions
            .flat_map(|path| path.iter())
            .find_map(|part| minor_version(part.to_str()?.strip_prefix("python")?))
    };
    let version = library
        .or_else(|| minor_version(name.strip_prefix("python")?))
        .or_else(folder);
    (by_name || version.is_some()).then_some(version)
}

/// The same by the executable itself, where no name tells: whether it is one, and no version.
#[must_use]
pub(super) fn holds_python(pid: u32) -> Option<Option<String>> {
    (embedding::of_process(pid) == Some(Embedding::Holds)).then_some(None)
}

/// `3.11` of `3.11`, `3.11.so.1.0` and the like.
fn minor_version(text: &str) -> Option<String> {
    let (major, rest) = text.split_once('.')?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    (matches!(major, "2" | "3") && digits > 0).then(|| format!("{major}.{}", &rest[..digits]))
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}

/// Refuses what is not Python.
///
/// # Errors
///
/// [`ProcessError::NotPython`].
pub fn require_python(target: Target) -> Result<Target, ProcessError> {
    if target.python {
        Ok(target)
    } else {
        let executable = target.executable.to_string_lossy().into_owned();
        Err(ProcessError::NotPython {
            pid: target.pid,
            executable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{look, python_version};
    use crate::model::process::{AppType, ContentPolicy};
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn what_a_process_says_counts_where_it_is_trusted() {
        let mut child = Command::new("sleep")
            .arg("60")
            .env("OTEL_SERVICE_NAME", "shop")
            .env("OTEL_RESOURCE_ATTRIBUTES", "team=a")
            .env("APSARA_APM_APP_TYPE", "app")
            .env("PROFILER_GENAI_SPLITAPP_ENABLE", "what")
            .env(
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
                "SPAN_AND_EVENT",
            )
            .env("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "7")
            .env("LD_LIBRARY_PATH", "/opt/lib")
            .spawn()
            .unwrap();
        let defaults = ContentPolicy {
            on_spans: false,
            ..ContentPolicy::default()
        };
        // It runs its own program by now, and may have no command line yet.
        let line = format!("/proc/{}/cmdline", child.id());
        let begun = Instant::now();
        while std::fs::read(&line).unwrap().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
        let looks = [true, false].map(|trusts| look(child.id(), &defaults, trusts));
        child.kill().unwrap();
        child.wait().unwrap();
        let [trusted, other] = looks.map(Result::unwrap);
        assert_eq!(trusted.facts.service_name, "shop");
        assert_eq!(
            trusted.facts.resource,
            [("team".to_owned(), "a".to_owned())]
        );
        assert_eq!(trusted.facts.app_type, Some(AppType::App));
        assert!(trusted.facts.content.on_spans && trusted.facts.content.on_events);
        assert_eq!(
            (
                trusted.facts.content.max_attribute_chars,
                trusted.rejected.len()
            ),
            (Some(7), 1)
        );
        assert_eq!(other.facts.service_name, "sleep");
        assert!(other.facts.resource.is_empty() && other.rejected.is_empty());
        assert_eq!(
            (other.facts.app_type, &other.facts.content),
            (None, &defaults)
        );
        // That is what the program itself goes by.
        assert_eq!(other.library_path, trusted.library_path);
        assert_eq!(other.library_path.len(), 1);
    }

    #[test]
    fn pythons_are_told_by_name_library_or_folder() {
        for (exe, files, wanted) in [
            ("/usr/bin/python3.11", vec![], Some(Some("3.11"))),
            ("/usr/bin/python3", vec![], Some(None)),
            ("/usr/bin/bash", vec![], None),
            (
                "/opt/app/bundle",
                vec!["/opt/app/libpython3.9.so.1.0"],
                Some(Some("3.9")),
            ),
            (
                "/v/bin/python",
                vec!["/p/lib/python3.13/lib-dynload/_ssl.so"],
                Some(Some("3.13")),
            ),
            ("/usr/bin/pythonista", vec![], None),
            (
                "/opt/shop",
                vec!["/v/lib/python3.12/site-packages/jiter/jiter.cpython-312-x86_64-linux-gnu.so"],
                Some(Some("3.12")),
            ),
            (
                "/v/lib/python3.12/site-packages/ray/core/src/ray/raylet/raylet",
                vec![
                    "/v/lib/python3.12/site-packages/ray/core/src/ray/raylet/raylet",
                    "/v/lib/python3.12/site-packages/ray/core/libjemalloc.so",
                ],
                None,
            ),
        ] {
            let files: Vec<_> = files.into_iter().map(Path::new).collect();
            let got = python_version(Path::new(exe), &files);
            assert_eq!(got, wanted.map(|v| v.map(str::to_owned)), "{exe}");
        }
    }
}
