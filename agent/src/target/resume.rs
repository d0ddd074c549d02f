//! The interpreter's code for the instruction by which Python functions begin, from 3.11 on, in a process:
//! the opcodes of each version, where its table is to be looked for, where in a function the instruction is.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use genspan_common::function::{IN_CELL, Watch, what};
use genspan_common::resume::Resumed;
use object::read::ReadCache;
use thiserror::Error;

use super::functions::{CannotWatch, Wants, Watchable};
use super::interpreter::{self, Facts};
use super::maps::Maps;
use super::process::ProcessError;
use super::python::Python;
use super::tls::give_back;
use crate::probe::elf::Image;
use crate::probe::resume::{self, Data, Found, NotFound, Wanted};
use crate::python::memory::Memory as _;
use crate::python::reader::ReadError;
use crate::python::version::Version;

/// Most bytes of data that are looked through for the table.
const MAX_DATA: u64 = 64 << 20;
/// Most instructions before `RESUME`: those that make cells.
const MAX_PREFIX: u64 = 512;
/// In an object: its type.
const TYPE: u64 = 8;

/// Why functions are not seen where the interpreter runs `RESUME`.
#[derive(Debug, Error)]
pub enum NoResume {
    /// There is no such instruction.
    #[error(
        "Python {0} has no instruction `RESUME` (it came with 3.11; up to 3.10 --function-probe interpreter \
         sees functions)"
    )]
    TooOld(String),
    /// The process cannot be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its memory did not say.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its file cannot be read.
    #[error("the file of the interpreter cannot be read: {}", .0.display())]
    Unreadable(PathBuf),
    /// The code is not found.
    #[error("the interpreter's code for `RESUME` is not found in {}: {why}", path.display())]
    NotFound {
        /// The file, as the process sees it.
        path: PathBuf,
        /// Why.
        why: NotFound,
    },
    /// The function does not have it.
    #[error("the bytecode of `{0}` has no `RESUME` at its beginning, or somebody traces it")]
    NoBeginning(String),
    /// What the kernel is to be told is not known.
    #[error(transparent)]
    Layout(#[from] CannotWatch),
}

/// Where probes go in a process, and what the programs are told of it.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The file, as we reach it.
    pub reach: PathBuf,
    /// What is in it, where.
    pub found: Arc<Found>,
    /// What the programs are told.
    pub told: Resumed,
}

/// What of a version is looked for (`Include/opcode.h`, `Include/opcode_ids.h`).
struct Opcodes {
    wanted: Wanted,
    /// The least that stands for another one while somebody traces.
    instrumented: u8,
}

