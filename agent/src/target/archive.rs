//! What is installed in an archive that a Python imports from (`zipimport`; `zipapp`, PEX): the names in a
//! ZIP file's directory. Nothing is unpacked.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::classify::Distribution;

/// Of the record that ends the directory: its length without the comment, and its first bytes.
const END_BYTES: usize = 22;
const END: [u8; 4] = *b"PK\x05\x06";
/// Of an entry of the directory: its length without name, extra field and comment, and its first bytes.
const ENTRY_BYTES: usize = 46;
const ENTRY: [u8; 4] = *b"PK\x01\x02";
/// The longest comment (its length has 16 bits).
const MAX_COMMENT: usize = u16::MAX as usize;
/// Most bytes of a directory that are read: some 60,000 entries.
const MAX_DIRECTORY: usize = 8 << 20;
/// Most distributions that are told of one archive.
const MAX_FOUND: usize = 4096;

/// The distributions in a folder of an archive (`""` for its top), and whether they are all.
///
/// # Errors
///
/// When it is no archive, or cannot be read.
pub(super) fn distributions(file: &File, folder: &str) -> io::Result<(Vec<Distribution>, bool)> {
    let len = file.metadata()?.len();
    let tail_bytes = len.min((END_BYTES + MAX_COMMENT) as u64);
    let tail_at = len - tail_bytes;
    let mut tail = vec![0; tail_bytes as usize];
    file.read_exact_at(&mut tail, tail_at)?;
    let (end, size) = end(&tail).ok_or(io::ErrorKind::InvalidData)?;
    // What stands before an archive, as the first line of a `zipapp`, moves its directory.
    let start = (tail_at + end as u64).checked_sub(u64::from(size));
    let start = start.ok_or(io::ErrorKind::InvalidData)?;
    let take = (size as usize).min(MAX_DIRECTORY);
    let mut directory = vec![0; take];
    file.read_exact_at(&mut directory, start)?;
    let (found, whole) = named(&directory, folder);
    Ok((found, whole && take == size as usize))
}

/// Where the record is that ends the directory, and how many bytes the directory has.
fn end(tail: &[u8]) -> Option<(usize, u32)> {
    let last = tail.len().checked_sub(END_BYTES)?;
    (0..=last).rev().find_map(|at| {
        let record = tail.get(at..at + END_BYTES)?;
        // The comment ends where the file does.
        let comment = usize::from(u16::from_le_bytes([record[20], record[21]]));
        let whole = record.starts_with(&END) && at + END_BYTES + comment == tail.len();
        let size = u32::from_le_bytes([record[12], record[13], record[14], record[15]]);
        // All ones: the number is in another record, of an archive beyond 4 GiB.
        (whole && size != u32::MAX).then_some((at, size))
    })
}

/// The distributions that the names of a directory tell.
fn named(directory: &[u8], folder: &str) -> (Vec<Distribution>, bool) {
    let mut found: Vec<Distribution> = Vec::new();
    let mut last: &[u8] = &[];
    let mut rest = directory;
    while let Some(entry) = rest.get(..ENTRY_BYTES).filter(|e| e.starts_with(&ENTRY)) {
        let length = |at: usize| usize::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
        let (name_bytes, more) = (length(28), length(30) + length(32));
        let Some(name) = rest.get(ENTRY_BYTES..ENTRY_BYTES + name_bytes) else {
            return (found, false);
        };
        rest = rest
            .get(ENTRY_BYTES + name_bytes + more..)
            .unwrap_or_default();
        let Some(inside) = name.strip_prefix(folder.as_bytes()) else {
            continue;
        };
        let inside = inside.strip_prefix(b"/").unwrap_or(inside);
        let first = inside.split(|b| *b == b'/').next().unwrap_or_default();
        // The files of one folder stand together.
        if first == last {
            continue;
        }
        last = first;
        let one = std::str::from_utf8(first)
            .ok()
            .and_then(Distribution::of_file_name);
        let Some(one) = one.filter(|one| !found.contains(one)) else {
            continue;
        };
        if found.len() >= MAX_FOUND {
            return (found, false);
        }
        found.push(one);
    }
    (found, rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{distributions, end, named};
    use std::fs::{self, File};
    use std::path::PathBuf;

    /// The directory of an archive with these names, and the record behind it.
    fn archive(names: &[&str], before: &str, comment: &str) -> Vec<u8> {
        let mut directory = Vec::new();
        for name in names {
            directory.extend(b"PK\x01\x02");
            directory.extend([0; 24]);
            directory.extend((name.len() as u16).to_le_bytes());
            // An extra field of two bytes.
            directory.extend([2, 0]);
            directory.extend([0; 14]);
            directory.extend(name.as_bytes());
            directory.extend([7, 7]);
        }
        let mut all = before.as_bytes().to_vec();
        all.extend(&directory);
        all.extend(b"PK\x05\x06");
        all.extend([0; 8]);
        all.extend((directory.len() as u32).to_le_bytes());
        all.extend([0; 4]);
        all.extend((comment.len() as u16).to_le_bytes());
        all.extend(comment.as_bytes());
        all
    }

    fn written(name: &str, bytes: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("genspan-zip-{name}-{}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        path
    }

    const NAMES: [&str; 6] = [
        "__main__.py",
        "openai/__init__.py",
        "openai-2.1.0.dist-info/METADATA",
        "openai-2.1.0.dist-info/RECORD",
        ".deps/httpx.whl/httpx-0.28.1.dist-info/METADATA",
        "x/vllm-1.0.dist-info/METADATA",
    ];

    fn found(bytes: &[u8], folder: &str) -> Option<(Vec<String>, bool)> {
        let path = written("found", bytes);
        let found = distributions(&File::open(&path).unwrap(), folder).ok();
        fs::remove_file(&path).unwrap();
        found.map(|(all, whole)| (all.into_iter().map(String::from).collect(), whole))
    }

    #[test]
    fn what_is_in_an_archive_is_found_without_unpacking_it() {
        let all = archive(&NAMES, "#!/usr/bin/env python3\n", "a comment");
        let want = |names: &[&str]| Some((names.iter().map(|n| (*n).to_owned()).collect(), true));
        assert_eq!(found(&all, ""), want(&["openai==2.1.0"]));
        assert_eq!(found(&all, ".deps/httpx.whl"), want(&["httpx==0.28.1"]));
        assert_eq!(found(&all, "elsewhere"), want(&[]));
        assert_eq!(found(b"no archive", ""), None);
        assert_eq!(found(b"", ""), None);
        assert_eq!(found(&archive(&[], "", ""), ""), want(&[]));
    }

    #[test]
    fn what_is_cut_or_changed_is_no_panic() {
        let all = archive(&NAMES, "", "c");
        for len in 0..all.len() {
            assert!(end(&all[..len]).is_none());
            drop(named(&all[..len], ""));
            drop(named(&all[len..], "x"));
        }
        for at in 0..all.len() {
            let mut changed = all.clone();
            changed[at] ^= 0xff;
            if let Some((start, size)) = end(&changed) {
                assert!(start <= changed.len(), "{size}");
            }
            let (some, _) = named(&changed, "");
            assert!(some.len() <= NAMES.len());
        }
        // One that says of itself that it has more than there is.
        let mut short = archive(&NAMES, "", "");
        short.drain(..10);
        assert_eq!(found(&short, ""), None);
    }
}
