//! How it stands with a library whose functions were found by their code: what calls have said of that.
//!
//! Each process is on trial by itself, since what one calls says nothing of what another has mapped; what
//! is shared is that a file was found wrong. The kernel judges the calls (`ebpf/src/guess.rs`) and tells
//! of each place once; here it is put together for the library.

use genspan_common::guess::verdict;

use super::place::TlsPlacements;

/// Most addresses at which a place is remembered: a process maps a library once, a few times at most.
const MOST_ADDRESSES: usize = 8;
/// Files are mapped by the page: within one an offset in the file and an address are the same.
const PAGE: u64 = 4096;

/// What a place is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Read,
    Write,
    Free,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "what reads",
            Self::Write => "what writes",
            Self::Free => "what frees connections",
        }
    }
}

#[derive(Clone, Debug)]
struct Place {
    offset: u64,
    role: Role,
    /// A call there was what it should be.
    seen: bool,
}

/// What follows from what was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing new.
    Nothing,
    /// A read and a write were seen: the functions are what they were taken for.
    Verified,
    /// One of them is something else: why.
    Wrong(String),
}

/// The trial of one library in one process.
#[derive(Clone, Debug)]
pub struct Trial {
    places: Vec<Place>,
    /// Where the kernel may know of its places in the process.
    addresses: Vec<u64>,
    verified: bool,
}

impl Trial {
    /// One of which nothing was heard.
    #[must_use]
    pub fn new(places: &TlsPlacements) -> Self {
        let all = |role, offset| Place {
            offset,
            role,
            seen: false,
        };
        let reads = places.reads.iter().map(|p| all(Role::Read, p.offset));
        let writes = places.writes.iter().map(|p| all(Role::Write, p.offset));
        let free = places.free.into_iter().map(|at| all(Role::Free, at));
        Self {
            places: reads.chain(writes).chain(free).collect(),
            addresses: Vec::new(),
            verified: false,
        }
    }

    /// Whether a probe of this library may be at this address.
    #[must_use]
    pub fn may_have(&self, address: u64) -> bool {
        self.places_at(address).next().is_some()
    }

    /// Whether the address alone says which of its places may be there.
    #[must_use]
    pub fn has_at_most_one(&self, address: u64) -> bool {
        self.places_at(address).nth(1).is_none()
    }

