//! Commands run by the tasks: environment cleaned, failures told with the end of their output.

use crate::paths;
use anyhow::{Context as _, Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How much of a failed command's output goes into the error.
const TAIL_LINES: usize = 40;

/// A command to run.
pub(crate) struct Cmd {
    command: Command,
    text: String,
    timeout: Option<Duration>,
}

impl Cmd {
    /// A command in the repository's root, free of what the outer cargo left in the environment.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program.as_ref());
        command.current_dir(paths::root());
        for (name, value) in std::env::vars_os() {
            let Some(text) = name.to_str() else { continue };
            if is_inherited(text) {
                command.env_remove(text);
            } else if text == "LD_LIBRARY_PATH" {
                match without_rust_libraries(&value) {
                    Some(rest) => command.env(text, rest),
                    None => command.env_remove(text),
                };
            }
        }
        Self {
            command,
            text: program.as_ref().to_string_lossy().into_owned(),
            timeout: None,
        }
    }

    /// Cargo, as the user's PATH has it.
    pub(crate) fn cargo() -> Self {
        Self::new("cargo").env("CARGO_TARGET_DIR", paths::cargo_target())
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.text.push(' ');
        self.text.push_str(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(self, args: I) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Kills the command after this long.
    pub(crate) fn timeout(mut self, seconds: u64) -> Self {
        self.timeout = Some(Duration::from_secs(seconds));
        self
    }

    /// Runs it with the user's terminal; fails when it does.
    pub(crate) fn run(self) -> Result<()> {
        let text = self.text.clone();
        let status = self.status()?;
        if !status.success() {
            bail!("`{text}` failed ({status})");
        }
        Ok(())
    }

    /// Runs it with the user's terminal.
    pub(crate) fn status(mut self) -> Result<ExitStatus> {
        let mut child = self.start()?;
        self.wait(&mut child)
    }

    /// Runs it with its output in a log file; a failure shows the end of it.
    pub(crate) fn logged(mut self, log: &str) -> Result<()> {
        let path = log_path(log)?;
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        self.command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("cannot share the log file")?)
            .stderr(file);
        let mut child = self.start()?;
        let status = self.wait(&mut child)?;
        if !status.success() {
            let text = fs::read_to_string(&path).unwrap_or_default();
            bail!(
                "`{}` failed ({status}); the end of {}:\n{}",
                self.text,
                paths::shown(&path),
                tail(&text)
            );
        }
        Ok(())
    }

    /// Its standard output, when it could be run and succeeded.
    pub(crate) fn read(mut self) -> Option<String> {
        let output = self
            .command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Starts it, for the caller to wait for; `configure` sets the streams.
    pub(crate) fn spawn(mut self, configure: impl FnOnce(&mut Command)) -> Result<Child> {
        configure(&mut self.command);
        self.start()
    }

    fn start(&mut self) -> Result<Child> {
        self.command
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.text))
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let Some(timeout) = self.timeout else {
            return child.wait().context("cannot wait for a command");
        };
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().context("cannot wait for a command")? {
                return Ok(status);
            }
            if start.elapsed() > timeout {
                child.kill().ok();
                child.wait().ok();
                bail!("`{}` took longer than {} s", self.text, timeout.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A program of this name on PATH or among cargo's own binaries.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(cargo_bin())
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Where `cargo install` puts programs.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .map(|home| home.join("bin"))
}

/// PATH with cargo's own binaries on it.
pub(crate) fn path_with_cargo_bin() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Some(bin) = cargo_bin()
        && !dirs.contains(&bin)
    {
        dirs.push(bin);
    }
    std::env::join_paths(dirs).unwrap_or(path)
}

/// Where the log of this name lies.
pub(crate) fn log_path(name: &str) -> Result<PathBuf> {
    let dir = paths::target().join("log");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir.join(format!("{name}.log")))
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// Variables that a cargo or rustup around us set for itself. They would pin a toolchain or flags
/// for the commands we run; settings of cargo's network and registries stay.
fn is_inherited(name: &str) -> bool {
    const EXACT: [&str; 9] = [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTUP_TOOLCHAIN",
        "CARGO_TARGET_DIR",
        "CARGO_PRIMARY_PACKAGE",
        "RUST_RECURSION_COUNT",
    ];
    const PREFIX: [&str; 8] = [
        "CARGO_ENCODED_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_CRATE_",
        "CARGO_BIN_",
        "CARGO_BUILD_",
        "CARGO_PROFILE_",
        "CARGO_CFG_",
    ];
    EXACT.contains(&name) || PREFIX.iter().any(|prefix| name.starts_with(prefix))
}

/// `cargo run` puts the toolchain's libraries in front of the system's; another compiler and the
/// traced programs must not see them.
fn without_rust_libraries(value: &OsStr) -> Option<OsString> {
    let kept: Vec<PathBuf> = std::env::split_paths(value)
        .filter(|dir| {
            let text = dir.to_string_lossy();
            !text.contains("/toolchains/")
                && !text.contains("/rustlib/")
                && !dir.starts_with(paths::cargo_target())
        })
        .collect();
    if kept.is_empty() {
        return None;
    }
    std::env::join_paths(kept).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_cargo_is_forgotten_and_its_network_settings_are_not() {
        assert!(is_inherited("RUSTUP_TOOLCHAIN"));
        assert!(is_inherited("CARGO_PKG_NAME"));
        assert!(is_inherited("CARGO_ENCODED_RUSTFLAGS"));
        assert!(!is_inherited("CARGO_HTTP_CAINFO"));
        assert!(!is_inherited("CARGO_HOME"));
        assert!(!is_inherited("CARGO_NET_GIT_FETCH_WITH_CLI"));
    }

    #[test]
    fn library_paths_of_the_toolchain_are_dropped() {
        let value = OsStr::new("/x/toolchains/stable/lib:/opt/lib");
        assert_eq!(without_rust_libraries(value), Some("/opt/lib".into()));
        assert_eq!(
            without_rust_libraries(OsStr::new("/x/toolchains/a/lib")),
            None
        );
    }

    #[test]
    fn failures_are_told() {
        let error = Cmd::new("false").run().unwrap_err().to_string();
        assert!(error.contains("`false` failed"), "{error}");
        let error = Cmd::new("sleep").arg("9").timeout(0).run().unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        assert!(Cmd::new("no-such-program-here").run().is_err());
    }

    #[test]
    fn tail_keeps_the_end() {
        let text: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert!(tail(&text).starts_with("60\n") && tail(&text).ends_with("99"));
    }
}
