//! Heads of messages, from the fields of a header block.

use super::hpack::{Field, Name};
use crate::model::exchange::{Headers, RequestHead, ResponseHead};
use crate::protocol::{headers, target};

/// Largest header list, as RFC 9113, section 6.5.2 counts it; what is beyond is not kept.
pub const MAX_HEADER_LIST_BYTES: usize = 256 << 10;

/// What a block said so far.
#[derive(Default)]
pub(super) struct Fields {
    method: Option<String>,
    path: Option<String>,
    host: Option<String>,
    status: Option<u16>,
    /// Of an extended CONNECT.
    protocol: bool,
    headers: Headers,
    size: usize,
    /// Fields that are in a part of the table that was not seen.
    pub(super) unknown: u64,
}

impl Fields {
    pub(super) fn add(&mut self, field: Field<'_>) {
        self.size = self.size.saturating_add(field.size);
        if self.is_oversized() {
            return;
        }
        if field.name == Name::Unknown {
            self.unknown += 1;
        }
        let Some(value) = field.value else { return };
        match field.name {
            Name::Method => self.method = Some(value.to_owned()),
            Name::Path => self.path = Some(value.to_owned()),
            // `:authority` comes before `host`, and goes before it.
            Name::Host => {
                self.host.get_or_insert_with(|| value.to_owned());
            }
            Name::Status => self.status = value.parse().ok(),
            Name::Protocol => self.protocol = true,
            Name::Kept(name) => headers::keep(&mut self.headers, name.as_bytes(), value.as_bytes()),
            Name::Other | Name::Unknown => {}
        }
    }

    /// The list is larger than is followed.
    pub(super) const fn is_oversized(&self) -> bool {
        self.size > MAX_HEADER_LIST_BYTES
    }

    /// Whether the content is of gRPC (`application/grpc`, `application/grpc+proto`, …).
    pub(super) fn is_grpc(&self) -> bool {
        let kind = self.headers.get("content-type").unwrap_or_default();
        let rest = kind.strip_prefix("application/grpc");
        rest.is_some_and(|rest| matches!(rest.bytes().next(), None | Some(b'+' | b';' | b'-')))
    }

    /// The head of a request; without its method or path there is none.
    pub(super) fn request(self, stream: u32) -> Option<RequestHead> {
        let method = self.method?;
        let connect = method == "CONNECT" && !self.protocol;
        let target = match self.path {
            Some(path) => target::parse(&path, false),
            None if connect => target::Target::default(),
            None => return None,
        };
        Some(RequestHead {
            method,
            path: target.path,
            query: target.query,
            host: self.host,
            headers: self.headers,
            stream: Some(stream),
        })
    }

    /// Whether these are of a response's head.
    pub(super) const fn has_status(&self) -> bool {
        self.status.is_some()
    }

    /// The head of a response; without its status there is none.
    pub(super) fn response(self) -> Option<ResponseHead> {
        Some(ResponseHead {
            status: self.status?,
            headers: self.headers,
        })
    }
}
