//! The account of a listener.

use serde::{Deserialize, Serialize};

use mcl_net::{Foreign, ReceiveBuffer};
use mcl_wire::{Account, Counters, StreamId, StreamReport};

use crate::interface::InterfaceChanges;

/// What a listener has received and lost so far, each loss by its cause.
///
/// A snapshot: take it as often as you like, while messages arrive.
///
/// `Display` is for people: some lines, with what is not zero, and how to mend it where
/// that is known; `{:#}` is one line. For programs there is serde: all fields, under
/// their names; a stream's id is text, 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListenerStatistics {
    /// Datagrams, frames and messages by what became of them
    /// ([`mcl_wire::Counters`]); each datagram is counted exactly once.
    pub wire: Counters,
    /// The same per stream, in no order; `missing` is what sequence numbers say.
    pub streams: Vec<StreamReport>,
    /// Datagrams that reached the socket for another group or over another
    /// interface; not among those of `wire`.
    pub foreign: Foreign,
    /// Errors that receiving from the socket gave.
    pub receive_errors: u64,
    /// The kernel's receive buffer as asked for and as granted.
    pub receive_buffer: ReceiveBuffer,
    /// How often the kernel dropped, for want of room in that buffer or because it
    /// found UDP's checksum wrong (it counts both alike): a diagnostic that explains
    /// missing datagrams but does not add up with them. It counts buffers, each of up to
    /// a whole train, and whatever reached the socket; it goes on when the listener
    /// joins anew. `None` if it cannot be read from the calling thread, which is in
    /// another network namespace.
    pub kernel_drops: Option<u64>,
    /// How often the interface was away, and what came of it.
    pub interface: InterfaceChanges,
    /// Bytes of messages under reassembly, and of spare buffers kept for the next ones.
    pub reassembly_bytes: usize,
}

impl ListenerStatistics {
    /// What became of the messages of all streams, those included that lost their
    /// place in the table: sent = delivered + missing + dropped, by cause. Per stream
    /// it is [`StreamReport::account`].
    ///
    /// Here `delivered` is what was handed to the subscriptions; what became of it there,
    /// [`SubscriptionStatistics`](crate::SubscriptionStatistics) tells.
    #[must_use]
    pub fn account(&self) -> Account {
        let mut account: Account = self.streams.iter().map(StreamReport::account).sum();
        account += self.wire.departed.account;
        account
    }

    /// The account of one stream, such as that of a certain broadcaster
    /// ([`Broadcaster::stream`](crate::Broadcaster::stream)).
    #[must_use]
    pub fn stream(&self, stream: StreamId) -> Option<&StreamReport> {
        self.streams.iter().find(|report| report.id == stream)
    }

    /// Datagrams missing by their sequence numbers, over all streams.
    #[must_use]
    pub fn datagrams_missing(&self) -> u64 {
        let known: u64 = self
            .streams
            .iter()
            .map(|stream| stream.datagrams.missing)
            .sum();
        known + self.wire.departed.datagrams_missing
    }

