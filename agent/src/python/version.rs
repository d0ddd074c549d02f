//! Versions of CPython that are known, and builds that are not served.

use std::fmt;

use thiserror::Error;

/// A version of CPython whose layout is known. Within one, layouts are the same for all that is
/// read, but for offsets in large structures of the interpreter, which are found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the versions are their own names")]
pub enum Version {
    V3_8,
    V3_9,
    V3_10,
    V3_11,
    V3_12,
    V3_13,
    V3_14,
}

/// Why a Python is not read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unsupported {
    /// Too old or too new.
    #[error(
        "CPython {major}.{minor} is not read: genspan knows 3.8 to 3.14 (model calls are traced \
         all the same)"
    )]
    Version {
        /// `sys.version_info.major`.
        major: u8,
        /// `sys.version_info.minor`.
        minor: u8,
    },
    /// Built without the GIL.
    #[error(
        "a free-threaded build of CPython {0} is not read: its objects are laid out differently \
         (model calls are traced all the same)"
    )]
    FreeThreaded(Version),
    /// Not CPython.
    #[error("{0} is not CPython: its objects are not read (model calls are traced all the same)")]
    Implementation(String),
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V3_8,
        Self::V3_9,
        Self::V3_10,
        Self::V3_11,
        Self::V3_12,
        Self::V3_13,
        Self::V3_14,
    ];

    /// `N` of `3.N`.
    #[must_use]
    pub fn minor(self) -> u8 {
        match self {
            Self::V3_8 => 8,
            Self::V3_9 => 9,
            Self::V3_10 => 10,
            Self::V3_11 => 11,
            Self::V3_12 => 12,
            Self::V3_13 => 13,
            Self::V3_14 => 14,
        }
    }

    /// That of `sys.version_info`.
    ///
    /// # Errors
    ///
    /// When it is not one that is known.
    pub fn new(major: u8, minor: u8) -> Result<Self, Unsupported> {
        Self::ALL
            .into_iter()
            .find(|v| major == 3 && v.minor() == minor)
            .ok_or(Unsupported::Version { major, minor })
    }

    /// That of `PY_VERSION_HEX` (`Include/patchlevel.h`), as in `Py_Version` and `sys.hexversion`.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn from_hex(hex: u32) -> Result<Self, Unsupported> {
        let [major, minor, ..] = hex.to_be_bytes();
        Self::new(major, minor)
    }

    /// That of a text `3.N`, as library and folder names have it.
    ///
    /// # Errors
    ///
    /// As [`Self::new`]; a text that is no version is version 0.0.
    pub fn parse(text: &str) -> Result<Self, Unsupported> {
        let mut parts = text.split('.').map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else {
            return Self::new(0, 0);
        };
        Self::new(major, minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "3.{}", self.minor())
    }
}

/// `3.11.2` of a `PY_VERSION_HEX`, with the letter of a pre-release.
#[must_use]
pub fn hex_to_text(hex: u32) -> String {
    let [major, minor, micro, level] = hex.to_be_bytes();
    let serial = level & 0xf;
    match level >> 4 {
        0xa => format!("{major}.{minor}.{micro}a{serial}"),
        0xb => format!("{major}.{minor}.{micro}b{serial}"),
        0xc => format!("{major}.{minor}.{micro}rc{serial}"),
        _ => format!("{major}.{minor}.{micro}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Unsupported, Version, hex_to_text};

    #[test]
    fn versions_are_told_from_hex_and_text() {
        assert_eq!(Version::from_hex(0x030b_02f0), Ok(Version::V3_11));
        assert_eq!(Version::parse("3.8"), Ok(Version::V3_8));
        assert_eq!(Version::parse("3.14.1"), Ok(Version::V3_14));
        for (text, major, minor) in [("3.7", 3, 7), ("3.15", 3, 15), ("2.7", 2, 7), ("x", 0, 0)] {
            let error = Unsupported::Version { major, minor };
            assert_eq!(Version::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_hex_version_is_readable() {
        assert_eq!(hex_to_text(0x030b_02f0), "3.11.2");
        assert_eq!(hex_to_text(0x030e_00c2), "3.14.0rc2");
        assert_eq!(hex_to_text(0x030d_00a1), "3.13.0a1");
        assert_eq!(hex_to_text(0x030d_00b4), "3.13.0b4");
    }
}
