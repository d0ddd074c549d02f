//! The socket at which `genspan ps` and `genspan doctor` ask a running agent: for our own user alone.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The file of a socket; it goes with this value, unless another agent has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Listens at `path`. Its directory is made, for us alone; what an agent left there that died is
/// replaced.
pub(super) fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    if let Some(directory) = path.parent()
        && !directory.as_os_str().is_empty()
    {
        let made = DirBuilder::new().mode(0o700).create(directory);
        if let Err(error) = made
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket",
            ));
        }
        Ok(_) => {
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another agent answers there",
                ));
            }
            fs::remove_file(path)?;
        }
        Err(_) => {}
    }
    // A moment passes before its mode is set, so it is made under another name, where nobody looks.
    let own = path.with_extension(format!("{}.new", std::process::id()));
    fs::remove_file(&own).ok();
    let listener = UnixListener::bind(&own)?;
    let placed = fs::set_permissions(&own, Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&own, path))
        .and_then(|()| fs::symlink_metadata(path));
    match placed {
        Ok(found) => Ok((
            listener,
            SocketFile {
                path: path.to_owned(),
                inode: found.ino(),
            },
        )),
        Err(error) => {
            fs::remove_file(&own).ok();
            Err(error)
        }
    }
}
