//! Looking into other processes' memory.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Resident memory in KiB.
///
/// # Errors
///
/// When there is no such process.
pub fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Bytes of code that differ from the file that they were mapped from, by file: where there is a
/// probe there is a breakpoint.
///
/// # Errors
///
/// When the process is gone, or a file is not what is mapped.
pub fn changed_code(pid: u32) -> Result<BTreeMap<String, Vec<(u64, u8)>>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut changed: BTreeMap<String, Vec<(u64, u8)>> = BTreeMap::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(flags), Some(offset)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let path: Vec<&str> = fields.skip(2).collect();
        let path = path.join(" ");
        if !flags.contains('x') || !path.starts_with('/') {
            continue;
        }
        let (start, end) = range.split_once('-').context("maps")?;
        let (start, end) = (
            u64::from_str_radix(start, 16)?,
            u64::from_str_radix(end, 16)?,
        );
        let offset = u64::from_str_radix(offset, 16)?;
        let length = usize::try_from(end - start)?;
        let mut live = vec![0; length];
        memory.read_exact_at(&mut live, start)?;
        let file = File::open(format!("/proc/{pid}/root{path}"))?;
        let mut stored = vec![0; length];
        let stored_length = read_up_to(&file, &mut stored, offset)?;
        let pairs = live.iter().zip(&stored).take(stored_length).enumerate();
        for (at, (byte, _)) in pairs.filter(|(_, (a, b))| a != b) {
            changed
                .entry(path.clone())
                .or_default()
                .push((offset + at as u64, *byte));
        }
    }
    Ok(changed)
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let rest = buffer.get_mut(done..).unwrap_or_default();
        match file.read_at(rest, offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}
