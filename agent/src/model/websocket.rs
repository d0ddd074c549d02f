//! Messages of WebSocket connections (RFC 6455), as the protocol stage tells them. They are no
//! exchanges: either side speaks when it likes, and what belongs together only their content says.

use super::event::ConnectionId;
use super::exchange::{ExchangeId, Interest};
use super::time::BootTime;

/// Which end sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The end that asked for the WebSocket.
    Client,
    /// The other one.
    Server,
}

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Text, decompressed: its beginning, as far as it is kept and no byte of it is missing. Not
    /// checked to be UTF-8.
    Text(&'a [u8]),
    /// Binary data (sound, pictures): only its size is told.
    Binary,
}

/// A message: its frames joined, unmasked, decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// An id of its own, for a call that begins with it.
    pub id: ExchangeId,
    /// Who sent it.
    pub sender: Sender,
    /// Thread that moved its first byte.
    pub tid: u32,
    /// Time of its first byte.
    pub begun: BootTime,
    /// Time of its last byte.
    pub time: BootTime,
    /// What it carries.
    pub payload: Payload<'a>,
    /// Bytes of all of it, decompressed; when it is not whole, of what is known of it.
    pub length: u64,
    /// Nothing of it is missing: `payload` has all of a text, and `length` is right.
    pub whole: bool,
}

/// How a WebSocket ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Who sent the first close frame (RFC 6455, section 5.5.1), and its status code; 1005 when it
    /// had none, or none that was seen. `None` when no close frame was seen.
    pub close: Option<(Sender, u16)>,
    /// Without a close frame: it was the server that ended the connection.
    pub server_ended: bool,
}

/// Takes WebSockets from the protocol stage, each from its opening to its end. What a sink does
/// not implement it does not want.
pub trait WebSocketSink {
    /// A connection was switched by the exchange `id`, which the sink wanted and whose end it was
    /// told.
    fn socket_opened(&mut self, _id: ExchangeId, _time: BootTime) -> Interest {
        Interest::Unwanted
    }

    /// A WebSocket whose opening was not seen. `time` is that of the first byte that was
    /// understood, `tid` the thread that moved it.
    fn socket_half_seen(
        &mut self,
        _id: ExchangeId,
        _connection: ConnectionId,
        _tid: u32,
        _time: BootTime,
    ) -> Interest {
        Interest::Unwanted
    }

    /// The next message of either side, in the order in which they were whole. Tells whether more
    /// of this WebSocket is wanted; when not, its id is not heard of again.
    fn socket_message(&mut self, _id: ExchangeId, _message: &Message<'_>) -> Interest {
        Interest::Unwanted
    }

    /// Messages of a side are missing here, nobody knows how many.
    fn socket_gap(&mut self, _id: ExchangeId, _sender: Sender) {}

    /// The WebSocket is over; its id is not heard of again.
    fn socket_closed(&mut self, _id: ExchangeId, _time: BootTime, _ending: Ending) {}
}
