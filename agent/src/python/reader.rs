//! Reading structures of one process within a budget: every step can fail, and all of it ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use thiserror::Error;

use super::layout::Layout;
use super::memory::{Memory, Unreadable};
use super::object::Type;

/// What one read costs of a budget besides its bytes: about what the system call takes, in the
/// time of copied bytes.
pub const READ_COST: u64 = 64;

/// A budget for one question about values: a few megabytes of another process's memory.
pub const QUESTION_BUDGET: u64 = 8 << 20;

/// A budget for looking through all modules, with their functions.
pub const LISTING_BUDGET: u64 = 256 << 20;

/// Most bytes of one read; what wants more is not what it is taken for.
pub const MAX_READ: usize = 4 << 20;

/// Most types that one reader remembers.
const MAX_TYPES: usize = 4096;

/// Why something could not be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// The memory is not there.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// What is there is not what it should be: a torn read, or a wrong layout.
    #[error("no {what} at {address:#x}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// Where.
        address: u64,
    },
    /// The budget is used up.
    #[error("stopped: reading this takes more than it may")]
    Budget,
}

/// Shorthand of this module's results.
pub type Result<T> = std::result::Result<T, ReadError>;

/// `what` is not at `address`.
pub(super) fn malformed<T>(what: &'static str, address: u64) -> Result<T> {
    Err(ReadError::Malformed { what, address })
}

/// Reads one process's objects. For one question: what it remembers of types may be stale later.
pub struct Reader<'a> {
    memory: &'a dyn Memory,
    /// Where things are.
    pub layout: &'a Layout,
    left: Cell<u64>,
    types: RefCell<HashMap<u64, Rc<Type>>>,
    /// Where types and the names of attributes are read, when the memory is a copy of some objects.
    lasting: Option<&'a Reader<'a>>,
    /// What other readers of the process have learned of its types.
    learned: Option<&'a Types>,
}

/// Types of a process that several readers have met: each is looked at again before it is believed.
#[derive(Clone, Debug, Default)]
pub struct Types(RefCell<HashMap<u64, (TypeStamp, Rc<Type>)>>);

/// What tells that a type is still the one that it was: words of its head.
pub(super) type TypeStamp = [u64; 6];

impl<'a> Reader<'a> {
    /// A reader that may spend so much: a byte each, and [`READ_COST`] for every read.
    #[must_use]
    pub fn new(memory: &'a dyn Memory, layout: &'a Layout, budget: u64) -> Self {
        Self {
            memory,
            layout,
            left: Cell::new(budget),
            types: RefCell::default(),
            lasting: None,
            learned: None,
        }
    }

    /// The same, which keeps in `learned` what it finds out of types, and believes what is there.
    #[must_use]
    pub const fn learning(mut self, learned: &'a Types) -> Self {
        self.learned = Some(learned);
        self
    }

    /// The same of a copy of some objects, which reads from `lasting`, the process itself, what lives
    /// longer than they: types, functions, modules, and the names that the instances of a class share.
    #[must_use]
    pub const fn of_copies(mut self, lasting: &'a Reader<'a>) -> Self {
        self.lasting = Some(lasting);
        self
    }

