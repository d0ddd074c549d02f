//! Numbers of credit cards and telephones: told from ids, times and decimals by their form.

use super::builtin::BuiltIn;
use super::class::{Class, escape_before};
use super::find::Text;
use core::ops::Range;

/// Most digits looked at: the longest card number (ISO/IEC 7812-1) has 19.
const MOST: usize = 20;

/// Groups of digits with single separators between.
#[derive(Clone, Copy, Debug, Default)]
struct Groups {
    digits: [u8; MOST],
    len: usize,
    /// Digits of each group.
    groups: [u8; MOST],
    count: usize,
    /// The separators, if they are all the same; 0 for none.
    separator: u8,
    end: usize,
}

impl Groups {
    /// Those that begin at `at`, with these separators; none if there are too many digits.
    fn read(bytes: &[u8], at: usize, separators: &[u8]) -> Option<Self> {
        let mut all = Self::default();
        let mut at = at;
        loop {
            let run = Class::DIGIT.run(bytes, at);
            if all.len + (run - at) > MOST || all.count >= MOST {
                return None;
            }
            for digit in &bytes[at..run] {
                all.digits[all.len] = digit - b'0';
                all.len += 1;
            }
            all.groups[all.count] = (run - at) as u8;
            all.count += 1;
            all.end = run;
            let separator = bytes.get(run).copied().unwrap_or_default();
            let goes_on = bytes.get(run + 1).is_some_and(u8::is_ascii_digit);
            if !goes_on || !separators.contains(&separator) {
                return Some(all);
            }
            if all.separator == 0 {
                all.separator = separator;
            } else if all.separator != separator {
                return Some(all);
            }
            at = run + 1;
        }
    }

    fn groups(&self) -> &[u8] {
        &self.groups[..self.count]
    }

    fn digits(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    /// The number that the first `n` digits are.
    fn prefix(&self, n: usize) -> u32 {
        let digits = self.digits().iter().take(n);
        digits.fold(0, |all, d| all * 10 + u32::from(*d))
    }
}

/// Whether a number of its own begins at `at`: no part of a word, a decimal, a path, a longer id.
fn begins(text: &Text<'_>, at: usize) -> bool {
    if at <= text.floor {
        return true;
    }
    let bytes = text.bytes();
    let before = bytes.get(at - 1).copied().unwrap_or_default();
    let joined = Class::WORD.has(before) || b".-/#+$%*^~\\".contains(&before);
    !joined || escape_before(bytes, at) > 0
}

/// Whether a number ends at `end`.
fn ends(bytes: &[u8], end: usize) -> bool {
    let after = bytes.get(end).copied().unwrap_or_default();
    let then = bytes.get(end + 1).copied().unwrap_or_default();
    match after {
        b'.' | b',' | b':' => !then.is_ascii_digit(),
        b'-' | b'/' => !Class::ALNUM.has(then),
        b'@' | b'%' => false,
        b => !Class::WORD.has(b),
    }
}

/// The card or telephone number that begins at `at`, a digit, `+` or `(`; or where to go on.
pub(super) fn find(
    text: &Text<'_>,
    at: usize,
    card: bool,
    phone: bool,
) -> Result<(Range<usize>, BuiltIn), usize> {
    let bytes = text.bytes();
    let run = Class::DIGIT.run(bytes, at).max(at + 1);
    if !begins(text, at) {
        return Err(run);
    }
    if card && let Some(end) = card_end(bytes, at, text.cut) {
        return Ok((at..end, BuiltIn::CreditCard));
    }
    if phone && let Some(end) = phone_end(bytes, at, text.cut) {
        return Ok((at..end, BuiltIn::Phone));
    }
    Err(run)
}

fn card_end(bytes: &[u8], at: usize, cut: bool) -> Option<usize> {
    let all = Groups::read(bytes, at, b" -")?;
    let open = cut && all.end == bytes.len();
    if !ends(bytes, all.end) || !issued(&all, open) {
        return None;
    }
    let grouped = match all.groups() {
        [_] | [4, 4, 4, 4] | [4, 6, 5] | [4, 4, 4, 4, 3] | [4, 6, 4] | [6, 13] => true,
        groups => open && groups.iter().all(|n| *n <= 6),
    };
    let whole = grouped && luhn(all.digits());
    (whole || (open && grouped && all.len >= 8)).then_some(all.end)
}

/// Whether an issuer's numbers begin so and have this length, as far as they can be seen.
fn issued(all: &Groups, open: bool) -> bool {
    let of = |lengths: &[usize]| match open {
        true => lengths.iter().any(|n| all.len <= *n),
        false => lengths.contains(&all.len),
    };
    match (all.prefix(1), all.prefix(2), all.prefix(3), all.prefix(4)) {
        // Visa.
        (4, ..) => of(&[13, 16, 19]),
        // Mastercard.
        (_, 51..=55, ..) | (_, _, _, 2221..=2720) => of(&[16]),
        // American Express.
        (_, 34 | 37, ..) => of(&[15]),
        // Diners Club.
        (_, 36 | 38 | 39, ..) | (_, _, 300..=305, _) => of(&[14]),
        // Discover, UnionPay.
        (_, 62 | 65 | 81, ..) | (_, _, 644..=649, _) | (_, _, _, 6011) => of(&[16, 17, 18, 19]),
        // JCB.
        (_, _, _, 3528..=3589) => of(&[16, 17, 18, 19]),
        _ => false,
    }
}

/// The check digit (ISO/IEC 7812-1, annex B).
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(n, d)| match (n % 2, u32::from(*d)) {
            (0, d) => d,
            (_, d) if d > 4 => 2 * d - 9,
            (_, d) => 2 * d,
        })
        .sum();
    sum > 0 && sum.is_multiple_of(10)
}

