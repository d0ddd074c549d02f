//! Code objects: names, arguments, where the bytecode is (`Include/cpython/code.h`).

use super::layout::{Bytecode, OB_SIZE};
use super::lines::{self, Table};
use super::object::Kind;
use super::reader::{Reader, Result, malformed};
use super::text::bytes_data;
use super::version::Version;

/// Bits of `co_flags` (`CO_VARARGS` and so on).
pub mod flag {
    /// `*args`.
    pub const VARARGS: u32 = 0x4;
    /// `**kwargs`.
    pub const VARKEYWORDS: u32 = 0x8;
    /// A generator function.
    pub const GENERATOR: u32 = 0x20;
    /// `async def`.
    pub const COROUTINE: u32 = 0x80;
    /// `async def` with `yield`.
    pub const ASYNC_GENERATOR: u32 = 0x200;
}

/// Bits of `co_localspluskinds` (`Include/internal/pycore_code.h`): `CO_FAST_CELL`.
const FAST_CELL: u8 = 0x40;

/// Most arguments of a function, and variables of a frame.
const MAX_ARGUMENTS: usize = 4096;
/// Most constants of a code object that are looked through.
const MAX_CONSTANTS: usize = 1 << 16;
/// Most bytes of a line table.
const MAX_LINE_TABLE: usize = 1 << 20;
/// Most bytes of bytecode.
const MAX_BYTECODE: usize = 1 << 24;

/// An argument of a function, in the order of its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name, without stars.
    pub name: String,
    /// The word of the frame's locals that holds it when the function is entered.
    pub slot: u32,
    /// To 3.10: where it is instead when an inner function uses it, in a cell. From 3.11 on a
    /// cell is made after the entry, in the same word.
    pub cell: Option<u32>,
}

/// A code object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Where it is.
    pub address: u64,
    /// `co_name`.
    pub name: String,
    /// `co_qualname`; before 3.11 code objects have none.
    pub qualname: Option<String>,
    /// `co_filename`.
    pub filename: String,
    /// `co_firstlineno`.
    pub first_line: u32,
    /// `co_flags`.
    pub flags: u32,
    /// Address of the first byte of its bytecode: what a watchpoint is set on.
    pub entry: u64,
    /// Its arguments, with `*args` and `**kwargs`.
    pub arguments: Vec<Argument>,
}

/// What names a place in a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `co_qualname`, or `co_name` before 3.11.
    pub function: String,
    /// `co_filename`.
    pub filename: String,
    /// The line; that of the function's start where the table has none for the instruction.
    pub line: u32,
}

