//! What the placing of probes needs of an ELF file: functions, their bytes, and where in the
//! file they lie. Pure: the bytes come from the caller.

use std::collections::HashMap;

use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, ReadRef, SymbolKind, elf,
};
use thiserror::Error;

/// Why a file told nothing.
#[derive(Debug, Error)]
pub enum ElfError {
    /// Not an ELF file for this machine, or a broken one.
    #[error("not a readable 64-bit ELF file: {0}")]
    Unreadable(#[from] object::Error),
    /// Built for another processor.
    #[error("built for another processor (e_machine {0})")]
    Machine(u16),
}

/// A function that the file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Address, as the file counts.
    pub address: u64,
    /// Size in bytes; zero when the symbol does not say.
    pub size: u64,
}

/// An opened ELF file.
pub struct Image<'d, R: ReadRef<'d>> {
    file: ElfFile64<'d, Endianness, R>,
    data: R,
}

/// A part of the file that is loaded and stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'d> {
    /// Address of its first byte, as the file counts.
    pub address: u64,
    /// What is in it.
    pub bytes: &'d [u8],
    /// Whether it holds code.
    pub executable: bool,
}

/// A part of the file that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length in the file.
    pub len: u64,
    /// Address of its first byte, as the file counts.
    pub address: u64,
}

impl Load {
    /// The address of what is at this offset in the file, if it is in here. The offset may be that of
    /// the page in which it begins.
    #[must_use]
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        const PAGE: u64 = 4096;
        let inside =
            offset >= self.offset & !(PAGE - 1) && offset < self.offset.saturating_add(self.len);
        let address = self.address.wrapping_add(offset);
        inside.then(|| address.wrapping_sub(self.offset))
    }
}

impl Segment<'_> {
    /// Whether it has this address.
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        address >= self.address && address - self.address < self.bytes.len() as u64
    }
}

/// Most bytes of a function that are looked at.
const MAX_FUNCTION_BYTES: u64 = 512;

/// Most bytes of a file that are searched. The largest that carries an OpenSSL of its own is some
/// 100 MB (Node).
pub const MAX_SEARCHED: u64 = 256 << 20;

/// Most segments of a file that are searched; linkers make some four.
const MAX_SEGMENTS: usize = 64;

/// Whether a file is for this machine, by its `e_machine`.
///
/// # Errors
///
/// When it is for another one.
pub(super) const fn is_ours(machine: u16) -> Result<(), ElfError> {
    let ours = if cfg!(target_arch = "aarch64") {
        elf::EM_AARCH64
    } else {
        elf::EM_X86_64
    };
    if machine == ours {
        Ok(())
    } else {
        Err(ElfError::Machine(machine))
    }
}

