//! What of an agent is in the kernel: by the ids that its descriptors have.

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, AsRawFd as _};

/// Ids of programs, maps and links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
    /// Links.
    pub links: BTreeSet<u32>,
}

impl Objects {
    /// Those that a process holds.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let mut held = Self::default();
        for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let id = |name: &str| -> Option<u32> {
                text.lines()
                    .find_map(|l| l.strip_prefix(name)?.trim().parse().ok())
            };
            held.links.extend(id("link_id:"));
            held.programs.extend(id("prog_id:"));
            held.maps.extend(id("map_id:"));
        }
        Ok(held)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.maps.is_empty() && self.links.is_empty()
    }

    /// Those of these that the kernel still has.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub fn still_there(&self) -> Result<Self> {
        let there = Self {
            programs: ids(PROG_GET_NEXT_ID).context("the kernel's programs")?,
            maps: ids(MAP_GET_NEXT_ID).context("the kernel's maps")?,
            links: ids(LINK_GET_NEXT_ID).context("the kernel's links")?,
        };
        let common = |a: &BTreeSet<u32>, b: &BTreeSet<u32>| a.intersection(b).copied().collect();
        Ok(Self {
            programs: common(&self.programs, &there.programs),
            maps: common(&self.maps, &there.maps),
            links: common(&self.links, &there.links),
        })
    }
}

/// Writes a word into an entry of a map that a process holds, a hash with keys of four bytes: the key, where in the
/// value, and what.
///
/// # Errors
///
/// When it holds no such map, or that has no such entry.
pub fn set_word(pid: u32, name: &str, (key, at, word): (u32, usize, u32)) -> Result<()> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| -> Option<u32> {
            text.lines()
                .find_map(|l| l.strip_prefix(name)?.trim().parse().ok())
        };
        let (kind, key_size) = (field("map_type:"), field("key_size:"));
        let (Some(id), Some(size)) = (field("map_id:"), field("value_size:")) else {
            continue;
        };
        let size = usize::try_from(size)?;
        // `BPF_MAP_TYPE_HASH`: no other kind is opened.
        if kind != Some(1) || key_size != Some(4) || at + 4 > size {
            continue;
        }
        let map = MapData::from_id(id)?;
        if map.info()?.name_as_str() != Some(name) {
            continue;
        }
        let mut value = vec![0; size];
        element(MAP_LOOKUP_ELEM, &map, key, &mut value)?;
        let place = value.get_mut(at..at + 4).context("the value is shorter")?;
        place.copy_from_slice(&word.to_ne_bytes());
        element(MAP_UPDATE_ELEM, &map, key, &mut value)?;
        return Ok(());
    }
    anyhow::bail!("process {pid} holds no map {name}")
}

/// `BPF_MAP_LOOKUP_ELEM` (`include/uapi/linux/bpf.h`).
const MAP_LOOKUP_ELEM: libc::c_long = 1;
/// `BPF_MAP_UPDATE_ELEM`.
const MAP_UPDATE_ELEM: libc::c_long = 2;

/// Reads or writes an entry.
fn element(
    command: libc::c_long,
    map: &MapData,
    key: u32,
    value: &mut [u8],
) -> std::io::Result<()> {
    /// `bpf_attr` for these commands.
    #[repr(C)]
    struct Element {
        map: u32,
        zero: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let attributes = Element {
        map: map.fd().as_fd().as_raw_fd().cast_unsigned(),
        zero: 0,
        key: (&raw const key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the structure is the kernel's for these commands; the value has as many bytes as the map's do.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw const attributes,
            size_of::<Element>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// `BPF_PROG_GET_NEXT_ID` (`include/uapi/linux/bpf.h`).
const PROG_GET_NEXT_ID: libc::c_long = 11;
/// `BPF_MAP_GET_NEXT_ID`.
const MAP_GET_NEXT_ID: libc::c_long = 12;
/// `BPF_LINK_GET_NEXT_ID`.
const LINK_GET_NEXT_ID: libc::c_long = 31;

/// All ids of a kind. They are only listed: to open a program array while the kernel clears it
/// makes the kernel clear it again when it is closed, and keep it for ever
/// (`prog_array_map_clear`, `kernel/bpf/arraymap.c`: the second reference has no second work).
fn ids(command: libc::c_long) -> std::io::Result<BTreeSet<u32>> {
    /// `bpf_attr` for these commands.
    #[repr(C)]
    struct NextId {
        start: u32,
        next: u32,
        flags: u32,
    }
    let mut all = BTreeSet::new();
    let mut id = NextId {
        start: 0,
        next: 0,
        flags: 0,
    };
    loop {
        // SAFETY: the structure is the kernel's for these commands, which write `next` only.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut id, size_of::<NextId>()) };
        if done < 0 {
            let error = std::io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ENOENT) => Ok(all),
                _ => Err(error),
            };
        }
        all.insert(id.next);
        id.start = id.next;
    }
}
