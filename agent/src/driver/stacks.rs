//! The Python frames that the kernel told, by name: looked up in the memory of the process while it
//! goes on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::stack::{CallPath, Place, RawFrames};
use crate::python::reader::ReadError;
use crate::target::python::Python;

/// How often the interpreter of a process is looked for, and how long apart.
const MOST_LOOKS: u32 = 8;
const APART: Duration = Duration::from_secs(1);
/// Places of a process that are remembered; then they are looked up anew.
const MAX_PLACES: usize = 2048;

/// A place, and what its code object was made of when it was looked up: an address may be used
/// again.
#[derive(Debug)]
struct Known {
    identity: [u64; 2],
    place: Place,
}

/// One process.
#[derive(Debug)]
struct Process {
    python: Option<Python>,
    looks: u32,
    looked: Instant,
    /// By code object and instruction.
    places: HashMap<(u64, u64), Known>,
}

/// The processes whose frames are told.
#[derive(Debug, Default)]
pub struct Stacks {
    processes: HashMap<u32, Process>,
}

impl Stacks {
    /// What these frames of a process stand for. None when it cannot be looked at.
    pub fn resolve(&mut self, pid: u32, frames: &RawFrames<'_>) -> Option<CallPath> {
        let process = self.process(pid);
        process.open(pid)?;
        let mut path = CallPath {
            places: Vec::new(),
            cut: frames.more,
        };
        for (code, instruction) in frames.iter() {
            // Between functions of C and Python there are frames that are no function's.
            if code == 0 {
                continue;
            }
            match process.place(code, instruction) {
                Ok(place) => path.places.push(place),
                Err(error) => {
                    tracing::debug!(pid, "a frame cannot be read: {error}");
                    path.cut = true;
                }
            }
        }
        Some(path)
    }

    /// A process was forked, and may call soon: what is known of its parent holds for it.
    pub fn forked(&mut self, pid: u32, parent: u32) {
        let Some(parent) = self.processes.get(&parent) else {
            return;
        };
        if let Some(Ok(python)) = parent.python.as_ref().map(|python| python.of_fork(pid)) {
            let child = Process {
                python: Some(python),
                looks: 0,
                looked: Instant::now(),
                places: HashMap::new(),
            };
            self.processes.insert(pid, child);
        }
    }

    /// Opens the interpreter of a process of which call paths are told, before the first of them.
    pub fn expect(&mut self, pid: u32) {
        self.process(pid).open(pid);
    }

    fn process(&mut self, pid: u32) -> &mut Process {
        self.processes.entry(pid).or_insert_with(|| Process {
            python: None,
            looks: 0,
            looked: Instant::now(),
            places: HashMap::new(),
        })
    }

    /// A process is gone, or runs another program.
    pub fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }
}

impl Process {
    fn open(&mut self, pid: u32) -> Option<&Python> {
        let may_look = self.looks == 0 || self.looks < MOST_LOOKS && self.looked.elapsed() >= APART;
        if self.python.is_none() && may_look {
            self.looks += 1;
            self.looked = Instant::now();
            match Python::open(pid) {
                Ok(python) => self.python = Some(python),
                Err(error) => tracing::debug!(pid, "its call paths are not told: {error}"),
            }
        }
        self.python.as_ref()
    }

    fn place(&mut self, code: u64, instruction: u64) -> Result<Place, ReadError> {
        let Some(python) = &self.python else {
            return Ok(Place::default());
        };
        let reader = python.reader();
        let identity = reader.code_identity(code)?;
        let key = (code, instruction);
        if let Some(known) = self.places.get(&key)
            && known.identity == identity
        {
            return Ok(known.place.clone());
        }
        let offset = reader.instruction_offset(code, instruction);
        let found = reader.place(code, offset.unwrap_or(0))?;
        let place = Place {
            function: found.function,
            file: found.filename,
            line: found.line,
        };
        if self.places.len() >= MAX_PLACES {
            self.places.clear();
        }
        let known = Known {
            identity,
            place: place.clone(),
        };
        self.places.insert(key, known);
        Ok(place)
    }
}
