//! The account of everything that was fed in.

use core::ops::AddAssign;

use crate::body::BodyError;
use crate::demux::account::{self, Account};
use crate::demux::received::Verdict;
use crate::frame::FrameError;
use crate::header::{HeaderError, StreamId};
use crate::tracker::SequenceCounts;

/// What became of a datagram: exactly one of these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Disposition {
    /// Its frames were acted upon.
    Accepted,
    /// Shorter than a header, or another magic.
    NotMcl,
    /// Another version of the format.
    Version,
    /// A header length that cannot be.
    MalformedHeader,
    /// An unknown critical header flag.
    CriticalFlag,
    /// A frame that cannot be.
    MalformedFrame,
    /// A frame of an unknown critical type, or with an unknown critical flag.
    CriticalFrame,
    /// The receiver does not want this stream.
    IgnoredStream,
    /// Its sequence number has been seen.
    Duplicate,
    /// Its sequence number is older than the window.
    Stale,
    /// Its sequence number is too far away to be believed.
    Jump,
    /// A new stream, and no room in the table of streams.
    StreamLimit,
}

impl From<HeaderError> for Disposition {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Truncated { .. } | HeaderError::Magic { .. } => Self::NotMcl,
            HeaderError::Version { .. } => Self::Version,
            HeaderError::HeaderLength { .. } => Self::MalformedHeader,
            HeaderError::CriticalFlags { .. } => Self::CriticalFlag,
        }
    }
}

impl From<FrameError> for Disposition {
    fn from(error: FrameError) -> Self {
        if error.is_critical() {
            Self::CriticalFrame
        } else {
            Self::MalformedFrame
        }
    }
}

/// Datagrams by what became of them; one field per [`Disposition`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each field is the `Disposition` of its name")]
pub struct DatagramCounts {
    pub accepted: u64,
    pub not_mcl: u64,
    pub version: u64,
    pub malformed_header: u64,
    pub critical_flag: u64,
    pub malformed_frame: u64,
    pub critical_frame: u64,
    pub ignored_stream: u64,
    pub duplicate: u64,
    pub stale: u64,
    pub jump: u64,
    pub stream_limit: u64,
}

impl DatagramCounts {
    /// All datagrams: equals [`Counters::datagrams_fed`].
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.accepted + self.dropped()
    }

    /// The datagrams that were not acted upon.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        account::sum(&self.causes())
    }

    /// Each cause of not acting upon a datagram with its number, those that are 0 too.
    /// The sum is [`dropped`](Self::dropped).
    #[must_use]
    pub const fn causes(&self) -> [(&'static str, u64); 11] {
        [
            ("not MCL", self.not_mcl),
            ("version", self.version),
            ("malformed header", self.malformed_header),
            ("critical flag", self.critical_flag),
            ("malformed frame", self.malformed_frame),
            ("critical frame", self.critical_frame),
            ("ignored stream", self.ignored_stream),
            ("duplicate", self.duplicate),
            ("stale", self.stale),
            ("jump", self.jump),
            ("stream limit", self.stream_limit),
        ]
    }

    #[inline]
    pub(crate) fn count(&mut self, disposition: Disposition) {
        let counter = match disposition {
            Disposition::Accepted => &mut self.accepted,
            Disposition::NotMcl => &mut self.not_mcl,
            Disposition::Version => &mut self.version,
            Disposition::MalformedHeader => &mut self.malformed_header,
            Disposition::CriticalFlag => &mut self.critical_flag,
            Disposition::MalformedFrame => &mut self.malformed_frame,
            Disposition::CriticalFrame => &mut self.critical_frame,
            Disposition::IgnoredStream => &mut self.ignored_stream,
            Disposition::Duplicate => &mut self.duplicate,
            Disposition::Stale => &mut self.stale,
            Disposition::Jump => &mut self.jump,
            Disposition::StreamLimit => &mut self.stream_limit,
        };
        *counter += 1;
    }
}

/// What became of a FRAGMENT frame in an accepted datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FragmentFate {
    Stored,
    Duplicate,
    OfFinished,
    Stale,
    Jump,
    Contradicting,
    TooLarge,
    Filtered,
    NoRoom,
}

