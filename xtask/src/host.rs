//! What this machine lets us do: who we are, and whether packages can be installed.

use crate::cmd::{self, Cmd};
use anyhow::{Result, bail};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tries of a package manager: mirrors and its lock fail now and then.
const TRIES: u32 = 3;

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|ids| ids.split_whitespace().nth(1))
            == Some("0")
    })
}

/// Whether packages can be installed here with apt-get.
pub(crate) fn can_apt() -> bool {
    is_root() && has_apt()
}

/// Whether this is Debian or of its kin.
pub(crate) fn has_apt() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    is_debian_like(&release) && cmd::find("apt-get").is_some()
}

fn is_debian_like(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
        .flat_map(|ids| ids.trim_matches(['"', '\'']).split(' '))
        .any(|id| id == "debian" || id == "ubuntu")
}

/// The code name of this system's release, `bookworm` for example.
pub(crate) fn codename() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let line = release.lines();
    let name = line
        .filter_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .next()?;
    Some(name.trim_matches(['"', '\'']).to_owned())
}

/// Refreshes the package lists, once.
pub(crate) fn apt_update() -> Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.load(Ordering::Relaxed) {
        retried(|| apt().args(["update"]).timeout(300).logged("apt-update"))?;
        DONE.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Installs packages.
pub(crate) fn apt_install(packages: &[&str]) -> Result<()> {
    apt_update()?;
    retried(|| {
        apt()
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages)
            .timeout(900)
            .logged("apt-install")
    })
}

/// Whether a package can be had from the lists as they are.
pub(crate) fn apt_has(package: &str) -> bool {
    Cmd::new("apt-cache")
        .env("LC_ALL", "C")
        .args(["policy", package])
        .read()
        .is_some_and(|text| text.contains("Candidate:") && !text.contains("Candidate: (none)"))
}

fn apt() -> Cmd {
    Cmd::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args([
            "-q",
            "-o",
            "DPkg::Lock::Timeout=120",
            "-o",
            "Acquire::Retries=3",
        ])
}

/// Tries something a few times.
pub(crate) fn retried(mut work: impl FnMut() -> Result<()>) -> Result<()> {
    let mut last = None;
    for attempt in 0..TRIES {
        if attempt > 0 {
            std::thread::sleep(std::time::Duration::from_secs(2 * u64::from(attempt)));
        }
        match work() {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error.context(format!("tried {TRIES} times"))),
        None => bail!("nothing was tried"),
    }
}

/// A command that runs `program` with the rights that tracing needs.
pub(crate) fn privileged(
    program: &std::path::Path,
    env: &[(&str, &std::ffi::OsStr)],
) -> Result<Cmd> {
    if is_root() {
        let command = Cmd::new(program);
        return Ok(env
            .iter()
            .fold(command, |c, (name, value)| c.env(name, value)));
    }
    if cmd::find("sudo").is_none() {
        bail!(
            "tracing needs root (or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE), and there is no sudo \
             here: run this again as root"
        );
    }
    // Variables are given to `env`, since sudo drops those it inherits.
    let command = Cmd::new("sudo").arg("env");
    let command = env.iter().fold(command, |c, (name, value)| {
        let mut pair = std::ffi::OsString::from(name);
        pair.push("=");
        pair.push(value);
        c.arg(pair)
    });
    Ok(command.arg(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_kin_are_told() {
        assert!(is_debian_like("NAME=x\nID=debian\n"));
        assert!(is_debian_like("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(is_debian_like("ID=ubuntu\nID_LIKE=debian\n"));
        assert!(!is_debian_like("ID=fedora\nID_LIKE=\"rhel\"\n"));
        assert!(!is_debian_like(""));
    }

    #[test]
    fn retries_end() {
        let mut calls = 0;
        let result = retried(|| {
            calls += 1;
            if calls < 2 {
                bail!("not yet")
            }
            Ok(())
        });
        assert!(result.is_ok() && calls == 2);
    }
}
