//! Reading files as a process sees them, below its own root, without waiting for what may never
//! answer: a network that is gone, a pipe without a writer.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

/// File systems whose files may be on another machine, or made by a program, and so may take for
/// ever: they are not looked into.
const FAR: [&str; 18] = [
    "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "fuse", "fuseblk", "gfs2", "gpfs",
    "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs",
];
/// Of those made by programs, the one that rootless containers have as their root.
const NEAR: [&str; 1] = ["fuse.fuse-overlayfs"];

/// Most bytes of a small file that are read.
const MAX_SMALL: u64 = 64 << 10;
/// Most names of a folder that are read.
const MAX_NAMES: usize = 8192;
/// Most bytes of what a process has mapped that are read to find its program, which comes first.
const MAX_FIRST: u64 = 4096;
/// Most mounts that are looked at.
const MAX_MOUNTS: usize = 4096;

/// The files of a process.
#[derive(Debug)]
pub struct Rooted {
    root: OwnedFd,
    mounts: Mounts,
}

impl Rooted {
    /// Those of this process.
    ///
    /// # Errors
    ///
    /// When it is gone or not ours to look at.
    pub fn open(pid: u32) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let path = format!("/proc/{pid}/root");
        let root = nix::fcntl::open(path.as_str(), flags, Mode::empty())?;
        let mounts = Mounts::parse(&std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))?);
        Ok(Self { root, mounts })
    }

    /// Opens a file or folder, where it is one and near.
    fn near(&self, path: &Path) -> io::Result<File> {
        if let Some(kind) = self.mounts.far(path) {
            let what = format!("{} is on a file system of type {kind}", path.display());
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        // What links lead to from here stays below the process's root, as for the process.
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let found = File::from(openat2(&self.root, path, how)?);
        let kind = found.metadata()?.file_type();
        if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(found)
    }

    /// A file or folder, opened for reading.
    ///
    /// # Errors
    ///
    /// As [`Self::text`].
    pub fn file(&self, path: &Path) -> io::Result<File> {
        let found = self.near(path)?;
        File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))
    }

    /// The text of a small file.
    ///
    /// # Errors
    ///
    /// When there is none, or it is not to be looked into.
    pub fn text(&self, path: &Path) -> io::Result<String> {
        let file = self.file(path)?;
        let mut bytes = Vec::new();
        file.take(MAX_SMALL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a folder, and whether they are all.
    ///
    /// # Errors
    ///
    /// As [`Self::text`].
    pub fn names(&self, folder: &Path) -> io::Result<(Vec<String>, bool)> {
        let found = self.near(folder)?;
        let mut names = Vec::new();
        let mut all = true;
        for entry in std::fs::read_dir(format!("/proc/self/fd/{}", found.as_raw_fd()))? {
            if names.len() >= MAX_NAMES {
                all = false;
                break;
            }
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok((names, all))
    }

    /// Identity of what is in a folder or file: device, inode, time of change.
    ///
    /// # Errors
    ///
    /// As [`Self::text`].
    pub fn stamp(&self, folder: &Path) -> io::Result<(u64, u64, i64, i64)> {
        use std::os::unix::fs::MetadataExt as _;
        let found = self.near(folder)?.metadata()?;
        Ok((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
    }

    /// Whether there is a file.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.near(path)
            .is_ok_and(|f| f.metadata().is_ok_and(|m| m.is_file()))
    }
}

/// Whether the program of a process is on a file system that is not to be looked into; nothing that could wait for
/// that is done to find out. A process of which that is not told has none that could be looked at.
#[must_use]
pub fn is_program_far(pid: u32) -> bool {
    let link = std::fs::read_link(format!("/proc/{pid}/exe"));
    let maps = File::open(format!("/proc/{pid}/maps")).and_then(|file| {
        let mut text = Vec::new();
        file.take(MAX_FIRST).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    });
    let (Ok(program), Ok(maps)) = (link, maps) else {
        return true;
    };
    is_far(&program, &maps, || {
        std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()
    })
}

/// The same, by where the program is, what is mapped first, and the mounts, which are long to read: where a disk is
/// below a file system, nobody asks for them.
fn is_far(program: &Path, maps: &str, mounts: impl FnOnce() -> Option<String>) -> bool {
    // The program itself is what is mapped first, if nobody changed that. `proc_pid_maps(5)`: device is the fourth.
    let is_its = |line: &&str| {
        let path = line.find('/').and_then(|at| line.get(at..));
        path.is_some_and(|path| Path::new(path) == program)
    };
    let line = maps.lines().find(is_its);
    let device = line.and_then(|line| line.split_ascii_whitespace().nth(3));
    if device.is_some_and(|device| !device.starts_with("00:")) {
        return false;
    }
    mounts().is_none_or(|mounts| Mounts::parse(&mounts).far(program).is_some())
}

/// Where which file systems are, as the process sees them.
#[derive(Debug, Default)]
struct Mounts(Vec<(PathBuf, String)>);

impl Mounts {
    /// Reads `/proc/PID/mountinfo` (`proc_pid_mountinfo(5)`).
    fn parse(text: &str) -> Self {
        let mounts = text.lines().take(MAX_MOUNTS).filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let place = before.split(' ').nth(4)?;
            let kind = after.split(' ').next()?;
            Some((PathBuf::from(unescaped(place)), kind.to_owned()))
        });
        Self(mounts.collect())
    }

    /// The type of the file system of a path, when it is one that is not to be looked into. The
    /// process's own root is: its interpreter came from there.
    fn far(&self, path: &Path) -> Option<&str> {
        // Later ones lie over earlier ones.
        let over = self.0.iter().filter(|(place, _)| path.starts_with(place));
        let (place, kind) = over.max_by_key(|(place, _)| place.components().count())?;
        let program = kind.starts_with("fuse.") && !NEAR.contains(&kind.as_str());
        let far = FAR.contains(&kind.as_str()) || program;
        (far && place != Path::new("/")).then_some(kind.as_str())
    }
}

/// `\040` stands for a space, and so on.
fn unescaped(text: &str) -> String {
    let mut out = text.to_owned();
    for (code, is) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        out = out.replace(code, is);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Mounts, Rooted, is_far, is_program_far};
    use std::path::Path;

    #[test]
    fn far_file_systems_are_known() {
        let mounts = Mounts::parse(
            "20 1 0:1 / / rw - ext4 /dev/a rw\n\
             21 20 0:2 / /home rw,x shared:1 - nfs4 server:/h rw\n\
             22 21 0:3 / /home/near rw - tmpfs none rw\n\
             23 20 0:4 / /mnt/a\\040b rw - fuse.sshfs x rw\n\
             24 20 0:5 / /over rw - fuse.fuse-overlayfs x rw\n\
             nonsense",
        );
        for (path, want) in [
            ("/usr/lib", None),
            ("/home/me/.venv", Some("nfs4")),
            ("/homes/me", None),
            ("/home/near/x", None),
            ("/mnt/a b/c", Some("fuse.sshfs")),
            ("/over/x", None),
        ] {
            assert_eq!(mounts.far(Path::new(path)), want, "{path}");
        }
        let root = Mounts::parse("20 1 0:1 / / rw - 9p x rw");
        assert_eq!(root.far(Path::new("/usr")), None);
    }

    #[test]
    fn programs_that_may_never_answer_are_known_without_asking_them() {
        let mounts = "20 1 0:1 / / rw - overlay o rw\n\
                      21 20 0:2 / /home rw,x shared:1 - nfs4 server:/h rw\n\
                      22 20 0:3 / /tmp/.mount_a rw - fuse.app x rw\n";
        let line = |device: &str, path: &str| {
            format!("55d0c0000000-55d0c0001000 r--p 00000000 {device} 12   {path}\n")
        };
        for (device, path, want) in [
            ("fe:01", "/usr/bin/tool", false),
            ("00:01", "/usr/bin/tool", false),
            ("00:02", "/home/me/tool", true),
            ("00:03", "/tmp/.mount_a/tool", true),
            ("00:01", "/tmp/tool (deleted)", false),
        ] {
            let asked = std::cell::Cell::new(false);
            let told = is_far(Path::new(path), &line(device, path), || {
                asked.set(true);
                Some(mounts.to_owned())
            });
            // A node has thousands of mounts, and few programs that need a look at them.
            assert_eq!((told, asked.get()), (want, device != "fe:01"), "{path}");
        }
        let other = line("fe:01", "/usr/lib/ld.so");
        let far = || Some(mounts.to_owned());
        assert!(is_far(Path::new("/home/me/tool"), &other, far));
        assert!(is_far(Path::new("/home/me/tool"), "", far));
        assert!(is_far(Path::new("/usr/bin/tool"), "", || None));
        assert!(!is_program_far(std::process::id()));
        assert!(is_program_far(u32::MAX));
    }

    #[test]
    fn files_of_our_own_are_read_and_devices_are_not() {
        let own = Rooted::open(std::process::id()).unwrap();
        assert!(
            own.text(Path::new("/etc/passwd"))
                .unwrap()
                .contains("root:")
        );
        let (names, all) = own.names(Path::new("/etc")).unwrap();
        assert!(all && names.iter().any(|n| n == "passwd"));
        assert!(own.has(Path::new("/etc/passwd")) && !own.has(Path::new("/etc")));
        assert!(own.text(Path::new("/dev/zero")).is_err());
        assert!(own.text(Path::new("/no/such/file")).is_err());
        let dir = std::env::temp_dir().join(format!("genspan-rooted-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let pipe = dir.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Must not wait for a writer.
        assert!(own.text(&pipe).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
