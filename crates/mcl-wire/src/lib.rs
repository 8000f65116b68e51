//! Placeholder docs.
#![no_std]
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

#[cfg(feature = "alloc")]
extern crate alloc;

mod body;
mod cursor;
#[cfg(feature = "alloc")]
mod demux;
mod fragmenter;
mod frame;
mod head;
mod header;
mod metadata;
mod topic;
mod tracker;
mod writer;

pub use body::{Body, BodyError};
#[cfg(feature = "alloc")]
pub use demux::{
    BodyBytes, Counters, DatagramCounts, Demux, DepartedCounts, Disposition, FrameCounts, Limits,
    MessageCounts, Received, Sink, StreamReport,
};
pub use fragmenter::{
    FRAGMENT_OVERHEAD, FragmentError, Fragmenter, OutgoingFragment, WHOLE_MESSAGE_OVERHEAD,
    whole_message_prefix,
};
pub use frame::{
    FRAGMENT_FIELDS_LEN, FRAME_FLAG_NUMBERED, FRAME_FLOW_CREDIT, FRAME_FRAGMENT, FRAME_HEADER_LEN,
    FRAME_HEARTBEAT, FRAME_MESSAGE, FRAME_PADDING, FRAME_PARITY, FRAME_REPAIR_REQUEST,
    FRAME_UNAVAILABLE, Fragment, Frame, FrameError, Frames, MIN_FRAGMENT_SIZE, WholeMessage,
};
pub use head::{BODY_FLAG_TOPIC, BODY_PREFIX_LEN, BodyHead, MAX_BODY_HEAD_LEN, TopicTooLong};
pub use header::{
    DEFAULT_DATAGRAM_LEN, FLAG_SEALED, FLAG_UNSEQUENCED, HEADER_LEN, Header, HeaderError, MAGIC,
    MAX_DATAGRAM_LEN, MIN_DATAGRAM_LEN, StreamId, VERSION,
};
pub use metadata::{
    Encoding, ITEM_CRC32C, ITEM_ENCODING, ITEM_PUBLISH_TIME, ITEM_SCHEMA, Metadata,
};
pub use topic::{MAX_TOPIC_LEN, TopicHash};
pub use tracker::{Arrival, MAX_JUMP, RESTART_WINDOW, SequenceCounts, SequenceTracker};
pub use writer::{DatagramWriter, Full, WriterState};
