//! Numbers of bytes, as people write them.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::str::FromStr;

/// A number of bytes: `1048576`, `512M`, `2G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// What is expected of one.
const EXPECTED: &str = "expected a number of bytes above zero, as in 512M or 2G";

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digits = text.trim_end_matches(['K', 'k', 'M', 'm', 'G', 'g']);
        let shift = match text.get(digits.len()..) {
            Some("") => 0,
            Some("K" | "k") => 10,
            Some("M" | "m") => 20,
            Some("G" | "g") => 30,
            _ => return Err(EXPECTED),
        };
        let number: u64 = digits.parse().map_err(|_| EXPECTED)?;
        let bytes = number.checked_mul(1 << shift);
        bytes.filter(|b| *b > 0).map(Self).ok_or(EXPECTED)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        let text = match Written::deserialize(from).map_err(|_| D::Error::custom(EXPECTED))? {
            Written::Number(bytes) => bytes.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{EXPECTED, Size};

    #[test]
    fn sizes() {
        for (text, want) in [("1", 1), ("64K", 65_536), ("3m", 3 << 20), ("2G", 2 << 30)] {
            assert_eq!(text.parse(), Ok(Size(want)));
            assert_eq!(serde_yaml_ng::from_str::<Size>(text).unwrap(), Size(want));
        }
        for text in ["", "0", "G", "1T", "1KK", "-1", "99999999999G", "[]", "1.5"] {
            assert_eq!(text.parse::<Size>(), Err(EXPECTED));
            let said = serde_yaml_ng::from_str::<Size>(text)
                .unwrap_err()
                .to_string();
            assert!(said.contains(EXPECTED), "{text}: {said}");
        }
    }
}
