//! What the headers of a program tell: the names of its sections, and what it is linked to.
//!
//! Every program that runs on a host is looked at so, whoever made it. A file says of itself how long its tables
//! are, and may have symbols of hundreds of megabytes, or holes that say so: so symbols are not read, and of
//! the rest no more than a budget.

use std::cell::Cell;

use object::read::elf::{Dyn as _, FileHeader as _, SectionTable};
use object::read::{ReadCache, ReadCacheOps};
use object::{Endianness, ReadRef, elf};

use super::elf::{ElfError, is_ours};

/// Most bytes that are read of a file: the section table and the dynamic section of programs have some 10 KB.
const MOST_READ: u64 = 8 << 20;
/// What a name costs: so much is read to find its end.
const NAME: u64 = 4096;
/// Most entries of a dynamic section that are looked at.
const MAX_DYNAMIC: usize = 1024;

/// How much of a file may still be read.
#[derive(Debug)]
pub struct Budget(Cell<u64>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(MOST_READ))
    }
}

/// A file of which no more than a budget is read.
struct Sparing<'d, F: ReadCacheOps> {
    file: &'d ReadCache<F>,
    left: &'d Budget,
}

impl<F: ReadCacheOps> Clone for Sparing<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: ReadCacheOps> Copy for Sparing<'_, F> {}

impl<F: ReadCacheOps> Sparing<'_, F> {
    fn spend(&self, bytes: u64) -> Result<(), ()> {
        let left = self.left.0.get().checked_sub(bytes).ok_or(())?;
        self.left.0.set(left);
        Ok(())
    }
}

impl<'d, F: ReadCacheOps> ReadRef<'d> for Sparing<'d, F> {
    fn len(self) -> Result<u64, ()> {
        self.file.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'d [u8], ()> {
        self.spend(size)?;
        self.file.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: std::ops::Range<u64>, end: u8) -> Result<&'d [u8], ()> {
        self.spend(NAME)?;
        self.file.read_bytes_at_until(range, end)
    }
}

/// The headers of a program.
pub struct Headers<'d, F: ReadCacheOps> {
    endian: Endianness,
    data: Sparing<'d, F>,
    sections: SectionTable<'d, elf::FileHeader64<Endianness>, Sparing<'d, F>>,
}

impl<'d, F: ReadCacheOps> Headers<'d, F> {
    /// Reads what is needed of a file, as long as the budget lasts.
    ///
    /// # Errors
    ///
    /// When it is no ELF file for this machine.
    pub fn parse(file: &'d ReadCache<F>, left: &'d Budget) -> Result<Self, ElfError> {
        let data = Sparing { file, left };
        let header = elf::FileHeader64::<Endianness>::parse(data)?;
        let endian = header.endian()?;
        is_ours(header.e_machine(endian))?;
        Ok(Self {
            endian,
            data,
            sections: header.sections(endian, data)?,
        })
    }

    /// Whether there is a section with this name.
    #[must_use]
    pub fn has_section(&self, name: &str) -> bool {
        let found = self.sections.section_by_name(self.endian, name.as_bytes());
        found.is_some()
    }

    /// Whether the file is linked to a library whose name begins so.
    #[must_use]
    pub fn needs(&self, library: &str) -> bool {
        let (endian, sections) = (self.endian, &self.sections);
        let Ok(Some((all, strings))) = sections.dynamic(endian, self.data) else {
            return false;
        };
        let Ok(strings) = sections.strings(endian, self.data, strings) else {
            return false;
        };
        all.iter().take(MAX_DYNAMIC).any(|entry| {
            let name = u32::try_from(entry.d_val(endian)).ok();
            entry.d_tag(endian) == u64::from(elf::DT_NEEDED)
                && name
                    .and_then(|at| strings.get(at).ok())
                    .is_some_and(|name| name.starts_with(library.as_bytes()))
        })
    }
}
