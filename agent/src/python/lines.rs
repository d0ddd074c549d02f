//! Line tables: from a byte of bytecode to a line. Pure functions of the table's bytes.

/// Which table a version has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// `co_lnotab`, 3.8 and 3.9 (`Objects/lnotab_notes.txt`).
    LineNumbers,
    /// `co_linetable` of 3.10 (PEP 626).
    Lines,
    /// `co_linetable` from 3.11 on (`Objects/locations.md`, PEP 657).
    Locations,
}

/// The line of the instruction at this byte of the bytecode; `None` where the table has none.
#[must_use]
pub fn line(table: Table, bytes: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let line = match table {
        Table::LineNumbers => Some(line_numbers(bytes, first_line, offset)),
        Table::Lines => lines(bytes, first_line, offset),
        Table::Locations => locations(bytes, first_line, offset),
    }?;
    u32::try_from(line).ok()
}

/// Pairs of how far the next instruction with another line is, and how far that line.
fn line_numbers(bytes: &[u8], first_line: u32, offset: u64) -> i64 {
    let (mut at, mut line) = (0, i64::from(first_line));
    for pair in bytes.chunks_exact(2) {
        at += u64::from(pair[0]);
        if at > offset {
            break;
        }
        line += i64::from(pair[1].cast_signed());
    }
    line
}

/// Pairs of how long a range is, and how far its line from that of the range before; -128 says
/// that it has none.
fn lines(bytes: &[u8], first_line: u32, offset: u64) -> Option<i64> {
    let (mut end, mut line) = (0, i64::from(first_line));
    for pair in bytes.chunks_exact(2) {
        let delta = pair[1].cast_signed();
        end += u64::from(pair[0]);
        if delta != -128 {
            line += i64::from(delta);
        }
        if offset < end {
            return (delta != -128).then_some(line);
        }
    }
    None
}

/// Entries of a head byte (the highest bit set, four bits for the form, three for the length in
/// instructions of two bytes less one) and what the form asks for.
fn locations(bytes: &[u8], first_line: u32, offset: u64) -> Option<i64> {
    let mut rest = bytes.iter().copied().peekable();
    let (mut end, mut line) = (0_u64, i64::from(first_line));
    while let Some(head) = rest.next() {
        let form = head >> 3 & 15;
        end += (u64::from(head & 7) + 1) * 2;
        let delta = match form {
            // Long: the line, the end line and two columns; without columns: the line alone.
            13 | 14 => Some(signed(&mut rest)?),
            15 => None,
            // The line is one, two or none further.
            10..=12 => Some(i64::from(form) - 10),
            _ => Some(0),
        };
        line = line.checked_add(delta.unwrap_or(0))?;
        if offset < end {
            return delta.map(|_| line);
        }
        // Up to the next head, whatever the form: only heads have the highest bit.
        while rest.next_if(|byte| byte & 0x80 == 0).is_some() {}
    }
    None
}

/// A number of six bits a byte, least first, bit 6 saying that more follows, its lowest bit the
/// sign.
fn signed(rest: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = rest.next()?;
        if shift > 48 {
            return None;
        }
        value |= u64::from(byte & 0x3f) << shift;
        shift += 6;
        if byte & 0x40 == 0 {
            break;
        }
    }
    let magnitude = i64::try_from(value >> 1).ok()?;
    Some(if value & 1 == 1 {
        -magnitude
    } else {
        magnitude
    })
}

#[cfg(test)]
mod tests {
    use super::{Table, line};

    #[track_caller]
    fn check(table: Table, bytes: &[u8], first: u32, wanted: &[Option<u32>]) {
        let got: Vec<_> = (0..wanted.len() as u64)
            .map(|i| line(table, bytes, first, i * 2))
            .collect();
        assert_eq!(got, wanted);
        // Cut anywhere: an answer or none, no more.
        for cut in 0..bytes.len() {
            let _ = line(table, &bytes[..cut], first, 1000);
        }
    }

    #[test]
    fn line_numbers_of_3_8() {
        // Three bytes of code at line 10, then line 11 from 4, 14 from 8, back to 12 from 10.
        let table = [4, 1, 4, 3, 2, 254];
        let wanted = [10, 10, 11, 11, 14, 12, 12].map(Some);
        check(Table::LineNumbers, &table, 10, &wanted);
    }

    #[test]
    fn lines_of_3_10() {
        let table = [4, 1, 2, 128, 4, 255];
        let wanted = [Some(11), Some(11), None, Some(10), Some(10), None];
        check(Table::Lines, &table, 10, &wanted);
    }

    #[test]
    fn locations_of_3_11() {
        let table = [
            0x80 | 10 << 3, // one instruction on the same line, with columns
            1,
            5,
            0x80 | 11 << 3 | 1, // two on the next line
            0,
            9,
            0x80 | 15 << 3, // one without a line
            0x80 | 13 << 3, // one 20 lines further, without columns
            40,
            0x80 | 3 << 3, // a short one
            0x23,
            0x80 | 14 << 3, // long: one line back
            3,
            0,
            0x41,
            1,
            2,
            0x80 | 13 << 3, // 100 further, in two bytes
            0x40 | (200 & 0x3f),
            200 >> 6,
        ];
        let wanted = [
            Some(7),
            Some(8),
            Some(8),
            None,
            Some(28),
            Some(28),
            Some(27),
            Some(127),
            None,
        ];
        check(Table::Locations, &table, 7, &wanted);
    }
}