    /// Whether a read and a write were seen to be such.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        self.verified
    }

    /// Where the kernel may know of its places.
    #[must_use]
    pub fn addresses(&self) -> &[u64] {
        &self.addresses
    }

    /// It begins anew: the process runs another program, and has the file elsewhere if at all.
    pub fn restart(&mut self) {
        for place in &mut self.places {
            place.seen = false;
        }
        self.addresses.clear();
        self.verified = false;
    }

    /// The kernel says this of the place at this address: a number of [`verdict`]. `offset` is where in the file that
    /// is, where it is known: two places may lie alike within their pages.
    pub fn hear(&mut self, address: u64, offset: Option<u64>, said: u32) -> Outcome {
        let mut may = self.places_at(address).collect::<Vec<_>>();
        if let Some(offset) = offset {
            may.retain(|at| self.places[*at].offset == offset);
        }
        let Some(at) = may.first().copied() else {
            return Outcome::Nothing;
        };
        if may.len() == 1 {
            self.note(at, address);
        } else if said == verdict::PLAUSIBLE {
            // Which of them was right nobody knows.
            return Outcome::Nothing;
        }
        let role = self.places[at].role;
        if said == verdict::PLAUSIBLE {
            self.places[at].seen = true;
            let seen = |role| self.places.iter().any(|p| p.role == role && p.seen);
            let verified = seen(Role::Read) && seen(Role::Write);
            if std::mem::replace(&mut self.verified, verified) == verified {
                return Outcome::Nothing;
            }
            return Outcome::Verified;
        }
        // One that reads again and again and finds nothing, in a library that was seen to write.
        let others = self.places.iter().any(|p| p.seen);
        let why = match said {
            verdict::NO_CONNECTION => "was called with something that is no connection of it",
            verdict::NO_LENGTH => "was called with something that is no length or no buffer",
            verdict::TOO_MUCH => "returned more than it was asked for",
            verdict::NO_RESULT => "returned what it never returns",
            verdict::SILENT if !others => "was called often, and never moved anything",
            _ => return Outcome::Nothing,
        };
        Outcome::Wrong(format!("{} {why}", role.name()))
    }

    /// The places that may be at an address: mostly one, or none.
    fn places_at(&self, address: u64) -> impl Iterator<Item = usize> {
        let all = self.places.iter().enumerate();
        let same = all.filter(move |(_, p)| p.offset % PAGE == address % PAGE);
        same.map(|(at, _)| at)
    }

    /// Remembers where all places are, by where one of them is: they are in one part of the file, which is mapped
    /// as it lies there.
    fn note(&mut self, at: usize, address: u64) {
        let known = self.places[at].offset;
        let all = self.places.iter();
        let all = all.map(|p| address.wrapping_add(p.offset).wrapping_sub(known));
        for address in all {
            if !self.addresses.contains(&address)
                && self.addresses.len() < MOST_ADDRESSES * self.places.len()
            {
                self.addresses.push(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Trial, verdict};
    use crate::probe::place::{Form, Placement, TlsPlacements};

    const BASE: u64 = 0x7f00_1234_5000;

    fn trial() -> Trial {
        let place = |offset| Placement {
            offset,
            form: Form::Ex,
            emulated: true,
        };
        Trial::new(&TlsPlacements {
            reads: vec![place(0x1_0010)],
            writes: vec![place(0x1_2020)],
            free: Some(0x1_4030),
        })
    }

    fn wrong(outcome: Outcome) -> String {
        match outcome {
            Outcome::Wrong(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_read_and_a_write_verify_it_once() {
        let mut trial = trial();
        let (read, write, free) = (BASE + 0x1_0010, BASE + 0x1_2020, BASE + 0x1_4030);
        assert_eq!(
            trial.hear(write, None, verdict::PLAUSIBLE),
            Outcome::Nothing
        );
        assert_eq!(
            trial.hear(write, None, verdict::PLAUSIBLE),
            Outcome::Nothing
        );
        assert_eq!(trial.hear(free, None, verdict::PLAUSIBLE), Outcome::Nothing);
        assert!(!trial.is_verified());
        assert_eq!(
            trial.hear(read, None, verdict::PLAUSIBLE),
            Outcome::Verified
        );
        assert_eq!(trial.hear(read, None, verdict::PLAUSIBLE), Outcome::Nothing);
        assert!(trial.is_verified());
        // All of them are known by one.
        assert_eq!(trial.addresses(), [read, write, free]);
        trial.restart();
        assert!(!trial.is_verified() && trial.addresses().is_empty());
    }

    #[test]
    fn whatever_is_wrong_is_told_by_name() {
        let write = BASE + 0x1_2020;
        for (said, part) in [
            (verdict::NO_CONNECTION, "no connection"),
            (verdict::NO_LENGTH, "no length"),
            (verdict::TOO_MUCH, "more than it was asked for"),
            (verdict::NO_RESULT, "never returns"),
            (verdict::SILENT, "never moved anything"),
        ] {
            let why = wrong(trial().hear(write, None, said));
            assert!(
                why.starts_with("what writes") && why.contains(part),
                "{why}"
            );
        }
        assert_eq!(trial().hear(write, None, 99), Outcome::Nothing);
        assert_eq!(
            trial().hear(write, None, verdict::REVOKED),
            Outcome::Nothing
        );
        // Another library's, or one that has no such place.
        assert!(!trial().may_have(write + 1));
        let said = trial().hear(write + 1, None, verdict::NO_CONNECTION);
        assert_eq!(said, Outcome::Nothing);
    }

    #[test]
    fn silence_is_nothing_where_others_speak() {
        let mut trial = trial();
        let (read, write) = (BASE + 0x1_0010, BASE + 0x1_2020);
        assert_eq!(
            trial.hear(write, None, verdict::PLAUSIBLE),
            Outcome::Nothing
        );
        assert_eq!(trial.hear(read, None, verdict::SILENT), Outcome::Nothing);
        let why = wrong(trial.hear(read, None, verdict::NO_CONNECTION));
        assert!(why.starts_with("what reads"), "{why}");
    }

    /// Functions may lie alike within their pages: which one spoke then only its offset says.
    #[test]
    fn places_that_lie_alike_in_their_pages_are_told_apart() {
        let place = |offset| Placement {
            offset,
            form: Form::Ex,
            emulated: true,
        };
        let alike = || {
            Trial::new(&TlsPlacements {
                reads: vec![place(0x1_0010)],
                writes: vec![place(0x1_2010)],
                free: Some(0x1_4030),
            })
        };
        let (read, write, free) = (BASE + 0x1_0010, BASE + 0x1_2010, BASE + 0x1_4030);
        assert!(!alike().has_at_most_one(write) && alike().has_at_most_one(free));
        let mut trial = alike();
        let said = trial.hear(write, Some(0x1_2010), verdict::PLAUSIBLE);
        assert_eq!(said, Outcome::Nothing);
        assert_eq!(trial.addresses(), [read, write, free]);
        let said = trial.hear(read, Some(0x1_0010), verdict::PLAUSIBLE);
        assert_eq!(said, Outcome::Verified);
        let why = wrong(alike().hear(write, Some(0x1_2010), verdict::NO_LENGTH));
        assert!(why.starts_with("what writes"), "{why}");
        // Of a process that is gone: what is right is nobody's, and what is wrong is one of theirs.
        let mut trial = alike();
        assert_eq!(
            trial.hear(write, None, verdict::PLAUSIBLE),
            Outcome::Nothing
        );
        assert!(trial.addresses().is_empty());
        wrong(trial.hear(write, None, verdict::NO_LENGTH));
        // Another file's.
        let said = alike().hear(write, Some(0x9_2010), verdict::NO_LENGTH);
        assert_eq!(said, Outcome::Nothing);
    }

    #[test]
    fn addresses_are_bounded() {
        let mut trial = trial();
        for n in 0..1000 {
            trial.hear(BASE + n * 4096 * 64 + 0x1_0010, None, verdict::PLAUSIBLE);
        }
        assert_eq!(trial.addresses().len(), 8 * 3);
    }
}