    /// Messages that were begun or announced by later numbers and were not delivered:
    /// nothing seen of them, given up, refused or damaged ([`Account::lost`]). Those
    /// still under reassembly are not among them.
    #[must_use]
    pub fn messages_lost(&self) -> u64 {
        self.account().lost()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;
    use crate::subscription::SubscriptionStatistics;
    use crate::tally::BroadcasterStatistics;

    fn numbers() -> Value {
        json!({
            "first": 5, "highest": 1398, "spanned": 1394, "received": 1344, "missing": 50,
            "before_first": 2, "apart": 0, "late": 3, "duplicate": 4, "stale": 1, "jumps": 1, "restarts": 0,
        })
    }

    fn messages() -> Value {
        json!({
            "whole": 1000, "whole_too_large": 1, "started": 335, "filtered_by_hash": 7,
            "too_large": 1, "refused": 2, "completed": 315, "expired": 4, "stranded": 5,
            "evicted": 6, "abandoned": 4, "delivered": 1300, "delivered_bytes": 90_000_000,
            "crc_mismatch": 1, "unclaimed": 2, "filtered": 8, "body_critical": 1,
            "body_topic_not_utf8": 1, "body_malformed": 1, "body_topic_hash": 1,
        })
    }

    /// The field names that programs rely upon, all of them.
    fn listener() -> Value {
        let departed = json!({
            "streams": 2, "datagrams_missing": 5,
            "account": {
                "delivered": 49, "missing": 6, "expired": 3, "stranded": 3, "evicted": 3,
                "abandoned": 6, "refused": 2, "too_large": 1, "crc_mismatch": 0, "malformed": 0,
                "filtered": 0, "unclaimed": 0, "incomplete": 0,
            },
        });
        let mut all = messages();
        all["delivered_bytes"] = json!(93_210_000);
        json!({
            "wire": {
                "datagrams_fed": 70_123, "bytes_fed": 97_100_000,
                "datagrams": {
                    "accepted": 70_057, "not_mcl": 1, "version": 2, "malformed_header": 3,
                    "critical_flag": 4, "malformed_frame": 5, "critical_frame": 6,
                    "ignored_stream": 7, "duplicate": 8, "stale": 9, "jump": 10,
                    "stream_limit": 11,
                },
                "unsequenced": 1,
                "frames": {
                    "message_new": 1, "message_duplicate": 2, "message_stale": 3,
                    "message_jump": 4, "fragment_stored": 5, "fragment_duplicate": 6,
                    "fragment_of_finished": 7, "fragment_stale": 8, "fragment_jump": 9,
                    "fragment_contradicting": 10, "fragment_too_large": 11,
                    "fragment_filtered": 12, "fragment_no_room": 13, "ignored": 14,
                    "padding": 15,
                },
                "messages": all,
                "streams_started": 3,
                "departed": departed,
            },
            "streams": [{
                "id": "00000000000000ff",
                "datagrams": {
                    "first": 0, "highest": 71_000, "spanned": 71_001, "received": 69_767,
                    "missing": 1234, "before_first": 0, "apart": 0, "late": 3, "duplicate": 8, "stale": 9,
                    "jumps": 10, "restarts": 0,
                },
                "datagram_bytes": 96_000_000,
                "numbers": numbers(),
                "messages": messages(),
                "pending": 1, "bytes": 4096, "proven": true,
            }],
            "foreign": {"other_group": 1, "other_interface": 2},
            "receive_errors": 1,
            "receive_buffer": {"requested": 4_194_304, "granted": 212_992},
            "kernel_drops": 88,
            "interface": {"lost": 3, "back": 2, "rejoined": 1, "failed": 0},
            "reassembly_bytes": 8192,
        })
    }

    /// Statistics in which nothing is zero.
    pub(crate) fn everything() -> ListenerStatistics {
        from_value(listener()).unwrap()
    }

    #[test]
    fn the_account_of_all_streams() {
        let account = everything().account();
        assert_eq!((account.delivered, account.missing), (1349, 56));
        assert_eq!((account.too_large, account.malformed), (3, 4));
        assert_eq!((account.filtered, account.incomplete), (15, 1));
        let of = everything();
        let one = of.stream(StreamId(0xff)).unwrap();
        let numbers = one.numbers;
        assert_eq!(
            one.account().total(),
            numbers.spanned + numbers.before_first + numbers.apart
        );
        assert_eq!(of.stream(StreamId(1)), None);
        assert_eq!(of.messages_lost(), account.lost());
        assert_eq!(of.datagrams_missing(), 1239);
    }

    #[test]
    fn programs_find_every_field_under_its_name() {
        assert_eq!(to_value(everything()).unwrap(), listener());
        let mut unreadable = everything();
        unreadable.kernel_drops = None;
        assert_eq!(to_value(unreadable).unwrap()["kernel_drops"], Value::Null);

        let sent = json!({
            "messages": 1, "bytes": 2, "coalesced": 3, "trains": 4, "datagrams": 5,
            "numbers": 6, "failed": 7, "unsent": 8, "restarted": 9, "paced_nanos": 1_500_000_000,
            "interface": {"lost": 1, "back": 1, "rejoined": 1, "failed": 0},
        });
        let told: BroadcasterStatistics = from_value(sent.clone()).unwrap();
        assert_eq!(told.paced, std::time::Duration::from_millis(1500));
        assert_eq!(told.unfinished(), 5);
        assert_eq!(to_value(told).unwrap(), sent);

        let subscription = json!({
            "offered": 1, "delivered": 2, "taken": 3, "dropped_oldest": 4, "dropped_newest": 5,
            "discarded": 6, "undecodable": 7, "panics": 8, "queued_messages": 9,
            "queued_bytes": 10,
        });
        let told: SubscriptionStatistics = from_value(subscription.clone()).unwrap();
        assert_eq!(to_value(told).unwrap(), subscription);
    }

    #[test]
    fn a_stream_is_named_as_it_is_shown() {
        let id = StreamId(0x0123_4567_89ab_cdef);
        assert_eq!(to_value(id).unwrap(), json!(id.to_string()));
        assert_eq!(
            from_value::<StreamId>(json!("0123456789abcdef")).unwrap(),
            id
        );
        for wrong in [
            json!("0x12"),
            json!(18),
            json!(""),
            json!("10123456789abcdef"),
        ] {
            assert!(from_value::<StreamId>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
