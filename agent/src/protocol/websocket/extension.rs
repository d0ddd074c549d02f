//! What the heads of the handshake agree upon (RFC 6455, section 9.1; RFC 7692, section 7.1).

use super::super::http1::Switched;

/// The compression of messages, as both ends agreed upon it. Sizes of windows are of no matter to
/// a reader whose window is the largest there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deflate {
    /// The client begins each message with an empty window.
    pub client_no_takeover: bool,
    /// So does the server.
    pub server_no_takeover: bool,
}

/// What messages went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extensions {
    /// Nothing.
    None,
    /// `permessage-deflate`.
    Deflate(Deflate),
    /// The handshake was not seen: a message that says that it is compressed is.
    Unseen,
}

impl Extensions {
    /// What the response agrees to, by the values of its `Sec-WebSocket-Extensions`; `None` when
    /// that is something that is not known here, which may mean anything for the frames.
    #[must_use]
    pub fn agreed<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut agreed = Self::None;
        let all = values.into_iter().flat_map(|value| value.split(','));
        for extension in all.map(str::trim).filter(|e| !e.is_empty()) {
            let mut parts = extension.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            if !name.eq_ignore_ascii_case("permessage-deflate") || agreed != Self::None {
                return None;
            }
            let mut deflate = Deflate::default();
            for parameter in parts {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                match (name.trim_end(), value.trim_start()) {
                    ("client_no_context_takeover", "") => deflate.client_no_takeover = true,
                    ("server_no_context_takeover", "") => deflate.server_no_takeover = true,
                    ("client_max_window_bits" | "server_max_window_bits", bits)
                        if is_window(bits.trim_matches('"')) => {}
                    _ => return None,
                }
            }
            agreed = Self::Deflate(deflate);
        }
        Some(agreed)
    }

    /// Of an exchange that switched its connection; `None` when that is no WebSocket, or one that
    /// cannot be read.
    #[must_use]
    pub fn of(switched: &Switched) -> Option<Self> {
        let extensions = switched.headers.iter();
        let extensions = extensions.filter(|(name, _)| *name == "sec-websocket-extensions");
        let upgrade = switched.headers.get("upgrade")?;
        upgrade
            .eq_ignore_ascii_case("websocket")
            .then(|| Self::agreed(extensions.map(|(_, value)| value)))?
    }
}

/// RFC 7692, section 7.1.2.1: from 8 to 15.
fn is_window(bits: &str) -> bool {
    matches!(bits.parse::<u8>(), Ok(8..=15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreements() {
        let deflate = |client_no_takeover, server_no_takeover| {
            Some(Extensions::Deflate(Deflate {
                client_no_takeover,
                server_no_takeover,
            }))
        };
        for (values, want) in [
            (&[][..], Some(Extensions::None)),
            (&[" "], Some(Extensions::None)),
            (&["permessage-deflate"], deflate(false, false)),
            (&["Permessage-Deflate;"], None),
            (
                &["permessage-deflate; server_no_context_takeover"],
                deflate(false, true),
            ),
            (
                &["permessage-deflate;client_no_context_takeover ; server_max_window_bits=12"],
                deflate(true, false),
            ),
            (
                &["permessage-deflate; client_max_window_bits=\"15\"; server_max_window_bits = 8"],
                deflate(false, false),
            ),
            (&["permessage-deflate; server_max_window_bits=16"], None),
            (&["permessage-deflate; server_max_window_bits"], None),
            (&["permessage-deflate; server_no_context_takeover=1"], None),
            (&["permessage-deflate; what"], None),
            (&["permessage-deflate", "permessage-deflate"], None),
            (&["permessage-deflate, x-own"], None),
            (&["x-webkit-deflate-frame"], None),
        ] {
            assert_eq!(
                Extensions::agreed(values.iter().copied()),
                want,
                "{values:?}"
            );
        }
    }
}
