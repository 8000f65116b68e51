//! The equation of a stream: sent = delivered + missing + dropped, by cause.

use core::iter::Sum;
use core::ops::AddAssign;

use crate::demux::counters::MessageCounts;
use crate::tracker::SequenceCounts;

/// What became of the messages of a stream: each of them is in exactly one field.
///
/// [`total`](Self::total) is how many message numbers the sender has used from the
/// first that was heard to the highest that was heard, both included, and such as were
/// heard far beyond it, with nothing to confirm them yet:
///
/// ```text
/// total() == numbers.spanned + numbers.before_first + numbers.apart
/// ```
///
/// What was sent before the first number heard is
/// [`numbers.unheard()`](SequenceCounts::unheard) messages. A sender that numbers from
/// 0, as this library's do, has used `numbers.unheard() + total()` numbers when it
/// published the last message that was heard; the field `numbers` of its statistics says
/// that, and if no later message was lost, both are equal. A lost tail is not knowable
/// to a receiver: nothing tells it that there was one.
///
/// After a [restart](SequenceCounts::restarts) of the numbers, those that were leapt
/// over are nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
#[non_exhaustive]
pub struct Account {
    /// Came whole, well-formed and wanted, and was handed over.
    pub delivered: u64,
    /// Nothing was seen of it. Taken back if it comes late, within the window.
    pub missing: u64,
    /// Begun, and given up because no fragment arrived for too long.
    pub expired: u64,
    /// Begun, and given up because lost fragments are too old to come by now, or
    /// were lost by the receiver itself.
    pub stranded: u64,
    /// Begun, and given up to make room for another.
    pub evicted: u64,
    /// Begun, and given up because its stream started anew or lost its place.
    pub abandoned: u64,
    /// Never begun, because the budget had no room for it.
    pub refused: u64,
    /// Above the limit of length.
    pub too_large: u64,
    /// Came whole, but not as it was sent: its CRC-32C does not match.
    pub crc_mismatch: u64,
    /// Came whole, but could not be read; [`MessageCounts`] says which kind.
    pub malformed: u64,
    /// Not wanted, by its topic or the hash of it.
    pub filtered: u64,
    /// Came whole while there was nobody to take it.
    pub unclaimed: u64,
    /// Under reassembly: to be delivered, or to be one of the above.
    pub incomplete: u64,
}

impl Account {
    pub(crate) const fn of(numbers: &SequenceCounts, messages: &MessageCounts) -> Self {
        Self {
            delivered: messages.delivered,
            missing: numbers.missing,
            expired: messages.expired,
            stranded: messages.stranded,
            evicted: messages.evicted,
            abandoned: messages.abandoned,
            refused: messages.refused,
            too_large: messages.too_large + messages.whole_too_large,
            crc_mismatch: messages.crc_mismatch,
            malformed: messages.malformed(),
            filtered: messages.filtered + messages.filtered_by_hash,
            unclaimed: messages.unclaimed,
            incomplete: messages.pending(),
        }
    }

    /// All messages, from the first number heard to the highest.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.delivered + self.lost() + self.filtered + self.unclaimed + self.incomplete
    }

    /// The messages that were wanted, as far as is known, and will not come.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        sum(&self.causes())
    }

    /// Each cause of a loss with its number, those that are 0 too. The sum is
    /// [`lost`](Self::lost).
    #[must_use]
    pub const fn causes(&self) -> [(&'static str, u64); 9] {
        [
            ("missing", self.missing),
            ("expired", self.expired),
            ("stranded", self.stranded),
            ("evicted", self.evicted),
            ("abandoned", self.abandoned),
            ("refused", self.refused),
            ("too large", self.too_large),
            ("CRC mismatch", self.crc_mismatch),
            ("malformed", self.malformed),
        ]
    }
}

/// The sum of the numbers that stand beside their causes.
pub(crate) const fn sum(causes: &[(&'static str, u64)]) -> u64 {
    let (mut sum, mut rest) = (0, causes);
    while let [(_, number), others @ ..] = rest {
        sum += *number;
        rest = others;
    }
    sum
}

impl AddAssign for Account {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.missing += other.missing;
        self.expired += other.expired;
        self.stranded += other.stranded;
        self.evicted += other.evicted;
        self.abandoned += other.abandoned;
        self.refused += other.refused;
        self.too_large += other.too_large;
        self.crc_mismatch += other.crc_mismatch;
        self.malformed += other.malformed;
        self.filtered += other.filtered;
        self.unclaimed += other.unclaimed;
        self.incomplete += other.incomplete;
    }
}

impl Sum for Account {
    fn sum<I: Iterator<Item = Self>>(accounts: I) -> Self {
        accounts.fold(Self::default(), |mut sum, account| {
            sum += account;
            sum
        })
    }
}
