//! What of a file the search for functions goes through: its strings, what refers to them, and its
//! unwind table.

use std::ops::Range;

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EhFrameOffset, FrameDescriptionEntry,
    LittleEndian, ParsedEhFrameHdr, ReaderOffset, Register, RegisterRule, UnwindContext,
    UnwindContextStorage, UnwindSection, UnwindTableRow, X86_64,
};
use memchr::memmem::Finder;
use object::ReadRef;

use super::NotFound;
use crate::probe::elf::{Image, Segment};

/// Most places where a string stands, and most references to strings or functions, that are
/// followed. Of a file with more nothing is taken: which function is the only one would be unknown.
const MOST_STRINGS: usize = 64;
const MOST_REFERENCES: usize = 4096;
/// Longest name of a source file, its folders included.
const LONGEST_NAME: usize = 512;

/// How the unwind table's header begins in whatever linkers write (Linux Standard Base, 10.6.2): version 1;
/// the section relative to here, the number of entries, and entries relative to the table, each in 32
/// bits. With others gimli's arithmetic could overflow.
const USUAL: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

type Bytes<'d> = gimli::EndianSlice<'d, LittleEndian>;

/// Where the stack is when a function is entered, above the stack pointer: behind the address that it returns to.
const RETURN_ADDRESS: i64 = 8;

/// Room to follow the unwind table for one address: as many rules as compilers have, and no more.
struct Rules;

impl<T: ReaderOffset> UnwindContextStorage<T> for Rules {
    type Rules = [(Register, RegisterRule<T>); 32];
    type Stack = [UnwindTableRow<T, Self>; 2];
}

/// The read-only part of a file, as it lies in memory.
pub(super) struct Layout<'d> {
    segments: Vec<Segment<'d>>,
    /// Code may have addresses as numbers.
    fixed: bool,
    header: ParsedEhFrameHdr<Bytes<'d>>,
    frames: EhFrame<Bytes<'d>>,
    /// Where they are.
    frames_at: u64,
    bases: BaseAddresses,
}

