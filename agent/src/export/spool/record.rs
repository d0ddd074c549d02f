//! A batch as a file.
//!
//! | Offset | Bytes | Is |
//! | --- | --- | --- |
//! | 0 | 8 | `genspool` |
//! | 8 | 1 | version of this format: 2; 1 has the body as it is |
//! | 9 | 1 | kind: whose meaning is the queue's owner's |
//! | 10 | 2 | zero |
//! | 12 | 8 | items in the batch |
//! | 20 | 8 | length of what follows the header |
//! | 28 | 4 | CRC-32 (IEEE 802.3) of what stands before it and of what follows |
//! | 32 | | the body, a serialized OTLP request as it is sent, in a frame of Zstandard (RFC 8878); nothing follows |
//!
//! Numbers are little-endian. Requests are compressed because an hour of them is to fit: what is told of one
//! call is much like what is told of the next.

use flate2::Crc;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Bytes before the body.
pub(super) const HEADER: usize = 32;
/// Longest body: twice what a request can come to by the limits of the pipeline.
pub(super) const MAX_BODY: u64 = 128 << 20;

const MAGIC: &[u8; 8] = b"genspool";
const VERSION: u8 = 2;
/// Written before bodies were compressed.
const PLAIN: u8 = 1;
/// Compression is to cost little; higher levels take several times as long for a tenth less.
const LEVEL: i32 = 1;
/// Where the checksum stands.
const SUM: usize = 28;

/// Why a file is not the batch that its name says.
#[derive(Debug, thiserror::Error)]
pub(super) enum Bad {
    /// The system refused it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no batch, or one of another version.
    #[error("it is no batch of this version")]
    Foreign,
    /// It ends too early or too late.
    #[error("it has {has} bytes of {of}")]
    Length {
        /// Bytes that it has.
        has: u64,
        /// Bytes that it should have.
        of: u64,
    },
    /// It has changed since it was written.
    #[error("its checksum does not fit")]
    Sum,
    /// It cannot be decompressed, or is longer than a body ever is.
    #[error("it cannot be decompressed")]
    Packed,
    /// It belongs elsewhere.
    #[error("it is of another queue")]
    Misplaced,
}

fn header(kind: u8, items: u64, body: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        if let Some(room) = header.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        at += bytes.len();
    };
    put(MAGIC);
    put(&[VERSION, kind, 0, 0]);
    put(&items.to_le_bytes());
    put(&(body.len() as u64).to_le_bytes());
    let sum = sum(&header, body);
    if let Some(room) = header.get_mut(SUM..) {
        room.copy_from_slice(&sum.to_le_bytes());
    }
    header
}

fn sum(header: &[u8; HEADER], body: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(header.get(..SUM).unwrap_or_default());
    crc.update(body);
    crc.sum()
}

fn number(header: &[u8; HEADER], at: usize) -> u64 {
    let bytes = header.get(at..at + 8).and_then(|b| b.try_into().ok());
    u64::from_le_bytes(bytes.unwrap_or_default())
}

/// What the file of a batch holds.
pub(super) fn file(kind: u8, items: u64, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut file = vec![0; HEADER];
    zstd::stream::copy_encode(body, &mut file, LEVEL)?;
    let (room, packed) = file.split_at_mut(HEADER);
    room.copy_from_slice(&header(kind, items, packed));
    Ok(file)
}

/// Writes a file under a temporary name, brings it to the disk, and gives it its own.
pub(super) fn write(temporary: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(temporary)?;
    file.write_all(content)?;
    file.sync_data()?;
    std::fs::rename(temporary, path)
}

/// Reads a batch of this kind that has so many items.
pub(super) fn read(path: &Path, kind: u8, items: u64) -> Result<Vec<u8>, Bad> {
    let mut file = OpenOptions::new()
        .read(true)
        // A pipe that somebody put there must not hold us up.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    parse(&mut file, kind, items)
}

fn parse(file: &mut File, kind: u8, items: u64) -> Result<Vec<u8>, Bad> {
    let found = file.metadata()?;
    let mut header = [0; HEADER];
    if !found.is_file() {
        return Err(Bad::Foreign);
    }
    if found.len() < HEADER as u64 {
        let (has, of) = (found.len(), HEADER as u64);
        return Err(Bad::Length { has, of });
    }
    file.read_exact(&mut header)?;
    let version = header.get(8).copied();
    if !header.starts_with(MAGIC) || ![Some(VERSION), Some(PLAIN)].contains(&version) {
        return Err(Bad::Foreign);
    }
    let of = number(&header, 20).saturating_add(HEADER as u64);
    if of != found.len() || of > MAX_BODY + HEADER as u64 {
        let has = found.len();
        return Err(Bad::Length { has, of });
    }
    let mut body = Vec::new();
    file.take(of - HEADER as u64).read_to_end(&mut body)?;
    let stored = header.get(SUM..).and_then(|b| b.try_into().ok());
    if u32::from_le_bytes(stored.unwrap_or_default()) != sum(&header, &body) {
        return Err(Bad::Sum);
    }
    if header.get(9) != Some(&kind) || number(&header, 12) != items {
        return Err(Bad::Misplaced);
    }
    if version == Some(PLAIN) {
        return Ok(body);
    }
    unpacked(&body).ok_or(Bad::Packed)
}

/// The body; none when there is no whole one, or one that is too long.
fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let decoder = zstd::stream::Decoder::new(packed).ok()?;
    let mut decoder = decoder.take(MAX_BODY + 1);
    decoder.read_to_end(&mut body).ok()?;
    (body.len() as u64 <= MAX_BODY).then_some(body)
}