impl<'d, R: ReadRef<'d>> Image<'d, R> {
    /// Reads headers only.
    ///
    /// # Errors
    ///
    /// When it is no ELF file for this machine.
    pub fn parse(data: R) -> Result<Self, ElfError> {
        let file = ElfFile64::<Endianness, R>::parse(data)?;
        is_ours(file.elf_header().e_machine(file.endian()))?;
        Ok(Self { file, data })
    }

    /// The functions with these names that are defined here, from `.dynsym` first, then
    /// `.symtab`; with `true` when any came from `.symtab`.
    #[must_use]
    pub fn functions(&self, names: &[&'static str]) -> (HashMap<&'static str, Function>, bool) {
        let mut found = HashMap::new();
        let mut from_symtab = false;
        let tables = [
            (self.file.dynamic_symbols(), false),
            (self.file.symbols(), true),
        ];
        for (symbols, symtab) in tables {
            for symbol in symbols {
                if !symbol.is_definition() || symbol.kind() != SymbolKind::Text {
                    continue;
                }
                let Ok(name) = symbol.name() else { continue };
                // A versioned name of .symtab: `SSL_read@@OPENSSL_3.0.0`.
                let name = name.split('@').next().unwrap_or(name);
                if let Some(&wanted) = names.iter().find(|n| **n == name) {
                    found.entry(wanted).or_insert_with(|| {
                        from_symtab |= symtab;
                        Function {
                            address: symbol.address(),
                            size: symbol.size(),
                        }
                    });
                }
            }
        }
        (found, from_symtab)
    }

    /// The address of the variable with this name that is defined here, from `.dynsym` first, then
    /// `.symtab`.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<u64> {
        let tables = [self.file.dynamic_symbols(), self.file.symbols()];
        tables.into_iter().flatten().find_map(|symbol| {
            let wanted = symbol.is_definition()
                && symbol.kind() == SymbolKind::Data
                && symbol.name() == Ok(name);
            wanted.then(|| symbol.address())
        })
    }

    /// The address of the section with this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<u64> {
        self.file.section_by_name(name).map(|s| s.address())
    }

    /// Addresses and lengths of what is writable when the file is loaded, zeroed memory included.
    #[must_use]
    pub fn writable(&self) -> Vec<(u64, u64)> {
        let endian = self.file.endian();
        let segments = self.file.elf_program_headers().iter();
        segments
            .filter(|s| s.p_type(endian) == elf::PT_LOAD && s.p_flags(endian) & elf::PF_W != 0)
            .map(|s| (s.p_vaddr(endian), s.p_memsz(endian)))
            .collect()
    }

    /// What is loaded.
    pub fn loads(&self) -> impl Iterator<Item = Load> {
        let endian = self.file.endian();
        let segments = self.file.elf_program_headers().iter();
        let loaded = segments.filter(move |s| s.p_type(endian) == elf::PT_LOAD);
        loaded.map(move |s| Load {
            offset: s.p_offset(endian),
            len: s.p_filesz(endian),
            address: s.p_vaddr(endian),
        })
    }

    /// What is loaded and may be written, by the dynamic linker at least, as far as the file has it.
    pub fn loads_written(&self) -> impl Iterator<Item = Load> {
        let endian = self.file.endian();
        let segments = self.file.elf_program_headers().iter();
        let written = move |s: &&elf::ProgramHeader64<Endianness>| {
            s.p_type(endian) == elf::PT_LOAD && s.p_flags(endian) & elf::PF_W != 0
        };
        segments.filter(written).map(move |s| Load {
            offset: s.p_offset(endian),
            len: s.p_filesz(endian),
            address: s.p_vaddr(endian),
        })
    }

    /// The address of what is at this offset in the file, by the loadable segments. The offset may
    /// be that of the page in which a segment begins, as in `/proc/PID/maps`.
    #[must_use]
    pub fn address(&self, offset: u64) -> Option<u64> {
        self.loads().find_map(|load| load.address_of(offset))
    }

    /// The offset in the file of this address, by the loadable segments: what a uprobe wants.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let (start, offset, _) = self.executable_segment(address)?;
        offset.checked_add(address - start)
    }

    /// The same of anything that is loaded.
    #[must_use]
    pub fn any_offset(&self, address: u64) -> Option<u64> {
        self.loads().find_map(|load| {
            let into = address.checked_sub(load.address)?;
            let inside = into < load.len;
            inside.then(|| load.offset.checked_add(into))?
        })
    }

    /// What the linker took for the identity of the build (`NT_GNU_BUILD_ID`), if it is there and no longer than
    /// this. It says nothing of what is in the file: whoever changes that may leave it.
    #[must_use]
    pub fn build_id(&self) -> Option<&'d [u8]> {
        const LONGEST: usize = 64;
        let id = self.file.build_id().ok()??;
        (1..=LONGEST).contains(&id.len()).then_some(id)
    }

    /// The code at this address, up to what is looked at of one function.
    #[must_use]
    pub fn code(&self, address: u64, size: u64) -> &'d [u8] {
        let Some((start, offset, len)) = self.executable_segment(address) else {
            return &[];
        };
        let into = address - start;
        let wanted = if size == 0 {
            MAX_FUNCTION_BYTES
        } else {
            size.min(MAX_FUNCTION_BYTES)
        };
        let take = wanted.min(len - into);
        let from = offset.saturating_add(into);
        self.data.read_bytes_at(from, take).unwrap_or(&[])
    }

    /// What is loaded and not writable. `None` when that is more than [`MAX_SEARCHED`], or a segment
    /// lies outside of the file or the address space.
    #[must_use]
    pub fn read_only(&self) -> Option<Vec<Segment<'d>>> {
        let endian = self.file.endian();
        let mut all = Vec::new();
        let mut left = MAX_SEARCHED;
        for segment in self.file.elf_program_headers() {
            let flags = segment.p_flags(endian);
            let len = segment.p_filesz(endian);
            if segment.p_type(endian) != elf::PT_LOAD || flags & elf::PF_W != 0 || len == 0 {
                continue;
            }
            left = left.checked_sub(len)?;
            let bytes = segment.data(endian, self.data).ok()?;
            let address = segment.p_vaddr(endian);
            address.checked_add(bytes.len() as u64)?;
            let executable = flags & elf::PF_X != 0;
            all.push(Segment {
                address,
                bytes,
                executable,
            });
            if all.len() > MAX_SEGMENTS {
                return None;
            }
        }
        Some(all)
    }

    /// Whether its addresses are those that it has when it runs, so that code may have them as
    /// numbers.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.file.elf_header().e_type(self.file.endian()) == elf::ET_EXEC
    }

    /// The address of the table that finds unwind information by address (`.eh_frame_hdr`; LSB Core,
    /// 10.6.2).
    #[must_use]
    pub fn unwind_table(&self) -> Option<u64> {
        let endian = self.file.endian();
        let mut headers = self.file.elf_program_headers().iter();
        let table = headers.find(|h| h.p_type(endian) == elf::PT_GNU_EH_FRAME)?;
        Some(table.p_vaddr(endian))
    }

    /// Whether the file takes any of these functions from another one.
    #[must_use]
    pub fn imports(&self, names: &[&str]) -> bool {
        self.file.dynamic_symbols().any(|s| {
            s.is_undefined()
                && s.name()
                    .is_ok_and(|n| names.contains(&n.split('@').next().unwrap_or(n)))
        })
    }

    /// The executable segment with this address: its address, offset and length in the file.
    fn executable_segment(&self, address: u64) -> Option<(u64, u64, u64)> {
        let endian = self.file.endian();
        self.file.elf_program_headers().iter().find_map(|segment| {
            if segment.p_type(endian) != elf::PT_LOAD || segment.p_flags(endian) & elf::PF_X == 0 {
                return None;
            }
            let start = segment.p_vaddr(endian);
            let len = segment.p_filesz(endian);
            let inside = address >= start && address - start < len;
            inside.then(|| (start, segment.p_offset(endian), len))
        })
    }
}