    /// Who reads what lives long.
    pub(super) fn lasting(&self) -> &Reader<'a> {
        self.lasting.unwrap_or(self)
    }

    /// Who reads the name of an attribute: of a copied one this, of one that instances share who
    /// reads what lives long.
    pub(super) fn of_name(&self, address: u64) -> &Reader<'a> {
        if self.memory.holds(address) {
            self
        } else {
            self.lasting()
        }
    }

    /// Whether the object at this address can be looked at.
    pub(super) fn holds(&self, address: u64) -> bool {
        self.memory.holds(address)
    }

    /// How many of so many things, each of so many bytes, can be read from `address` on.
    pub(super) fn available(&self, address: u64, count: usize, size: usize) -> usize {
        let wanted = count.saturating_mul(size);
        self.memory.available(address, wanted) / size.max(1)
    }

    /// What is left of the budget.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.get()
    }

    /// Fills `into`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or the budget is used up.
    pub fn fill(&self, address: u64, into: &mut [u8]) -> Result<()> {
        let cost = READ_COST + into.len() as u64;
        let left = self.left.get().checked_sub(cost).ok_or(ReadError::Budget)?;
        self.left.set(left);
        // Never mapped for a user; also keeps the sums of addresses from running over.
        if address == 0 || address >= 1 << 56 {
            let bytes = into.len();
            return Err(Unreadable { address, bytes }.into());
        }
        Ok(self.memory.read(address, into)?)
    }

    /// So many bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::fill`], and when it is more than [`MAX_READ`].
    pub fn bytes(&self, address: u64, len: usize) -> Result<Vec<u8>> {
        if len > MAX_READ {
            return malformed("structure of a believable size", address);
        }
        // Not before the budget allows it: the allocation is part of the cost.
        if (len as u64) > self.left.get() {
            return Err(ReadError::Budget);
        }
        let mut bytes = vec![0; len];
        self.fill(address, &mut bytes)?;
        Ok(bytes)
    }

    /// An array of fixed length.
    ///
    /// # Errors
    ///
    /// As [`Self::fill`].
    pub fn array<const N: usize>(&self, address: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(address, &mut bytes)?;
        Ok(bytes)
    }

    /// A word.
    ///
    /// # Errors
    ///
    /// As [`Self::fill`].
    pub fn word(&self, address: u64) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(address)?))
    }

    /// Several words in a row.
    ///
    /// # Errors
    ///
    /// As [`Self::bytes`].
    pub fn words(&self, address: u64, count: usize) -> Result<Vec<u64>> {
        let bytes = self.bytes(address, count.saturating_mul(8))?;
        Ok(words_of(&bytes))
    }

    /// A C `int`.
    ///
    /// # Errors
    ///
    /// As [`Self::fill`].
    pub fn int(&self, address: u64) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array(address)?))
    }

    /// A `Py_ssize_t`.
    ///
    /// # Errors
    ///
    /// As [`Self::fill`].
    pub fn size(&self, address: u64) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array(address)?))
    }

    /// A count that must be from zero to `most`.
    ///
    /// # Errors
    ///
    /// When it is not, and as [`Self::fill`].
    pub fn count(&self, address: u64, most: usize, what: &'static str) -> Result<usize> {
        match usize::try_from(self.size(address)?) {
            Ok(count) if count <= most => Ok(count),
            _ => malformed(what, address),
        }
    }

    /// The type at this address, if this reader has met it.
    pub(super) fn known_type(&self, address: u64) -> Option<Rc<Type>> {
        self.types.borrow().get(&address).cloned()
    }

    /// What was learned of the type at this address, if it is still that.
    pub(super) fn learned_type(&self, address: u64, stamp: TypeStamp) -> Option<Rc<Type>> {
        let learned = self.learned?.0.borrow();
        let (same, found) = learned.get(&address)?;
        (*same == stamp).then(|| Rc::clone(found))
    }

    /// What was learned of the type at this address, which cannot be read any more: the process is
    /// gone, so nothing else is there.
    pub(super) fn last_type(&self, address: u64) -> Option<Rc<Type>> {
        let learned = self.learned?.0.borrow();
        learned.get(&address).map(|(_, found)| Rc::clone(found))
    }

    /// Keeps what was learned of a type.
    pub(super) fn learn_type(&self, found: &Rc<Type>, stamp: TypeStamp) {
        if let Some(learned) = self.learned {
            let mut learned = learned.0.borrow_mut();
            if learned.len() >= MAX_TYPES {
                learned.clear();
            }
            learned.insert(found.address, (stamp, Rc::clone(found)));
        }
    }

    /// Remembers a type.
    pub(super) fn remember_type(&self, found: Rc<Type>) {
        let mut types = self.types.borrow_mut();
        if types.len() < MAX_TYPES {
            types.insert(found.address, found);
        }
    }
}

/// The words of these bytes; what is left over at the end is left out.
pub(super) fn words_of(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks_exact(8)
        .map(|chunk| chunk.try_into().map_or(0, u64::from_le_bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::layout::Layout;
    use super::super::memory::Image;
    use super::super::version::Version;
    use super::{MAX_READ, READ_COST, ReadError, Reader};

    #[test]
    fn reads_end_with_the_budget() {
        let mut image = Image::new();
        image.put_words(0x1000, &[1, 2, 3]);
        let layout = Layout::table(Version::V3_12);
        let reader = Reader::new(&image, layout, 2 * (READ_COST + 8));
        assert_eq!(reader.word(0x1008), Ok(2));
        assert_eq!(reader.word(0x1010), Ok(3));
        assert_eq!(reader.word(0x1010), Err(ReadError::Budget));
        assert_eq!(reader.bytes(0x1000, 100), Err(ReadError::Budget));
    }

    #[test]
    fn nothing_is_allocated_for_a_size_that_cannot_be() {
        let image = Image::new();
        let reader = Reader::new(&image, Layout::table(Version::V3_12), u64::MAX);
        assert!(matches!(
            reader.bytes(0x1000, MAX_READ + 1),
            Err(ReadError::Malformed { .. })
        ));
        for address in [0, 1 << 56, u64::MAX] {
            let error = reader.word(address);
            assert!(matches!(error, Err(ReadError::Unreadable(_))), "{address}");
        }
    }
}