impl Reader<'_> {
    /// The code object at this address.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none.
    pub fn code(&self, address: u64) -> Result<Code> {
        self.expect_code(address)?;
        let layout = &self.layout.code;
        let name = self.short_text(self.word(address + layout.name)?)?;
        let qualname = match layout.qualname {
            Some(at) => Some(self.short_text(self.word(address + at)?)?),
            None => None,
        };
        Ok(Code {
            address,
            name,
            qualname,
            filename: self.short_text(self.word(address + layout.filename)?)?,
            first_line: self.unsigned(address + layout.firstlineno)?,
            flags: self.unsigned(address + layout.flags)?,
            entry: self.bytecode(address)?,
            arguments: self.arguments(address)?,
        })
    }

    /// What tells a code object from another one that may be at this address later: where its file's
    /// name and its lines are.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn code_identity(&self, code: u64) -> Result<[u64; 2]> {
        let layout = &self.layout.code;
        Ok([
            self.word(code.wrapping_add(layout.filename))?,
            self.word(code.wrapping_add(layout.linetable))?,
        ])
    }

    /// Where a frame of this code object is when it is at this byte of its bytecode.
    ///
    /// # Errors
    ///
    /// When the code object cannot be read.
    pub fn place(&self, code: u64, offset: u64) -> Result<Place> {
        self.expect_code(code)?;
        let layout = &self.layout.code;
        let function = layout.qualname.unwrap_or(layout.name);
        let first_line = self.unsigned(code + layout.firstlineno)?;
        let table = match self.layout.version {
            Version::V3_8 | Version::V3_9 => Table::LineNumbers,
            Version::V3_10 => Table::Lines,
            _ => Table::Locations,
        };
        let line = self
            .word(code + layout.linetable)
            .and_then(|bytes| self.bytes_object(bytes, MAX_LINE_TABLE))
            .ok()
            .and_then(|(bytes, _)| lines::line(table, &bytes, first_line, offset));
        Ok(Place {
            function: self.short_text(self.word(code + function)?)?,
            filename: self.short_text(self.word(code + layout.filename)?)?,
            line: line.unwrap_or(first_line),
        })
    }

    /// The byte of the bytecode that a frame's word for its instruction stands for: `f_lasti` (to
    /// 3.10), `prev_instr`, `instr_ptr`. `None` before the first one, or when it is outside.
    #[must_use]
    pub fn instruction_offset(&self, code: u64, instruction: u64) -> Option<u64> {
        let offset = match self.layout.code.bytecode {
            Bytecode::Bytes(_) => {
                let last = u64::from(u32::try_from(instruction & 0xffff_ffff).ok()?);
                if last >= 1 << 31 {
                    return None;
                }
                // In 3.10 it counts instructions, of two bytes.
                last << u32::from(self.layout.version == Version::V3_10)
            }
            Bytecode::Inline(at) => instruction.checked_sub(code.checked_add(at)?)?,
        };
        (offset < MAX_BYTECODE as u64).then_some(offset)
    }

    /// Address of the first byte of bytecode.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn bytecode(&self, code: u64) -> Result<u64> {
        Ok(match self.layout.code.bytecode {
            Bytecode::Inline(at) => code + at,
            Bytecode::Bytes(at) => {
                let bytes = self.word(code + at)?;
                self.object_size(bytes, MAX_BYTECODE, "bytecode")?;
                bytes_data(bytes)
            }
        })
    }

    /// The code objects among the constants of one: its nested functions and classes.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn nested_code(&self, code: u64) -> Result<Vec<u64>> {
        self.expect_code(code)?;
        let constants = self.word(code + self.layout.code.consts)?;
        let (constants, _) = self.sequence(constants, MAX_CONSTANTS)?;
        let is_code = |c: &u64| self.type_of(*c).is_ok_and(|t| t.kind == Kind::Code);
        Ok(constants.into_iter().filter(is_code).collect())
    }

    /// `co_name` of a code object.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn code_name(&self, code: u64) -> Result<String> {
        self.expect_code(code)?;
        self.short_text(self.word(code + self.layout.code.name)?)
    }

    fn expect_code(&self, address: u64) -> Result<()> {
        if self.type_of(address)?.kind != Kind::Code {
            return malformed("code object", address);
        }
        Ok(())
    }

    /// An `int` that is not negative.
    fn unsigned(&self, address: u64) -> Result<u32> {
        u32::try_from(self.int(address)?).or_else(|_| malformed("code object", address))
    }

    fn arguments(&self, code: u64) -> Result<Vec<Argument>> {
        let layout = &self.layout.code;
        let flags = self.unsigned(code + layout.flags)?;
        let count = [layout.argcount, layout.kwonlyargcount]
            .iter()
            .map(|at| self.unsigned(code + at))
            .sum::<Result<u32>>()?
            + u32::from(flags & flag::VARARGS != 0)
            + u32::from(flags & flag::VARKEYWORDS != 0);
        if count as usize > MAX_ARGUMENTS {
            return malformed("code object", code);
        }
        let names = self.word(code + layout.names)?;
        let (names, length) = self.sequence(names, count as usize)?;
        if length < count as usize {
            return malformed("code object", code);
        }
        let cells = self.cells(code)?;
        let mut arguments = Vec::new();
        for (slot, name) in (0..count).zip(names) {
            let name = self.short_text(name)?;
            let cell = cells
                .iter()
                .find(|(cell, _)| *cell == name)
                .map(|(_, at)| *at);
            arguments.push(Argument { name, slot, cell });
        }
        Ok(arguments)
    }

    /// To 3.10: names of the variables that are kept in cells, and their words in a frame.
    fn cells(&self, code: u64) -> Result<Vec<(String, u32)>> {
        let Some(at) = self.layout.code.cellvars else {
            return Ok(Vec::new());
        };
        let locals = self.unsigned(code + self.layout.code.nlocals)?;
        let (cells, _) = self.sequence(self.word(code + at)?, MAX_ARGUMENTS)?;
        let named = |(name, word): (u64, u32)| Ok((self.short_text(name)?, word));
        cells
            .into_iter()
            .zip(locals..locals.saturating_add(MAX_ARGUMENTS as u32))
            .map(named)
            .collect()
    }

    /// To 3.10: names of the variables of functions around it that a function uses, and the words of a
    /// frame that hold their cells: behind its own variables and the cells of those.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn free_variables(&self, code: u64) -> Result<Vec<(String, u32)>> {
        let Some(at) = self.layout.code.cellvars else {
            return Ok(Vec::new());
        };
        self.expect_code(code)?;
        let locals = self.unsigned(code + self.layout.code.nlocals)?;
        let (_, cells) = self.sequence(self.word(code + at)?, 0)?;
        let first = locals.saturating_add(u32::try_from(cells).unwrap_or(u32::MAX));
        // `co_freevars` is the word before `co_cellvars` (`Include/cpython/code.h`).
        let (free, _) = self.sequence(self.word(code + at - 8)?, MAX_ARGUMENTS)?;
        let named = |(name, word): (u64, u32)| Ok((self.short_text(name)?, word));
        free.into_iter()
            .zip(first..first.saturating_add(MAX_ARGUMENTS as u32))
            .map(named)
            .collect()
    }

    /// From 3.11 on: whether the words of a frame's locals become cells, in their order. For a
    /// frame that runs already: at its entry they are not yet.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn becomes_cells(&self, code: u64) -> Result<Vec<bool>> {
        let Some(at) = self.layout.code.kinds else {
            return Ok(Vec::new());
        };
        self.expect_code(code)?;
        let kinds = self.word(code + at)?;
        let length = self.size(kinds.wrapping_add(OB_SIZE))?;
        if usize::try_from(length).map_or(true, |n| n > MAX_ARGUMENTS) {
            return malformed("code object", code);
        }
        let (kinds, _) = self.bytes_object(kinds, MAX_ARGUMENTS)?;
        Ok(kinds.iter().map(|kind| kind & FAST_CELL != 0).collect())
    }
}
