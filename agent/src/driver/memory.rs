//! Keeping our own memory small.

use procfs::process::{MMPermissions, MMapPath, Process};

/// Gives back the pages of code that only the start needed: argument parsing, ELF and BTF
/// reading, loading. They stay in the page cache and come again when they are needed.
pub fn forget_start() {
    let Ok(process) = Process::myself() else {
        return;
    };
    let (Ok(executable), Ok(maps)) = (process.exe(), process.maps()) else {
        return;
    };
    let code = MMPermissions::READ | MMPermissions::EXECUTE | MMPermissions::PRIVATE;
    for map in maps {
        let ours = matches!(&map.pathname, MMapPath::Path(path) if *path == executable);
        let (start, end) = map.address;
        let (Ok(at), Ok(len)) = (usize::try_from(start), usize::try_from(end - start)) else {
            continue;
        };
        if ours && map.perms == code {
            // SAFETY: a private mapping of our own executable's code as the system made it. It is
            // never written (no text relocations, not writable), so what is dropped is read from
            // the file again on the next access.
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
