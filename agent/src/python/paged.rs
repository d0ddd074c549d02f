//! Memory of another process by whole pages, each read once: objects that are looked at together lie
//! together, and a system call for each of their words costs more than all that is copied.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::memory::{Memory, Unreadable};

/// What the memory is cut into. The kernel maps nothing smaller, so that where one byte of it can be
/// read all of it can.
pub const PAGE: usize = 4096;

/// Most pages that are kept. What is read beyond them is read as it is asked for.
pub const MAX_PAGES: usize = 2048;

/// Memory that keeps what was read of it, until it goes itself: for one look at a process, which goes on
/// meanwhile.
///
/// All that was read of a page is of one moment; two pages are of two. Where the memory beneath has no
/// whole page it is read exactly, so that nothing is missed which could be read without this.
pub struct Paged<'a> {
    memory: &'a dyn Memory,
    /// By address; `None` where there is no whole page.
    pages: RefCell<HashMap<u64, Option<Box<[u8; PAGE]>>>>,
    reads: Cell<u64>,
}

impl<'a> Paged<'a> {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new(memory: &'a dyn Memory) -> Self {
        Self {
            memory,
            pages: RefCell::default(),
            reads: Cell::new(0),
        }
    }

    /// How often the memory beneath was read.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Fills `into` from `from` on in the page at this address; false when there is no such page, or no
    /// room for it.
    fn copy(&self, page: u64, from: usize, into: &mut [u8]) -> bool {
        let mut pages = self.pages.borrow_mut();
        if !pages.contains_key(&page) {
            if pages.len() >= MAX_PAGES {
                return false;
            }
            let mut bytes = Box::new([0; PAGE]);
            self.reads.set(self.reads.get() + 1);
            let read = self.memory.read(page, bytes.as_mut_slice());
            pages.insert(page, read.is_ok().then_some(bytes));
        }
        let bytes = pages.get(&page).and_then(Option::as_ref);
        let Some(bytes) = bytes.and_then(|bytes| bytes.get(from..from + into.len())) else {
            return false;
        };
        into.copy_from_slice(bytes);
        true
    }
}

impl Memory for Paged<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let exactly = |into: &mut [u8]| {
            self.reads.set(self.reads.get() + 1);
            self.memory.read(address, into)
        };
        // What is larger than a page is a table, which is read in one go.
        if into.len() > PAGE || address.checked_add(PAGE as u64).is_none() {
            return exactly(into);
        }
        let from = (address % PAGE as u64) as usize;
        let page = address - from as u64;
        let (first, rest) = into.split_at_mut(into.len().min(PAGE - from));
        let whole = self.copy(page, from, first)
            && (rest.is_empty() || self.copy(page + PAGE as u64, 0, rest));
        if whole { Ok(()) } else { exactly(into) }
    }
}

impl std::fmt::Debug for Paged<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paged")
            .field("pages", &self.pages.borrow().len())
            .field("reads", &self.reads)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_PAGES, PAGE, Paged};
    use crate::python::memory::{Image, Memory as _};

    /// Pages from the one at 0x10000 on, of bytes that tell where they are, and half of another one.
    fn image(pages: usize) -> Image {
        let bytes = pages * PAGE + PAGE / 2;
        let mut image = Image::new();
        image.put(
            0x10000,
            (0..bytes).map(|i| (i % 251) as u8).collect::<Vec<_>>(),
        );
        image
    }

    #[test]
    fn it_reads_what_the_memory_beneath_reads() {
        let image = image(3);
        let end = 0x10000 + 3 * PAGE as u64 + PAGE as u64 / 2;
        for len in [0, 1, 8, 40, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE] {
            let paged = Paged::new(&image);
            for address in (0xff00..end + 64)
                .step_by(31)
                .chain([u64::MAX - 3, u64::MAX])
            {
                let (mut want, mut got) = (vec![0; len], vec![0; len]);
                let wanted = image.read(address, &mut want);
                assert_eq!(paged.read(address, &mut got), wanted, "{address:#x} {len}");
                if wanted.is_ok() {
                    assert_eq!(got, want, "{address:#x} {len}");
                }
            }
        }
    }

    #[test]
    fn a_page_is_read_once_and_as_it_was_then() {
        let mut image = image(2);
        let mut word = [0; 8];
        let paged = Paged::new(&image);
        for address in (0x10000..0x12000 - 8).step_by(4) {
            assert_eq!(paged.read(address, &mut word), Ok(()));
        }
        assert_eq!(paged.reads(), 2);
        // The page with an end in it is tried once, and then each word is read by itself.
        assert_eq!(paged.read(0x12000, &mut word), Ok(()));
        assert_eq!(paged.read(0x12008, &mut word), Ok(()));
        assert_eq!(paged.reads(), 5);
        let before = word;
        assert!(image.change(0x12008, &[0xff; 8]));
        let anew = Paged::new(&image);
        assert_eq!(anew.read(0x12008, &mut word), Ok(()));
        assert!(word == [0xff; 8] && word != before);
    }

    #[test]
    fn it_has_an_end() {
        let image = image(MAX_PAGES + 8);
        let paged = Paged::new(&image);
        let mut word = [0; 8];
        for page in 0..MAX_PAGES as u64 + 8 {
            assert_eq!(paged.read(0x10000 + page * PAGE as u64, &mut word), Ok(()));
        }
        assert_eq!(paged.pages.borrow().len(), MAX_PAGES);
        // Beyond it every read is one of the memory beneath; those before are kept.
        let reads = paged.reads();
        assert_eq!(paged.read(0x10008, &mut word), Ok(()));
        assert_eq!(paged.reads(), reads);
        let last = 0x10000 + (MAX_PAGES as u64 + 7) * PAGE as u64;
        assert_eq!(paged.read(last, &mut word), Ok(()));
        assert_eq!(paged.reads(), reads + 1);
    }
}
