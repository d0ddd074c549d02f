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

/// Most bytes of a function that are looked at.
const MAX_FUNCTION_BYTES: u64 = 512;

impl<'d, R: ReadRef<'d>> Image<'d, R> {
    /// Reads headers only.
    ///
    /// # Errors
    ///
    /// When it is no ELF file for this machine.
    pub fn parse(data: R) -> Result<Self, ElfError> {
        let file = ElfFile64::<Endianness, R>::parse(data)?;
        let machine = file.elf_header().e_machine(file.endian());
        let ours = if cfg!(target_arch = "aarch64") {
            elf::EM_AARCH64
        } else {
            elf::EM_X86_64
        };
        if machine != ours {
            return Err(ElfError::Machine(machine));
        }
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

    /// The address of what is at this offset in the file, by the loadable segments. The offset may
    /// be that of the page in which a segment begins, as in `/proc/PID/maps`.
    #[must_use]
    pub fn address(&self, offset: u64) -> Option<u64> {
        const PAGE: u64 = 4096;
        let endian = self.file.endian();
        self.file.elf_program_headers().iter().find_map(|segment| {
            let start = segment.p_offset(endian);
            let inside = segment.p_type(endian) == elf::PT_LOAD
                && offset >= start & !(PAGE - 1)
                && offset < start.saturating_add(segment.p_filesz(endian));
            let address = segment.p_vaddr(endian).wrapping_add(offset);
            inside.then(|| address.wrapping_sub(start))
        })
    }

    /// The offset in the file of this address, by the loadable segments: what a uprobe wants.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.executable_segment(address)
            .map(|(start, offset, _)| offset + (address - start))
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
        self.data.read_bytes_at(offset + into, take).unwrap_or(&[])
    }

    /// Whether the file carries the banner of a TLS library: `OpenSSL 3.0.15 3 Sep 2024` and
    /// kin, looked for in the read-only segments.
    #[must_use]
    pub fn tls_banner(&self) -> Option<String> {
        let finder = memchr::memmem::Finder::new(b"OpenSSL ");
        let endian = self.file.endian();
        for segment in self.file.elf_program_headers() {
            if segment.p_type(endian) != elf::PT_LOAD || segment.p_flags(endian) & elf::PF_W != 0 {
                continue;
            }
            let Ok(bytes) = segment.data(endian, self.data) else {
                continue;
            };
            for at in finder.find_iter(bytes) {
                let text = &bytes[at..bytes.len().min(at + 40)];
                let end = text
                    .iter()
                    .position(|b| !(b' '..=b'~').contains(b))
                    .unwrap_or(0);
                let digit = text.get(8).is_some_and(u8::is_ascii_digit);
                if digit && text.get(9) == Some(&b'.') && end > 12 {
                    return Some(String::from_utf8_lossy(&text[..end]).into_owned());
                }
            }
        }
        None
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

    /// Whether the file carries the text of OpenSSL's TLS record layer, not just its
    /// cryptography: the names of its source files and states stand in its errors.
    #[must_use]
    pub fn mentions_tls_reads(&self) -> bool {
        let endian = self.file.endian();
        let finder = memchr::memmem::Finder::new(b"ssl/record/");
        self.file.elf_program_headers().iter().any(|segment| {
            segment.p_type(endian) == elf::PT_LOAD
                && segment
                    .data(endian, self.data)
                    .is_ok_and(|b| finder.find(b).is_some())
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
