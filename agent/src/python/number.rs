//! `int` and `float` (`Include/cpython/longintrepr.h`: digits of 30 bits, least first).

use super::layout::{IntLayout, OB_SIZE};
use super::object::Kind;
use super::reader::{Reader, Result, malformed};

/// In an `int`: its digits. In a `float`: its value.
const DIGITS: u64 = 24;
const FLOAT_VALUE: u64 = 16;

/// Bits of a digit (`PyLong_SHIFT`).
const SHIFT: u32 = 30;

/// Most digits of an `int` that is read: numbers of up to 1,920 bits, 577 decimals.
pub const MAX_DIGITS: usize = 64;

/// Most digits of an `int` that can be: what user space has room for, in bytes.
const ADDRESSABLE: usize = (1 << 47) / 4;

/// An `int`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Int {
    /// One that fits.
    Small(i64),
    /// In decimals.
    Large(String),
    /// More than is read: so many bits, about.
    Huge(u64),
}

impl Reader<'_> {
    /// An `int` or `bool`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none.
    pub fn integer(&self, address: u64) -> Result<Int> {
        let (negative, digits) = match self.digits(address)? {
            Ok(found) => found,
            Err(count) => return Ok(Int::Huge(count as u64 * u64::from(SHIFT))),
        };
        if digits.len() > 4 {
            return Ok(Int::Large(decimal(negative, &digits)));
        }
        let magnitude = digits
            .iter()
            .rev()
            .fold(0_u128, |sum, d| (sum << SHIFT) | u128::from(*d));
        let small = if negative {
            i128::try_from(magnitude)
                .ok()
                .and_then(|m| (-m).try_into().ok())
        } else {
            i64::try_from(magnitude).ok()
        };
        Ok(small.map_or_else(|| Int::Large(decimal(negative, &digits)), Int::Small))
    }

    /// An `int` of up to 128 bits without a sign, as that of a `uuid.UUID`.
    ///
    /// # Errors
    ///
    /// When it is not one.
    pub fn unsigned_128(&self, address: u64) -> Result<u128> {
        if let Ok((false, digits)) = self.digits(address)? {
            let top = digits.get(4).copied().unwrap_or(0);
            if digits.len() <= 4 || digits.len() == 5 && top < 1 << 8 {
                let sum = digits.iter().rev();
                return Ok(sum.fold(0, |sum, d| (sum << SHIFT) | u128::from(*d)));
            }
        }
        malformed("int of 128 bits", address)
    }

    /// Sign and digits, or how many there are when they are too many.
    fn digits(&self, address: u64) -> Result<std::result::Result<(bool, Vec<u32>), usize>> {
        if !matches!(self.type_of(address)?.kind, Kind::Int | Kind::Bool) {
            return malformed("int", address);
        }
        let size = self.size(address.wrapping_add(OB_SIZE))?;
        let (negative, count) = match self.layout.int {
            IntLayout::Sized => (size < 0, size.unsigned_abs()),
            // The two lowest bits: 0 positive, 1 zero, 2 negative.
            IntLayout::Tagged => (size & 3 == 2, size.cast_unsigned() >> 3),
        };
        let Ok(count) = usize::try_from(count) else {
            return malformed("int", address);
        };
        if count > ADDRESSABLE {
            return malformed("int", address);
        }
        if count > MAX_DIGITS {
            return Ok(Err(count));
        }
        let bytes = self.bytes(address.wrapping_add(DIGITS), count * 4)?;
        let digits: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|d| d.try_into().map_or(0, u32::from_le_bytes))
            .collect();
        if digits.iter().any(|d| d >> SHIFT != 0) {
            return malformed("int", address);
        }
        Ok(Ok((negative, digits)))
    }

    /// A `float`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none.
    pub fn float(&self, address: u64) -> Result<f64> {
        if self.type_of(address)?.kind != Kind::Float {
            return malformed("float", address);
        }
        let value = self.array(address.wrapping_add(FLOAT_VALUE))?;
        Ok(f64::from_le_bytes(value))
    }
}

/// Digits of 30 bits in decimals: again and again divided by a billion.
fn decimal(negative: bool, digits: &[u32]) -> String {
    const BILLION: u64 = 1_000_000_000;
    let mut rest = digits.to_vec();
    let mut groups = Vec::new();
    while rest.iter().any(|d| *d != 0) {
        let mut carry = 0_u64;
        for digit in rest.iter_mut().rev() {
            let value = carry << SHIFT | u64::from(*digit);
            // Below 2^30: the carry is below the divisor.
            *digit = u32::try_from(value / BILLION).unwrap_or(u32::MAX);
            carry = value % BILLION;
        }
        groups.push(carry);
    }
    let mut text = String::from(if negative { "-" } else { "" });
    match groups.pop() {
        None => text.push('0'),
        Some(first) => text.push_str(&first.to_string()),
    }
    for group in groups.iter().rev() {
        text.push_str(&format!("{group:09}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::heap::Heap;
    use super::super::layout::{IntLayout, OB_SIZE};
    use super::super::reader::{QUESTION_BUDGET, Reader};
    use super::super::version::Version;
    use super::{Int, decimal};

    fn digits(mut value: u128) -> Vec<u32> {
        let mut all = Vec::new();
        while value != 0 {
            all.push((value & 0x3fff_ffff) as u32);
            value >>= 30;
        }
        all
    }

    #[test]
    fn decimals_are_those_of_the_number() {
        for value in [
            0,
            1,
            999_999_999,
            1_000_000_000,
            1_000_000_001,
            u128::from(u64::MAX),
            u128::MAX,
            10_u128.pow(38),
        ] {
            assert_eq!(decimal(false, &digits(value)), value.to_string());
        }
        assert_eq!(decimal(true, &digits(u128::MAX)), format!("-{}", u128::MAX));
    }

    #[test]
    fn a_number_larger_than_any_memory_is_none() {
        for version in Version::ALL {
            let mut heap = Heap::new(version);
            let int = heap.int(1);
            let mut read = |count: u64| {
                let size = match heap.layout.int {
                    IntLayout::Sized => count,
                    IntLayout::Tagged => count << 3,
                };
                heap.write(int + OB_SIZE, size);
                let reader = Reader::new(&heap.image, heap.layout, QUESTION_BUDGET);
                reader.integer(int)
            };
            assert_eq!(read(1 << 40), Ok(Int::Huge(30 << 40)), "{version:?}");
            for count in [(1 << 45) + 1, (1 << 60) + 1] {
                let found = read(count);
                assert!(found.is_err(), "{version:?}: {found:?}");
            }
        }
    }
}
