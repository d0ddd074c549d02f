//! Which TLS library a file carries, by the texts in it. Pure.

use memchr::memmem::Finder;

use crate::probe::elf::Segment;

/// Longest version banner that is told.
const LONGEST: usize = 40;

/// The version banner of OpenSSL (`OpenSSL 3.0.15 3 Sep 2024`) or of what is made of it, if the file
/// has one.
#[must_use]
pub fn openssl_version(segments: &[Segment<'_>]) -> Option<String> {
    const NAME: &[u8] = b"OpenSSL ";
    let finder = Finder::new(NAME);
    segments.iter().find_map(|segment| {
        finder.find_iter(segment.bytes).find_map(|at| {
            let text = &segment.bytes[at..segment.bytes.len().min(at + LONGEST)];
            let end = text.iter().position(|b| !(b' '..=b'~').contains(b))?;
            let text = &text[..end];
            // Not a mere mention, as `OpenSSL 3.0 legacy provider`.
            let mut words = text[NAME.len()..].split(|b| *b == b' ');
            let version = words.next().unwrap_or_default();
            let dots = version.iter().filter(|b| **b == b'.').count();
            let digit = version.first().is_some_and(u8::is_ascii_digit);
            (digit && dots == 2).then(|| String::from_utf8_lossy(text).into_owned())
        })
    })
}

/// Whether the file carries the text of OpenSSL's TLS record layer, not just its cryptography: the
/// names of its source files stand in its errors.
#[must_use]
pub fn has_openssl(segments: &[Segment<'_>]) -> bool {
    let finder = Finder::new(b"ssl/record/");
    segments.iter().any(|s| finder.find(s.bytes).is_some())
}

/// Whether the file carries the text of BoringSSL's TLS: it names its source files in its errors,
/// too.
#[must_use]
pub fn has_boringssl(segments: &[Segment<'_>]) -> bool {
    // As C has it: with its end. Here another byte follows, so that this file has no such text.
    const NAME: &[u8] = b"/ssl/ssl_buffer.cc|";
    let name = &NAME[..NAME.len() - 1];
    let finder = Finder::new(name);
    segments.iter().any(|s| {
        let mut all = finder.find_iter(s.bytes);
        all.any(|at| s.bytes.get(at + name.len()) == Some(&0))
    })
}

#[cfg(test)]
mod tests {
    use super::{has_boringssl, has_openssl, openssl_version};
    use crate::probe::elf::Segment;

    fn segment(bytes: &[u8]) -> [Segment<'_>; 1] {
        [Segment {
            address: 0,
            bytes,
            executable: false,
        }]
    }

    // The texts are put together here: the program that runs these tests is one that has none, for
    // other tests.

    #[test]
    fn versions_and_mentions() {
        let cases = [
            ("x\0@ 3.0.15 3 Sep 2024\0y", Some("@ 3.0.15 3 Sep 2024")),
            (
                "@ 1.1.1v+quic  1 Aug 2023\0",
                Some("@ 1.1.1v+quic  1 Aug 2023"),
            ),
            (
                "@ 3.0 legacy provider\0@ 4.0.3 29 Sep 2026\0",
                Some("@ 4.0.3 29 Sep 2026"),
            ),
            ("built with @ \0", None),
            ("@ a.b.c of nothing\0", None),
            // Cut off: where it ends is not known.
            ("@ 3.0.15 3 Sep", None),
            ("@ ", None),
            ("", None),
        ];
        let named = |text: &str| text.replace('@', "OpenSSL");
        for (text, version) in cases {
            let found = openssl_version(&segment(named(text).as_bytes()));
            assert_eq!(found, version.map(named), "{text:?}");
        }
    }

    #[test]
    fn libraries_by_their_source_files() {
        let openssl = ["../ssl/rec", "ord/rec_layer_s3.c\0"].concat();
        let openssl = segment(openssl.as_bytes());
        assert!(has_openssl(&openssl) && !has_boringssl(&openssl));
        let boring = ["third_party/boringssl/src/ssl/ssl_", "buffer.cc\0"].concat();
        let boring = segment(boring.as_bytes());
        assert!(has_boringssl(&boring) && !has_openssl(&boring));
        let mention = ["/ssl/ssl_", "buffer.cc is looked for"].concat();
        assert!(!has_boringssl(&segment(mention.as_bytes())));
    }
}
