//! What files a process has mapped, and where: `/proc/PID/maps`, read once and taken apart without a copy
//! of each line, since it is looked at often and of many processes.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use procfs::ProcError;

use super::process::{MappedFile, ProcessError, wrap};

/// What the kernel adds to the path of a file that has no name any more.
const DELETED: &[u8] = b" (deleted)";

/// The mappings of a process, of one moment.
#[derive(Clone, Debug)]
pub(super) struct Maps {
    pid: u32,
    text: Vec<u8>,
    root: Root,
}

/// The root of a process as the kernel names it to us: from our own root, or from that of the mount
/// namespace. What it has below that begins so, too, where it has changed its root (`chroot(2)`).
#[derive(Clone, Debug, Default)]
struct Root(Vec<u8>);

impl Root {
    /// That of this process; that of all where it does not say.
    fn of(pid: u32) -> Self {
        let root = std::fs::read_link(format!("/proc/{pid}/root"));
        let root = root.map(|path| path.into_os_string().into_vec());
        Self(root.ok().filter(|path| path != b"/").unwrap_or_default())
    }

    /// A path as the process sees it.
    fn below<'m>(&self, path: &'m [u8]) -> &'m [u8] {
        let inside = path.strip_prefix(self.0.as_slice());
        inside.filter(|rest| rest.starts_with(b"/")).unwrap_or(path)
    }

    /// The same of a whole path.
    fn path(&self, path: &Path) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(self.below(path.as_os_str().as_bytes())))
    }
}

/// A range of addresses that a file is mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Map<'m> {
    /// First address, and the one after the last.
    pub(super) start: u64,
    pub(super) end: u64,
    /// It may be executed.
    executable: bool,
    /// Offset in the file, in bytes.
    pub(super) offset: u64,
    /// Device (major, minor) and inode.
    pub(super) id: (i32, i32, u64),
    /// As the process sees it, with what the kernel adds.
    path: &'m [u8],
}

impl<'m> Map<'m> {
    /// Takes a line apart (`proc_pid_maps(5)`); none where no file is mapped.
    fn of(line: &'m [u8]) -> Option<Self> {
        // The path is the last word, and may have spaces in it.
        let slash = memchr::memchr(b'/', line)?;
        let (head, path) = line.split_at(slash);
        // Shared memory of System V has a name, but is no file.
        if path.starts_with(b"/SYSV") {
            return None;
        }
        let mut words = std::str::from_utf8(head).ok()?.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let executable = words.next()?.contains('x');
        let offset = words.next()?;
        let (major, minor) = words.next()?.split_once(':')?;
        let inode = words.next()?.parse().ok()?;
        // What is no path begins with something else.
        if words.next().is_some() {
            return None;
        }
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let device = |text| i32::from_str_radix(text, 16).ok();
        Some(Self {
            start: hex(start)?,
            end: hex(end)?,
            executable,
            offset: hex(offset)?,
            id: (device(major)?, device(minor)?, inode),
            path,
        })
    }

    /// The path of the file as the process sees it.
    pub(super) fn path(&self) -> &'m Path {
        let path = self.path.strip_suffix(DELETED).unwrap_or(self.path);
        Path::new(OsStr::from_bytes(path))
    }

    /// A path by which we reach the file, whatever the process's root is.
    fn reach(&self, pid: u32) -> PathBuf {
        // Replaced on disk under the running process: only this leads to what it runs.
        if !self.path.ends_with(DELETED) {
            let mut reach = format!("/proc/{pid}/root").into_bytes();
            reach.extend_from_slice(self.path);
            let reach = PathBuf::from(OsStr::from_bytes(&reach));
            // It may be named from another root: where the process has changed its own since it
            // mapped the file.
            if std::fs::symlink_metadata(&reach).is_ok() {
                return reach;
            }
        }
        let (start, end) = (self.start, self.end);
        PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}"))
    }
}

