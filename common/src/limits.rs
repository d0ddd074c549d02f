//! Bounds that the kernel side and the agent must agree on.

/// Payload capacities of data records in bytes, smallest first: a record is reserved with the
/// first that fits, because `bpf_ringbuf_reserve` wants a constant size (kernel 5.8 to today).
pub const DATA_TIERS: [usize; 6] = [256, 768, 2304, 6144, 16_384, 32_768];

/// Most bytes of payload in one record; longer reads and writes become several.
pub const MAX_CHUNK: usize = DATA_TIERS[DATA_TIERS.len() - 1];

/// Most records that one read or write can become; with [`MAX_CHUNK`] this is 4 MiB.
pub const MAX_CHUNKS_PER_CALL: u32 = 128;

/// How much of the end of each call is still copied once a message is over its limit, so that
/// what stands at the end of a body (`usage`, `model`) is seen all the same.
pub const TAIL_BYTES: u32 = 4096;

/// How much of a message is copied in [`crate::map::mode::HEADS`] and `OUTLINE`: its head.
pub const HEAD_BYTES: u32 = 2048;

/// How much of the end of each call is copied in [`crate::map::mode::OUTLINE`] once the head of its
/// message was: small writes of a chunked body whole, so that its end is seen; and the smallest
/// tier, so that it costs no more than to say that there was a call.
pub const OUTLINE_TAIL_BYTES: u32 = 256;

/// Default of how much of one message (bytes in one direction without a byte in the other) is
/// copied before only tails are.
pub const DEFAULT_MESSAGE_BYTES: u32 = 4 << 20;

/// Segments of one `writev`, `sendmsg` and kin that are copied; what is in more is a gap. Each is
/// a tail call in the kernel, of which 33 are allowed.
pub const MAX_SEGMENTS: u32 = 24;

/// Connections remembered in the kernel.
pub const MAX_CONNECTIONS: u32 = 16_384;

/// Threads that may be inside a TLS call or a call on a socket at one time.
pub const MAX_PENDING_CALLS: u32 = 16_384;

/// Processes traced at one time.
pub const MAX_PROCESSES: u32 = 4096;
