//! What of an agent is in the kernel: by the ids that its descriptors have.

use anyhow::{Context as _, Result};
use std::collections::BTreeSet;

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
        let mut there = Self::default();
        for program in aya::programs::loaded_programs() {
            there
                .programs
                .insert(program.context("the kernel's programs")?.id());
        }
        for map in aya::maps::loaded_maps() {
            there.maps.insert(map.context("the kernel's maps")?.id());
        }
        for link in aya::programs::loaded_links() {
            there.links.insert(link.context("the kernel's links")?.id());
        }
        let common = |a: &BTreeSet<u32>, b: &BTreeSet<u32>| a.intersection(b).copied().collect();
        Ok(Self {
            programs: common(&self.programs, &there.programs),
            maps: common(&self.maps, &there.maps),
            links: common(&self.links, &there.links),
        })
    }
}
