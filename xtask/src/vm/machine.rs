//! A virtual machine: started, watched, and ended when it takes too long.

use crate::cmd::Cmd;
use crate::{host, paths};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The program, and Debian's package that has it.
const QEMU: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// The kernel's command line: its console is the serial line, of its own messages only what is
/// critical, and a crash ends the machine.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=3 panic=-1 rdinit=/init";

/// The machine's clock goes by its instructions, a nanosecond each, and does not wait when there are none: so
/// it is the same machine on a busy host.
const CLOCK: [&str; 2] = ["-icount", "shift=0,sleep=off"];

/// One: of several, emulated side by side, one can go on with what another changed meanwhile
/// (`text_poke_bp` of the kernel, which then dies), and in turns they do not start on all kernels.
const PROCESSORS: &str = "1";

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself.
    Itself,
    /// By us, after this many seconds.
    TooLong(u64),
}

/// What a machine left.
pub(super) struct Run {
    /// Where its console is written down.
    pub(super) console: PathBuf,
    /// How it ended.
    pub(super) end: End,
    /// Seconds that it took.
    pub(super) seconds: u64,
}

/// Sees to it that there is QEMU.
pub(super) fn ensure() -> Result<()> {
    if crate::cmd::find(QEMU).is_some() {
        return Ok(());
    }
    if !host::can_apt() {
        bail!("no {QEMU}: install Debian's package {PACKAGE} (or run this as root)");
    }
    crate::progress::step("installing QEMU", || host::apt_install(&[PACKAGE]))
}

/// Runs one to its end, or for at most so many seconds, with more words on the kernel's command line.
pub(super) fn run(
    name: &str,
    kernel: &Path,
    image: &Path,
    words: &str,
    seconds: u64,
) -> Result<Run> {
    let console = super::dir().join(format!("{name}.console"));
    let log = fs::File::create(&console).with_context(|| paths::shown(&console))?;
    // Whichever way this program ends, the machine ends with it. And emulated: acceleration is not to be
    // had everywhere, and where it is it may hang.
    let mut child = Cmd::new("setpriv")
        .args(["--pdeathsig", "KILL", QEMU])
        .args(["-accel", "tcg", "-cpu", "max", "-m", "1024"])
        .args(CLOCK)
        .args(["-smp", PROCESSORS])
        .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
        .args([
            "-net",
            "none",
            "-no-reboot",
            "-no-user-config",
            "-nodefaults",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .arg("-append")
        .arg(format!("{COMMAND_LINE} {words}"))
        .spawn(|c| {
            c.stdin(Stdio::null()).stdout(log).stderr(Stdio::inherit());
        })?;
    let start = Instant::now();
    let end = loop {
        if child.try_wait().context("cannot wait for QEMU")?.is_some() {
            break End::Itself;
        }
        if start.elapsed() > Duration::from_secs(seconds) {
            child.kill().ok();
            child.wait().ok();
            break End::TooLong(seconds);
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    Ok(Run {
        console,
        end,
        seconds: start.elapsed().as_secs(),
    })
}