/// Frames of accepted datagrams by what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
#[non_exhaustive]
pub struct FrameCounts {
    /// MESSAGE frames with a number not seen before.
    pub message_new: u64,
    /// MESSAGE frames with a number seen before.
    pub message_duplicate: u64,
    /// MESSAGE frames with a number older than the window.
    pub message_stale: u64,
    /// MESSAGE frames with a number too far away to be believed.
    pub message_jump: u64,
    /// FRAGMENT frames whose bytes were kept, the completing ones included.
    pub fragment_stored: u64,
    /// FRAGMENT frames of a message under reassembly that has them already.
    pub fragment_duplicate: u64,
    /// FRAGMENT frames of a message that is not under reassembly any more (or
    /// never was): completed, expired, stranded, evicted, refused.
    pub fragment_of_finished: u64,
    /// FRAGMENT frames with a message number older than the window.
    pub fragment_stale: u64,
    /// FRAGMENT frames with a message number too far away to be believed.
    pub fragment_jump: u64,
    /// FRAGMENT frames whose total, size or topic hash differs from the first
    /// one seen of their message.
    pub fragment_contradicting: u64,
    /// FRAGMENT frames of a message above the limit.
    pub fragment_too_large: u64,
    /// FRAGMENT frames of a message whose topic hash nobody wants.
    pub fragment_filtered: u64,
    /// FRAGMENT frames for which the budget had no room.
    pub fragment_no_room: u64,
    /// Frames of ignorable types.
    pub ignored: u64,
    /// Datagrams with padding.
    pub padding: u64,
}

impl FrameCounts {
    /// All MESSAGE frames of accepted datagrams.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.message_new + self.message_duplicate + self.message_stale + self.message_jump
    }

    /// All FRAGMENT frames of accepted datagrams.
    #[must_use]
    pub const fn fragments(&self) -> u64 {
        self.fragment_stored
            + self.fragment_duplicate
            + self.fragment_of_finished
            + self.fragment_stale
            + self.fragment_jump
            + self.fragment_contradicting
            + self.fragment_too_large
            + self.fragment_filtered
            + self.fragment_no_room
    }

    #[inline]
    pub(crate) fn count_fragment(&mut self, fate: FragmentFate) {
        self.count_fragments(fate, 1);
    }

    pub(crate) fn count_fragments(&mut self, fate: FragmentFate, count: u64) {
        let counter = match fate {
            FragmentFate::Stored => &mut self.fragment_stored,
            FragmentFate::Duplicate => &mut self.fragment_duplicate,
            FragmentFate::OfFinished => &mut self.fragment_of_finished,
            FragmentFate::Stale => &mut self.fragment_stale,
            FragmentFate::Jump => &mut self.fragment_jump,
            FragmentFate::Contradicting => &mut self.fragment_contradicting,
            FragmentFate::TooLarge => &mut self.fragment_too_large,
            FragmentFate::Filtered => &mut self.fragment_filtered,
            FragmentFate::NoRoom => &mut self.fragment_no_room,
        };
        *counter += count;
    }
}

/// Messages by what became of them. Each message of which anything was seen is
/// in exactly one place of each equation:
///
/// - `seen() == whole + whole_too_large + started + filtered_by_hash + too_large + refused`,
///   which is the sum of `received`, `before_first` and `apart` of the message numbers;
/// - `started == completed + expired + stranded + evicted + abandoned + pending`;
/// - `bodies() == whole + completed`, and
///   `bodies() == delivered + crc_mismatch + unclaimed + filtered + malformed()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
#[non_exhaustive]
pub struct MessageCounts {
    /// Came in one MESSAGE frame.
    pub whole: u64,
    /// Came in one MESSAGE frame and was above the limit.
    pub whole_too_large: u64,
    /// Came in fragments, and its reassembly was begun.
    pub started: u64,
    /// Came in fragments; its topic hash was not wanted.
    pub filtered_by_hash: u64,
    /// Came in fragments and was above the limit.
    pub too_large: u64,
    /// Came in fragments; the budget had no room to begin its reassembly.
    pub refused: u64,
    /// Begun, and all fragments arrived.
    pub completed: u64,
    /// Begun, and given up because no fragment arrived for too long.
    pub expired: u64,
    /// Begun, and given up because fragments were lost that are older by now than
    /// the window of sequence numbers accepts, or that the receiver itself
    /// [has lost](crate::Demux::overflow).
    pub stranded: u64,
    /// Begun, and given up to make room.
    pub evicted: u64,
    /// Begun, and given up because its stream started anew or lost its place
    /// in the table of streams.
    pub abandoned: u64,
    /// Body complete and handed over.
    pub delivered: u64,
    /// Payload bytes of these.
    pub delivered_bytes: u64,
    /// Body complete; its CRC-32C does not match, said the sink
    /// ([`Verdict::CrcMismatch`]).
    pub crc_mismatch: u64,
    /// Body complete and wanted by its topic, but there was nobody to take it, said
    /// the sink ([`Verdict::Unclaimed`]).
    pub unclaimed: u64,
    /// Body complete; its topic was not wanted.
    pub filtered: u64,
    /// Body complete; an unknown critical flag or metadata item.
    pub body_critical: u64,
    /// Body complete; topic not UTF-8.
    pub body_topic_not_utf8: u64,
    /// Body complete; anything else wrong with it.
    pub body_malformed: u64,
    /// Body complete; its topic is not the one whose hash the fragments bore.
    pub body_topic_hash: u64,
}