fn phone_end(bytes: &[u8], at: usize, cut: bool) -> Option<usize> {
    let end = match bytes.get(at) {
        Some(b'+') => international(bytes, at + 1, cut),
        Some(b'(') => bracketed(bytes, at),
        _ => national(bytes, at),
    }?;
    ends(bytes, end).then_some(end)
}

/// Behind a `+` (ITU-T E.164): up to 15 digits, in groups with brackets or not.
fn international(bytes: &[u8], start: usize, cut: bool) -> Option<usize> {
    if !matches!(bytes.get(start), Some(b'1'..=b'9')) {
        return None;
    }
    let (mut at, mut end, mut digits, mut groups) = (start, start, 0, 1);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                end = at + 1;
            }
            b' ' | b'-' | b'.' | b'(' | b')' if digits > 0 && at - end < 2 => {
                groups += u32::from(at == end);
            }
            _ => break,
        }
        if digits > 15 {
            return None;
        }
        at += 1;
    }
    let whole = digits >= 10 || (digits >= 8 && groups > 1);
    (whole || (cut && at == bytes.len() && digits >= 5)).then_some(end)
}

/// `(415) 555-0100`, `(010) 1234 5678`
fn bracketed(bytes: &[u8], at: usize) -> Option<usize> {
    let close = Class::DIGIT.run(bytes, at + 1);
    if bytes.get(close) != Some(&b')') {
        return None;
    }
    let gap = usize::from(bytes.get(close + 1) == Some(&b' '));
    let rest = Groups::read(bytes, close + 1 + gap, b" -.")?;
    let area = Groups::read(bytes, at + 1, b"")?;
    match (close - at - 1, rest.groups()) {
        (3, [3, 4]) => is_nanp(&area, rest.digits[0]).then_some(rest.end),
        (3 | 4, [7 | 8] | [3 | 4, 4]) => (area.digits[0] == 0).then_some(rest.end),
        _ => None,
    }
}

/// Area and exchange of the North American plan begin with 2 to 9.
fn is_nanp(area: &Groups, exchange: u8) -> bool {
    area.digits[0] >= 2 && exchange >= 2
}

fn national(bytes: &[u8], at: usize) -> Option<usize> {
    let all = Groups::read(bytes, at, b" -.")?;
    let digit = |n: usize| all.digits[n];
    let is = match (all.groups(), all.separator) {
        // 415-555-0100, 1-415-555-0100; with blanks between it may be a table.
        ([3, 3, 4], b'-' | b'.') => digit(0) >= 2 && digit(3) >= 2,
        ([1, 3, 3, 4], b'-' | b'.') => digit(0) == 1 && digit(1) >= 2 && digit(4) >= 2,
        // Chinese mobile numbers.
        ([11], _) | ([3, 4, 4], b'-' | b' ') => {
            let second = [3, 4, 5, 6, 7, 8, 9].contains(&digit(1));
            digit(0) == 1 && second && !matches!(all.prefix(3), 140..=144 | 154 | 160..=161)
        }
        // Chinese land lines.
        ([3, 8], b'-') => all.prefix(3) == 10 || (20..=29).contains(&all.prefix(3)),
        ([4, 7 | 8], b'-') => (310..=999).contains(&all.prefix(4)) && digit(0) == 0,
        _ => false,
    };
    is.then_some(all.end)
}