impl<'d> Layout<'d> {
    /// Of this file, with its read-only segments.
    ///
    /// # Errors
    ///
    /// When it has no unwind table.
    pub(super) fn new<R: ReadRef<'d>>(
        image: &Image<'d, R>,
        segments: Vec<Segment<'d>>,
    ) -> Result<Self, NotFound> {
        let table = || {
            let at = image.unwind_table()?;
            let from = |address: u64| {
                let segment = segments.iter().find(|s| s.contains(address))?;
                segment
                    .bytes
                    .get(usize::try_from(address - segment.address).ok()?..)
            };
            let bases = BaseAddresses::default().set_eh_frame_hdr(at);
            let bytes = from(at)?;
            if !bytes.starts_with(&USUAL) {
                return None;
            }
            let header = EhFrameHdr::new(bytes, LittleEndian);
            let header = header.parse(&bases, 8).ok()?;
            header.table()?;
            let gimli::Pointer::Direct(start) = header.eh_frame_ptr() else {
                return None;
            };
            let frames = EhFrame::new(from(start)?, LittleEndian);
            Some((header, frames, start, bases.set_eh_frame(start)))
        };
        let (header, frames, frames_at, bases) = table().ok_or(NotFound::NoUnwindTable)?;
        Ok(Self {
            segments,
            fixed: image.is_fixed(),
            header,
            frames,
            frames_at,
            bases,
        })
    }

    /// Addresses where `text` stands.
    pub(super) fn strings(&self, text: &[u8]) -> Result<Vec<u64>, NotFound> {
        let finder = Finder::new(text);
        let found = self.segments.iter().flat_map(|s| {
            let all = finder.find_iter(s.bytes);
            all.map(|at| s.address + at as u64)
        });
        all_of(found, MOST_STRINGS, "strings")
    }

    /// Addresses of the strings that end with `text`, which has the zero behind it.
    pub(super) fn strings_ending(&self, text: &[u8]) -> Result<Vec<u64>, NotFound> {
        let finder = Finder::new(text);
        let found = self.segments.iter().flat_map(|s| {
            finder.find_iter(s.bytes).map(|at| {
                let before = &s.bytes[at.saturating_sub(LONGEST_NAME)..at];
                let path = before
                    .iter()
                    .rev()
                    .take_while(|b| (b' '..=b'~').contains(b));
                s.address + (at - path.count()) as u64
            })
        });
        all_of(found, MOST_STRINGS, "strings")
    }

    /// Where code takes one of these addresses: by `lea` relative to the instruction, or, where the
    /// file has a fixed address, by `mov` of a constant.
    pub(super) fn references(&self, addresses: &[u64]) -> Result<Vec<u64>, NotFound> {
        let code = || self.segments.iter().filter(|s| s.executable);
        let relative = code().flat_map(|s| {
            let all = memchr::memchr_iter(0x8d, s.bytes);
            all.filter_map(move |at| {
                let from = at.checked_sub(1)?;
                let [rex, _, mode, d @ ..] = *s.bytes.get(from..)?.first_chunk::<7>()?;
                // REX.W, and ModRM for an address relative to the next instruction.
                if rex & 0xfb != 0x48 || mode & 0xc7 != 0x05 {
                    return None;
                }
                let next = s.address + from as u64 + 7;
                let target = next.wrapping_add_signed(i64::from(i32::from_le_bytes(d)));
                addresses.contains(&target).then(|| next - 7)
            })
        });
        let small = |a: &u64| u32::try_from(*a).ok();
        let mut numbers: Vec<u32> = Vec::new();
        if self.fixed {
            numbers.extend(addresses.iter().filter_map(small));
        }
        let lowest = numbers.iter().copied().min().unwrap_or(u32::MAX);
        let highest = numbers.iter().copied().max().unwrap_or(0);
        let fixed = code().filter(|_| self.fixed).flat_map(|s| {
            s.bytes.windows(5).enumerate().filter_map(|(at, window)| {
                let [opcode, number @ ..] = *window.first_chunk::<5>()?;
                let number = u32::from_le_bytes(number);
                // `mov` of a number into a register of 32 bits.
                let moves = opcode & 0xf8 == 0xb8 && (lowest..=highest).contains(&number);
                (moves && numbers.contains(&number)).then_some(s.address + at as u64)
            })
        });
        all_of(relative.chain(fixed), MOST_REFERENCES, "references")
    }

    /// The functions that call this one, or jump to it.
    pub(super) fn callers(&self, function: u64) -> Result<Vec<u64>, NotFound> {
        let code = self.segments.iter().filter(|s| s.executable);
        let found = code.flat_map(|s| {
            memchr::memchr2_iter(0xe8, 0xe9, s.bytes).filter_map(move |at| {
                let [_, d @ ..] = *s.bytes.get(at..)?.first_chunk::<5>()?;
                let next = s.address + at as u64 + 5;
                let target = next.wrapping_add_signed(i64::from(i32::from_le_bytes(d)));
                (target == function).then_some(next - 5)
            })
        });
        let found = all_of(found, MOST_REFERENCES, "references")?;
        Ok(self.functions_at(&found))
    }

    /// The beginnings of the functions in which these addresses lie, each once.
    pub(super) fn functions_at(&self, addresses: &[u64]) -> Vec<u64> {
        let starts = addresses
            .iter()
            .filter_map(|a| Some(self.function_at(*a)?.0));
        let mut all: Vec<u64> = starts.collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Beginning and end of the function, or part of one, in which this address lies.
    pub(super) fn function_at(&self, address: u64) -> Option<(u64, u64)> {
        let fde = self.entry_of(address)?;
        let start = fde.initial_address();
        let end = start.checked_add(fde.len())?;
        (start..end).contains(&address).then_some((start, end))
    }

    /// Whether a function is entered here: the unwind table has one that begins here, and nothing on the stack above the
    /// address that it returns to. What the compiler laid apart has an entry of its own in the table, but more on the
    /// stack; a probe of a return there would take something else for that address.
    pub(super) fn is_entered_at(&self, address: u64) -> bool {
        let row = || {
            let fde = self.entry_of(address)?;
            let mut context = UnwindContext::<usize, Rules>::new_in();
            let row = fde
                .unwind_info_for_address(&self.frames, &self.bases, &mut context, address)
                .ok()?;
            let stack = CfaRule::RegisterAndOffset {
                register: X86_64::RSP,
                offset: RETURN_ADDRESS,
            };
            Some(fde.initial_address() == address && *row.cfa() == stack)
        };
        row().unwrap_or(false)
    }

    /// Where a string lies that begins at this address, its end included.
    pub(super) fn string(&self, address: u64) -> Option<Range<u64>> {
        let segment = self.segments.iter().find(|s| s.contains(address))?;
        let from = usize::try_from(address - segment.address).ok()?;
        let length = memchr::memchr(0, segment.bytes.get(from..)?)?;
        Some(address..address + length as u64 + 1)
    }

    /// The entry of the unwind table that is nearest to this address.
    fn entry_of(&self, address: u64) -> Option<FrameDescriptionEntry<Bytes<'d>>> {
        let found = self.header.table()?.lookup(address, &self.bases).ok()?;
        // Not by gimli's own way from the table to the entry: it takes for granted that entries lie
        // behind the beginning of their section.
        let offset = found.direct().ok()?.checked_sub(self.frames_at)?;
        let offset = EhFrameOffset(usize::try_from(offset).ok()?);
        let cie = EhFrame::cie_from_offset;
        let frames = &self.frames;
        frames.fde_from_offset(&self.bases, offset, cie).ok()
    }

    /// The code between two addresses.
    pub(super) fn code(&self, start: u64, end: u64) -> &'d [u8] {
        let code = || {
            let mut segments = self.segments.iter().filter(|s| s.executable);
            let segment = segments.find(|s| s.contains(start))?;
            let from = usize::try_from(start - segment.address).ok()?;
            let to = usize::try_from(end.checked_sub(segment.address)?).ok()?;
            segment.bytes.get(from..to.min(segment.bytes.len()))
        };
        code().unwrap_or_default()
    }
}

/// All, unless they are more than that many.
pub(super) fn all_of(
    found: impl Iterator<Item = u64>,
    most: usize,
    what: &'static str,
) -> Result<Vec<u64>, NotFound> {
    let all: Vec<u64> = found.take(most + 1).collect();
    if all.len() > most {
        return Err(NotFound::TooMany(what));
    }
    Ok(all)
}
