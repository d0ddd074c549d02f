//! Keeping our own memory small.

use procfs::process::{MMPermissions, MMapPath, Process};

use crate::target::tls::give_back;

/// Gives back the pages that only the start needed: code and constants of argument parsing, ELF and
/// BTF reading, loading, and the linker of libraries; and `object`, which was loaded. They stay in the page
/// cache and come again when they are needed.
pub fn forget_start(object: &'static [u8]) {
    forget_bytes(object);
    give_back();
    let Ok(process) = Process::myself() else {
        return;
    };
    let Ok(maps) = process.smaps() else {
        return;
    };
    let constants = MMPermissions::READ | MMPermissions::PRIVATE;
    let code = constants | MMPermissions::EXECUTE;
    for map in maps {
        let of_file = matches!(&map.pathname, MMapPath::Path(_));
        let (start, end) = map.address;
        let (Ok(at), Ok(len)) = (usize::try_from(start), usize::try_from(end - start)) else {
            continue;
        };
        // What the dynamic linker wrote to and then closed is readable alone, too: it has pages that
        // are no file's.
        let written = map.extension.map.get("Anonymous").is_none_or(|n| *n > 0);
        if of_file && !written && (map.perms == code || map.perms == constants) {
            // SAFETY: a private mapping of code or constants of our executable or of a library, as the system
            // made it. It was never written, and cannot be (not writable), so what is dropped is read
            // from the file again on the next access.
            unsafe {
                libc::madvise(
                    std::ptr::without_provenance_mut(at),
                    len,
                    libc::MADV_DONTNEED,
                )
            };
        }
    }
}

/// Gives back the whole pages of bytes that are part of the executable.
fn forget_bytes(bytes: &'static [u8]) {
    // SAFETY: no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Ok(page) = usize::try_from(page) else {
        return;
    };
    let at = bytes.as_ptr().addr();
    let first = at.next_multiple_of(page);
    let end = (at + bytes.len()) / page * page;
    if first < end {
        // SAFETY: these pages hold nothing but constant bytes without pointers, so the system never
        // wrote to them; what is dropped is read from the file again on the next access.
        unsafe {
            libc::madvise(
                std::ptr::without_provenance_mut(first),
                end - first,
                libc::MADV_DONTNEED,
            )
        };
    }
}