impl Maps {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// When the process is gone or not ours to look at.
    pub(super) fn read(pid: u32) -> Result<Self, ProcessError> {
        let text = std::fs::read(format!("/proc/{pid}/maps"));
        let text = text.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => ProcessError::NotFound(pid),
            std::io::ErrorKind::PermissionDenied => ProcessError::NotPermitted(pid),
            _ => wrap(pid)(ProcError::from(e)),
        })?;
        let root = Root::of(pid);
        Ok(Self { pid, text, root })
    }

    /// A path that the kernel told of the process, as the process sees it.
    pub(super) fn seen(&self, path: &Path) -> PathBuf {
        self.root.path(path)
    }

    /// All ranges that files are mapped to, by address.
    pub(super) fn all(&self) -> impl Iterator<Item = Map<'_>> {
        let lines = self.text.split(|b| *b == b'\n').filter_map(Map::of);
        lines.map(|map| Map {
            path: self.root.below(map.path),
            ..map
        })
    }

    /// The first range of each file of which code is mapped.
    fn code(&self) -> Vec<Map<'_>> {
        let mut found: Vec<Map<'_>> = Vec::new();
        for map in self.all() {
            if map.executable && !found.iter().any(|f| f.id == map.id) {
                found.push(map);
            }
        }
        found
    }

    /// The files of which code is mapped, each once.
    pub(super) fn files(&self) -> Vec<MappedFile> {
        let all = self.code().into_iter().map(|map| MappedFile {
            path: map.path().to_owned(),
            reach: map.reach(self.pid),
            id: map.id,
        });
        all.collect()
    }

    /// Their paths alone, for which no file is looked for.
    pub(super) fn paths(&self) -> Vec<&Path> {
        self.code().iter().map(Map::path).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Map, Maps, Root};
    use crate::target::process::MappedFile;
    use std::path::Path;

    const TEXT: &str = "\
55d0a0000000-55d0a0100000 r--p 00000000 fe:00 1234                       /usr/bin/python3.11
55d0a0100000-55d0a0200000 r-xp 00100000 fe:00 1234                       /usr/bin/python3.11
55d0a0300000-55d0a0321000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 r-xp 00000000 00:00 0                          [vdso]
7f0000001000-7f0000002000 r-xp 00001000 103:1f 77                        /srv/a dir/lib.so
7f0000002000-7f0000003000 r-xp 00002000 103:1f 77                        /srv/a dir/lib.so
7f0000003000-7f0000004000 r-xs 00000000 00:01 9                          /memfd:code (deleted)
7f0000004000-7f0000005000 rw-s 00000000 00:01 5                          /SYSV00000000 (deleted)
7f0000005000-7f0000006000 rwxs 00000000 00:0e 6                          anon_inode:[io_uring] a/b
7f0000006000-7f0000007000 r-xp 00000000 00:00 0 
7f0000007000-7f0000008000 zzzz
";

    fn maps(text: &str) -> Maps {
        Maps {
            pid: u32::MAX,
            text: text.as_bytes().to_vec(),
            root: Root::default(),
        }
    }

    #[test]
    fn files_with_code_are_found_once() {
        let maps = maps(TEXT);
        assert_eq!(maps.all().count(), 5);
        let want = ["/usr/bin/python3.11", "/srv/a dir/lib.so", "/memfd:code"];
        assert_eq!(maps.paths(), want.map(Path::new));
        // Of a process that is not there, the range of code leads to the file.
        let files = maps.files();
        let first = MappedFile {
            path: "/usr/bin/python3.11".into(),
            reach: format!("/proc/{}/map_files/55d0a0100000-55d0a0200000", u32::MAX).into(),
            id: (0xfe, 0, 1234),
        };
        assert_eq!(files.first(), Some(&first));
        assert_eq!(files[1].id, (0x103, 0x1f, 77));
        let map = maps.all().next().unwrap();
        assert_eq!(
            (map.start, map.end, map.offset),
            (0x55d0_a000_0000, 0x55d0_a010_0000, 0)
        );
    }

    #[test]
    fn another_root_is_taken_off() {
        let mut maps = maps(TEXT);
        maps.root = Root(b"/srv".to_vec());
        let want = ["/usr/bin/python3.11", "/a dir/lib.so", "/memfd:code"];
        assert_eq!(maps.paths(), want.map(Path::new));
        // One of a like name is another one.
        maps.root = Root(b"/srv/a".to_vec());
        assert_eq!(maps.paths()[1], Path::new("/srv/a dir/lib.so"));
        let path = |root: &str| Root(root.into()).path(Path::new("/jail/opt/x"));
        assert_eq!(path("/jail"), Path::new("/opt/x"));
        assert_eq!(path(""), Path::new("/jail/opt/x"));
        assert!(Root::of(std::process::id()).0.is_empty());
    }

    #[test]
    fn what_is_cut_anywhere_is_no_panic() {
        for end in 0..TEXT.len() {
            drop(maps(&TEXT[..end]).files());
        }
        assert_eq!(Map::of(b"/"), None);
        assert_eq!(Map::of("\u{fe}-1 r-xp 0 0:0 1 /x".as_bytes()), None);
    }

    #[test]
    fn our_own_say_what_we_run() {
        let own = Maps::read(std::process::id()).unwrap();
        let exe = std::env::current_exe().unwrap();
        let found = own.files().into_iter().find(|f| f.path == exe).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
        assert_eq!(inode(&found.reach), inode(&exe));
        assert!(own.paths().contains(&exe.as_path()));
        assert!(Maps::read(u32::MAX).is_err());
    }
}