impl MessageCounts {
    pub(crate) const NONE: Self = Self {
        whole: 0,
        whole_too_large: 0,
        started: 0,
        filtered_by_hash: 0,
        too_large: 0,
        refused: 0,
        completed: 0,
        expired: 0,
        stranded: 0,
        evicted: 0,
        abandoned: 0,
        delivered: 0,
        delivered_bytes: 0,
        crc_mismatch: 0,
        unclaimed: 0,
        filtered: 0,
        body_critical: 0,
        body_topic_not_utf8: 0,
        body_malformed: 0,
        body_topic_hash: 0,
    };

    /// Messages of which anything was seen.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.whole
            + self.whole_too_large
            + self.started
            + self.filtered_by_hash
            + self.too_large
            + self.refused
    }

    /// Messages whose body was complete.
    #[must_use]
    pub const fn bodies(&self) -> u64 {
        self.whole + self.completed
    }

    /// Messages whose body was complete but could not be read.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.body_critical + self.body_topic_not_utf8 + self.body_malformed + self.body_topic_hash
    }

    /// Messages under reassembly.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        let ended = self.completed + self.expired + self.stranded + self.evicted + self.abandoned;
        self.started.saturating_sub(ended)
    }

    #[inline]
    pub(crate) const fn count_judged(&mut self, verdict: Verdict, payload: u64) {
        match verdict {
            Verdict::Wanted => {
                self.delivered += 1;
                self.delivered_bytes += payload;
            }
            Verdict::CrcMismatch => self.crc_mismatch += 1,
            Verdict::Unclaimed => self.unclaimed += 1,
        }
    }

    #[inline]
    pub(crate) const fn count_malformed(&mut self, error: &BodyError) {
        let counter = match error {
            BodyError::TopicNotUtf8 { .. } => &mut self.body_topic_not_utf8,
            error if error.is_critical() => &mut self.body_critical,
            _ => &mut self.body_malformed,
        };
        *counter += 1;
    }
}

impl AddAssign for MessageCounts {
    fn add_assign(&mut self, other: Self) {
        self.whole += other.whole;
        self.whole_too_large += other.whole_too_large;
        self.started += other.started;
        self.filtered_by_hash += other.filtered_by_hash;
        self.too_large += other.too_large;
        self.refused += other.refused;
        self.completed += other.completed;
        self.expired += other.expired;
        self.stranded += other.stranded;
        self.evicted += other.evicted;
        self.abandoned += other.abandoned;
        self.delivered += other.delivered;
        self.delivered_bytes += other.delivered_bytes;
        self.crc_mismatch += other.crc_mismatch;
        self.unclaimed += other.unclaimed;
        self.filtered += other.filtered;
        self.body_critical += other.body_critical;
        self.body_topic_not_utf8 += other.body_topic_not_utf8;
        self.body_malformed += other.body_malformed;
        self.body_topic_hash += other.body_topic_hash;
    }
}

/// What streams that lost their place in the table take with them, added up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
#[non_exhaustive]
pub struct DepartedCounts {
    /// How many streams.
    pub streams: u64,
    /// Their datagrams: the number of datagrams missing.
    pub datagrams_missing: u64,
    /// Their messages.
    pub account: Account,
}

/// The account of a [`Demux`](crate::Demux).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams fed in; equals `datagrams.total()`.
    pub datagrams_fed: u64,
    /// Bytes of these, headers of UDP and below not included.
    pub bytes_fed: u64,
    /// Datagrams by what became of them.
    pub datagrams: DatagramCounts,
    /// Accepted datagrams that stood outside any sequence.
    pub unsequenced: u64,
    /// Frames of accepted datagrams.
    pub frames: FrameCounts,
    /// Messages of all streams.
    pub messages: MessageCounts,
    /// Streams that were given a place in the table.
    pub streams_started: u64,
    /// Streams that lost their place in the table.
    pub departed: DepartedCounts,
}

/// The account of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct StreamReport {
    /// The stream.
    pub id: StreamId,
    /// Datagrams, by sequence number. What was malformed is not among them (who can
    /// tell whose it was?) but missing here, and counted in [`Counters::datagrams`].
    pub datagrams: SequenceCounts,
    /// Bytes of the datagrams received, headers of UDP and below not included.
    pub datagram_bytes: u64,
    /// Message numbers. A number counts as received as soon as anything of
    /// its message was seen, whatever became of it: `missing` messages are
    /// those of which nothing was seen.
    pub numbers: SequenceCounts,
    /// Messages by what became of them.
    pub messages: MessageCounts,
    /// Messages under reassembly.
    pub pending: usize,
    /// Bytes which these have allocated.
    pub bytes: usize,
    /// Whether the stream has completed a message.
    pub proven: bool,
}

impl StreamReport {
    /// What became of each message of the stream, from the first number heard to
    /// the highest; see [`Account`].
    #[must_use]
    pub const fn account(&self) -> Account {
        Account::of(&self.numbers, &self.messages)
    }
}
