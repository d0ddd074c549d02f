//! Archives as the kernel unpacks them into memory when it starts: cpio of the form `newc`
//! (`Documentation/driver-api/early-userspace/buffer-format.rst` of Linux).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A directory.
    Directory,
    /// A file, by where it is here.
    File(PathBuf),
    /// A file, by what is in it.
    Text(String),
    /// A character device, by its numbers.
    Device(u32, u32),
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    content: Content,
    /// May be executed.
    executable: bool,
}

/// A tree of files.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<PathBuf, Entry>);

/// File types and rights (`include/uapi/linux/stat.h`).
const DIRECTORY: u32 = 0o040_755;
const DEVICE: u32 = 0o020_600;
const FILE: u32 = 0o100_644;
const EXECUTABLE: u32 = 0o100_755;

/// The last entry's name.
const TRAILER: &str = "TRAILER!!!";

impl Tree {
    /// Puts something at a path, which is absolute; its directories come by themselves.
    pub(super) fn add(&mut self, path: impl AsRef<Path>, content: Content, executable: bool) {
        let path = path.as_ref().strip_prefix("/").unwrap_or(path.as_ref());
        for above in path.ancestors().skip(1) {
            if !above.as_os_str().is_empty() {
                self.0.entry(above.to_owned()).or_insert(Entry {
                    content: Content::Directory,
                    executable: true,
                });
            }
        }
        let entry = Entry {
            content,
            executable,
        };
        self.0.insert(path.to_owned(), entry);
    }

    /// Whether there is something at a path.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.contains_key(path.strip_prefix("/").unwrap_or(path))
    }

    /// Writes the archive.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        for (number, (path, entry)) in (1u32..).zip(&self.0) {
            let name = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
            let (mode, device, bytes, time) = match &entry.content {
                Content::Directory => (DIRECTORY, (0, 0), Vec::new(), 0),
                Content::Device(major, minor) => (DEVICE, (*major, *minor), Vec::new(), 0),
                Content::Text(text) => (file(entry), (0, 0), text.clone().into_bytes(), 0),
                Content::File(from) => {
                    let time = modified(from)?;
                    (file(entry), (0, 0), std::fs::read(from)?, time)
                }
            };
            put(to, name, number, mode, device, &bytes, time)?;
        }
        put(to, TRAILER, 0, 0, (0, 0), &[], 0)
    }
}

fn file(entry: &Entry) -> u32 {
    if entry.executable { EXECUTABLE } else { FILE }
}

/// When a file was changed: Python's compiled files are good for sources of that time only.
fn modified(file: &Path) -> io::Result<u32> {
    let time = std::fs::metadata(file)?.modified()?;
    let since = time.duration_since(std::time::UNIX_EPOCH);
    Ok(since.map_or(0, |t| u32::try_from(t.as_secs()).unwrap_or(u32::MAX)))
}

/// Writes one entry: a head of numbers with eight digits each, the name, the content, both filled up to
/// a multiple of four.
fn put(
    to: &mut impl Write,
    name: &str,
    number: u32,
    mode: u32,
    (major, minor): (u32, u32),
    bytes: &[u8],
    time: u32,
) -> io::Result<()> {
    let size =
        |n: usize| u32::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
    let named = size(name.len() + 1)?;
    // Number, mode, user, group, links, time, size, device, its own device, name, check sum.
    let head = [
        number,
        mode,
        0,
        0,
        1,
        time,
        size(bytes.len())?,
        0,
        0,
        major,
        minor,
        named,
        0,
    ];
    write!(to, "070701")?;
    for field in head {
        write!(to, "{field:08x}")?;
    }
    // Six digits before the fields.
    fill(to, name.as_bytes(), 6 + 8 * head.len(), 1)?;
    fill(to, bytes, 0, 0)
}

/// Writes bytes with at least `zeros` behind them, up to a multiple of four from `before` on.
fn fill(to: &mut impl Write, bytes: &[u8], before: usize, zeros: usize) -> io::Result<()> {
    let end = before + bytes.len() + zeros;
    to.write_all(bytes)?;
    to.write_all(&[0; 4][..zeros + end.next_multiple_of(4) - end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut tree = Tree::default();
        tree.add("/usr/bin/a", Content::Text("hello".to_owned()), true);
        tree.add("/dev/console", Content::Device(5, 1), false);
        assert!(tree.has(Path::new("/usr/bin")) && !tree.has(Path::new("/usr/lib")));
        let mut bytes = Vec::new();
        tree.write(&mut bytes).unwrap();
        bytes
    }

    /// Name, mode, own device, content.
    type Read = (String, u32, (u32, u32), Vec<u8>);

    /// Reads an archive as its form is described.
    fn read(mut bytes: &[u8]) -> Vec<Read> {
        let mut all = Vec::new();
        loop {
            assert_eq!(bytes[..6], *b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&bytes[6 + 8 * n..14 + 8 * n]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, named) = (field(1), field(6) as usize, field(11) as usize);
            let device = (field(9), field(10));
            let name = String::from_utf8(bytes[110..110 + named - 1].to_vec()).unwrap();
            assert_eq!(bytes[110 + named - 1], 0);
            let at = (110 + named).next_multiple_of(4);
            let content = bytes[at..at + size].to_vec();
            bytes = &bytes[(at + size).next_multiple_of(4)..];
            if name == TRAILER {
                assert!(bytes.is_empty());
                return all;
            }
            all.push((name, mode, device, content));
        }
    }

    #[test]
    fn an_archive_has_what_was_put_into_it() {
        let all = read(&sample());
        let names: Vec<&str> = all.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["dev", "dev/console", "usr", "usr/bin", "usr/bin/a"]);
        assert_eq!(
            (all[0].1, all[1].1, all[4].1),
            (DIRECTORY, DEVICE, EXECUTABLE)
        );
        assert_eq!(all[1].2, (5, 1));
        assert_eq!(all[4].3, b"hello");
    }
}