fn opcodes(version: Version, instruction: u32, code: u32) -> Option<Opcodes> {
    // `RESUME`, and `RESUME_QUICK` (3.11), `INSTRUMENTED_RESUME` (3.12), `RESUME_CHECK` and that (later);
    // `RETURN_VALUE`; in a frame `frame_obj` (`Include/internal/pycore_frame.h`); in a code object
    // `co_warmup` (3.11), `_co_instrumentation_version` (`Include/cpython/code.h`).
    let (resume, returns, object, marked, instrumented): (&'static [u8], _, _, _, _) = match version
    {
        Version::V3_8 | Version::V3_9 | Version::V3_10 => return None,
        Version::V3_11 => (&[151, 150], 83, 40, 0x34, 255),
        Version::V3_12 => (&[151, 240], 83, 48, 0xa0, 237),
        Version::V3_13 => (&[149, 207, 236], 36, 48, 0xa8, 236),
        Version::V3_14 => (&[128, 196, 245], 35, 48, 0xa8, 234),
    };
    Some(Opcodes {
        wanted: Wanted {
            resume,
            returns,
            instruction,
            code,
            object,
            runs: version == Version::V3_11,
            marked,
        },
        instrumented,
    })
}

/// What was found in a file, once it was looked for.
pub(super) type Remembered = Mutex<Option<Result<Arc<Found>, NotFound>>>;

/// Where the probes go that see each function of a process begin and end.
///
/// # Errors
///
/// When they cannot be there, or would not see them.
pub fn hook(python: &Python, pid: u32, root: u32, wants: Wants) -> Result<Hook, NoResume> {
    let layout = super::functions::process(python, root, wants)?.python;
    let version = python.fit.layout.version;
    let opcodes = opcodes(version, layout.frame_instruction, layout.frame_code)
        .ok_or_else(|| NoResume::TooOld(python.version()))?;
    let maps = Maps::read(pid)?;
    let files = maps.files();
    let file = files.into_iter().find(|file| file.path == python.file);
    let file = file.ok_or_else(|| NoResume::Unreadable(python.file.clone()))?;
    let unreadable = || NoResume::Unreadable(file.path.clone());
    let facts = interpreter::of(&file.reach).ok_or_else(unreadable)?;
    let bias = maps.all().filter(|map| map.id == file.id).find_map(|map| {
        let address = facts.address(map.offset)?;
        Some(map.start.wrapping_sub(address))
    });
    let bias = bias.ok_or_else(unreadable)?;
    let found = remembered(&facts, &file.reach, (python, bias), &opcodes.wanted);
    let found = found.ok_or_else(unreadable)?;
    let found = found.map_err(|why| NoResume::NotFound {
        path: file.path.clone(),
        why,
    })?;
    let mut packed = [0; 4];
    for (to, from) in packed.iter_mut().zip(opcodes.wanted.resume) {
        *to = *from;
    }
    Ok(Hook {
        reach: file.reach,
        told: Resumed {
            root,
            register: found.register,
            argument: found.argument,
            frame_code: layout.frame_code,
            frame_instruction: layout.frame_instruction,
            tag: layout.tag,
            opcodes: u32::from_le_bytes(packed),
            instrumented: u32::from(opcodes.instrumented),
            generators: u32::from(wants.generators),
            refused: 0,
            code_type: 0,
            entered: 0,
            cleared: 0,
        },
        found,
    })
}

/// What is in a file, looked for once; none when that cannot be read.
fn remembered(
    facts: &Facts,
    reach: &Path,
    (python, bias): (&Python, u64),
    wanted: &Wanted,
) -> Option<Result<Arc<Found>, NotFound>> {
    let mut known = facts.resume.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.as_ref() {
        return Some(known.clone());
    }
    let cache = ReadCache::new(File::open(reach).ok()?);
    let image = Image::parse(&cache).ok()?;
    let data = data(&image, python, bias);
    let found = resume::find(&image, &data, wanted).map(Arc::new);
    drop(image);
    drop(cache);
    drop(data);
    give_back();
    *known = Some(found.clone());
    Some(found)
}

/// What is not code: what is read only from the file, so that the process has no more of it in its memory
/// for it; what is written by the dynamic linker from the process.
fn data<'d, R: object::ReadRef<'d>>(image: &Image<'d, R>, python: &Python, bias: u64) -> Vec<Data> {
    let read_only = image.read_only().unwrap_or_default();
    let read_only = read_only.iter().filter(|segment| !segment.executable);
    let mut all: Vec<_> = read_only
        .map(|segment| Data {
            address: segment.address,
            bytes: segment.bytes.to_vec(),
        })
        .collect();
    let mut left = MAX_DATA;
    for load in image.loads_written() {
        let start = load.address.next_multiple_of(8);
        let len = load.len.saturating_sub(start - load.address) & !7;
        let Some(rest) = left.checked_sub(len) else {
            break;
        };
        left = rest;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        if python
            .memory
            .read(start.wrapping_add(bias), &mut bytes)
            .is_ok()
        {
            // What the linker wrote is where things are in this process.
            for word in bytes.chunks_exact_mut(8) {
                let address = word.try_into().map_or(0, u64::from_le_bytes);
                word.copy_from_slice(&address.wrapping_sub(bias).to_le_bytes());
            }
            all.push(Data {
                address: start,
                bytes,
            });
        }
    }
    all
}

/// What the kernel is told of a function that is to be seen so: the address of its `RESUME`, and what is
/// there. `function` is the agent's number of it; `code_type` gets the type of code objects.
///
/// # Errors
///
/// When it is not known where that is.
pub fn watch(
    python: &Python,
    (function, id): (&Watchable, u32),
    told: &mut Resumed,
) -> Result<(u64, Watch), NoResume> {
    let reader = python.reader();
    let code = function.code.address;
    told.code_type = reader.word(code.wrapping_add(TYPE))?;
    let opcodes = told.opcodes.to_le_bytes();
    let is_resume = |opcode: u8| opcode != 0 && opcodes.contains(&opcode);
    let mut place = None;
    for index in 0..MAX_PREFIX {
        let at = function.entry.wrapping_add(2 * index);
        // Two bytes of four that can be read: the bytecode goes on.
        let [opcode, argument, ..] = reader.int(at)?.to_le_bytes();
        // Later ones, behind a `yield`, say so in the lowest bits.
        if is_resume(opcode) && argument & 3 == 0 {
            place = Some(at);
            break;
        }
    }
    let name = || function.code.qualname.clone().unwrap_or_default();
    let place = place.ok_or_else(|| NoResume::NoBeginning(name()))?;
    // Cells are made before.
    let cells = reader.becomes_cells(code)?;
    let mut watch = function.watch(id, what::FRAME);
    for slot in &mut watch.slots {
        if cells.get(slot.slot as usize) == Some(&true) {
            slot.cell = IN_CELL;
        }
    }
    Ok((place, watch))
}

/// Where it is, for those who ask whether there is such a place.
///
/// # Errors
///
/// When there is none.
pub fn place(python: &Python, pid: u32) -> Result<Hook, NoResume> {
    hook(python, pid, pid, Wants::default())
}
