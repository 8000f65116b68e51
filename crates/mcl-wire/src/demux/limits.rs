//! What a receiver may be made to keep.

use core::time::Duration;

use crate::head::MAX_BODY_HEAD_LEN_U32;

/// Bounds on what a [`Demux`](crate::Demux) keeps, whatever arrives.
///
/// Memory is that of messages under reassembly. A stream's own state comes on
/// top: [`max_streams`](Self::max_streams) times about 1.3 KiB, and 32 bytes
/// for each message under reassembly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Longest message body accepted, in bytes: payload and head. Default: a
    /// payload of 64 MiB.
    pub max_message_len: u32,
    /// Bytes for all messages under reassembly and spare buffers, transient
    /// peaks included. Default: 256 MiB.
    ///
    /// A message needs up to 1.5 times its length while its buffer grows: this
    /// should be at least twice `max_message_len`, better four times.
    pub max_bytes: usize,
    /// Bytes, of `max_bytes`, for all streams together that have not completed
    /// a message yet. Default: half of `max_bytes`, so that the first message
    /// of a stream may be a large one.
    pub unproven_bytes: usize,
    /// Bytes, of `max_bytes`, for any one stream. Default: three quarters of
    /// `max_bytes`: two of the longest messages at once, one of them growing.
    pub stream_bytes: usize,
    /// Messages under reassembly at once. Default: 1024.
    pub max_incomplete: usize,
    /// Messages under reassembly at once for any one stream. Default: 64.
    pub max_incomplete_per_stream: usize,
    /// How long a message may go without progress. Default: 1 s.
    pub expiry: Duration,
    /// Streams known at once; three quarters of them keep their places while they
    /// are heard. Default: 1024.
    pub max_streams: usize,
    /// How long a settled stream must be silent before a new stream may take its
    /// place in a full table. Default: 10 s.
    pub stream_idle: Duration,
}

impl Limits {
    const DEFAULT_PAYLOAD: u32 = 64 << 20;
    const DEFAULT_BYTES: usize = 256 << 20;

    /// The defaults for payloads of at most `max_payload` bytes and a budget
    /// of `max_bytes`.
    #[must_use]
    pub const fn new(max_payload: u32, max_bytes: usize) -> Self {
        Self {
            max_message_len: max_payload.saturating_add(MAX_BODY_HEAD_LEN_U32),
            max_bytes,
            unproven_bytes: max_bytes / 2,
            stream_bytes: max_bytes / 4 * 3,
            max_incomplete: 1024,
            max_incomplete_per_stream: 64,
            expiry: Duration::from_secs(1),
            max_streams: 1024,
            stream_idle: Duration::from_secs(10),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(Self::DEFAULT_PAYLOAD, Self::DEFAULT_BYTES)
    }
}
