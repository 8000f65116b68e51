//! What befalls datagrams on their way, decided by a seed.

use std::time::Duration;

use crate::SplitMix64;

/// Where the Ethernet header ends and that of IPv6 begins.
const IPV6_AT: usize = 14;
/// Where the header of UDP begins.
const UDP_AT: usize = IPV6_AT + 40;
/// Where the payload of UDP begins.
const PAYLOAD_AT: usize = UDP_AT + 8;
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const UDP: u8 = 17;

/// One way of the two between the ends of a [`Forwarder`](crate::Forwarder).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the left end to the right one.
    Right,
    /// From the right end to the left one.
    Left,
}

/// What is to go wrong with multicast datagrams, in one direction.
///
/// Rates are probabilities from 0 to 1. At most one of the faults with a rate
/// befalls a datagram, tried in the order of the fields, so that what each does
/// to an account can be told exactly; with small rates they are as good as
/// independent. `Default` is a perfect cable.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Nothing gets through, whatever it is: a cable that is cut.
    pub partition: bool,
    /// Rate of datagrams that vanish.
    pub loss: f64,
    /// Rate of datagrams of which one byte of the UDP payload is changed. The
    /// checksum stays, so that the kernel of the receiver finds out.
    pub corrupt: f64,
    /// Rate of datagrams of which one to four bytes of the UDP payload are
    /// changed and the checksum is made to match, as when they are damaged in
    /// the memory of a router: nothing below the library finds out.
    pub corrupt_undetected: f64,
    /// Rate of datagrams of which one byte is changed anywhere in the frame,
    /// the headers of Ethernet, IPv6 and UDP included.
    pub corrupt_anywhere: f64,
    /// Rate of datagrams that arrive twice, one right after the other.
    pub duplicate: f64,
    /// Rate of datagrams that arrive twice, the second time `hold` later.
    pub duplicate_late: f64,
    /// Rate of datagrams that are held back while others overtake them.
    pub reorder: f64,
    /// Behind how many datagrams one that is held back comes; none means 1. If
    /// so many do not come within 20 ms it is let go.
    pub hold: usize,
    /// How much later everything arrives.
    pub delay: Duration,
}

/// What was done, as far as it is exact: nothing is in flight when
/// [`Forwarder::settle`](crate::Forwarder::settle) has returned it.
///
/// For datagrams, `taken == lost + partitioned + corrupted + corrupted_undetected +
/// corrupted_anywhere + duplicated + duplicated_late + reordered + untouched`, and
/// what was sent to the other end is `given`, with the copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Multicast UDP datagrams that came from the one end.
    pub taken: u64,
    /// Those that nothing befell but the delay.
    pub untouched: u64,
    /// By [`Faults::partition`].
    pub partitioned: u64,
    /// By [`Faults::loss`].
    pub lost: u64,
    /// By [`Faults::corrupt`].
    pub corrupted: u64,
    /// By [`Faults::corrupt_undetected`].
    pub corrupted_undetected: u64,
    /// By [`Faults::corrupt_anywhere`].
    pub corrupted_anywhere: u64,
    /// By [`Faults::duplicate`].
    pub duplicated: u64,
    /// By [`Faults::duplicate_late`].
    pub duplicated_late: u64,
    /// By [`Faults::reorder`].
    pub reordered: u64,
    /// Datagrams given to the other end, copies included.
    pub given: u64,
    /// Other frames (neighbours, group memberships), which go through unless
    /// the network is partitioned.
    pub others: u64,
    /// Other frames that did not go through for that.
    pub others_partitioned: u64,
    /// Frames that the kernel dropped before the forwarder could take them: it
    /// was too slow. Known once settled.
    pub overflowed: u64,
    /// Frames that the kernel would not take for the other end.
    pub refused: u64,
    /// Frames longer than the MTU, which an end sent without segmenting them:
    /// an error of the setup. They are dropped.
    pub oversized: u64,
}

/// What befalls one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Partitioned,
    Lost,
    Corrupted,
    CorruptedUndetected,
    CorruptedAnywhere,
    Duplicated,
    DuplicatedLate,
    Reordered,
    Untouched,
}

impl FaultCounts {
    pub(crate) fn count(&mut self, fate: Fate) {
        self.taken += 1;
        let counter = match fate {
            Fate::Partitioned => &mut self.partitioned,
            Fate::Lost => &mut self.lost,
            Fate::Corrupted => &mut self.corrupted,
            Fate::CorruptedUndetected => &mut self.corrupted_undetected,
            Fate::CorruptedAnywhere => &mut self.corrupted_anywhere,
            Fate::Duplicated => &mut self.duplicated,
            Fate::DuplicatedLate => &mut self.duplicated_late,
            Fate::Reordered => &mut self.reordered,
            Fate::Untouched => &mut self.untouched,
        };
        *counter += 1;
    }
}

/// Decides what befalls whom, and does the damage.
#[derive(Debug)]
pub(crate) struct Chance {
    random: SplitMix64,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: SplitMix64::new(seed),
        }
    }

    fn happens(&mut self, rate: f64) -> bool {
        self.random.unit() < rate
    }

    /// What befalls the next datagram.
    pub(crate) fn fate(&mut self, faults: &Faults) -> Fate {
        if faults.partition {
            return Fate::Partitioned;
        }
        let kinds = [
            (faults.loss, Fate::Lost),
            (faults.corrupt, Fate::Corrupted),
            (faults.corrupt_undetected, Fate::CorruptedUndetected),
            (faults.corrupt_anywhere, Fate::CorruptedAnywhere),
            (faults.duplicate, Fate::Duplicated),
            (faults.duplicate_late, Fate::DuplicatedLate),
            (faults.reorder, Fate::Reordered),
        ];
        let hit = kinds.into_iter().find(|(rate, _)| self.happens(*rate));
        hit.map_or(Fate::Untouched, |(_, fate)| fate)
    }

    /// Damages a frame as its fate wants it.
    pub(crate) fn damage(&mut self, fate: Fate, frame: &mut [u8]) {
        match fate {
            Fate::Corrupted => self.change_a_byte(&mut frame[PAYLOAD_AT..]),
            Fate::CorruptedAnywhere => self.change_a_byte(frame),
            Fate::CorruptedUndetected => {
                // Changes that cancel each other would leave the datagram whole.
                let before = frame[PAYLOAD_AT..].to_vec();
                while frame[PAYLOAD_AT..] == before {
                    for _ in 0..=self.random.below(4) {
                        self.change_a_byte(&mut frame[PAYLOAD_AT..]);
                    }
                }
                finish_checksum(frame);
            }
            _ => {}
        }
    }

    fn change_a_byte(&mut self, bytes: &mut [u8]) {
        let at = self.random.below(bytes.len());
        let change = 1 + self.random.below(255) as u8;
        bytes[at] ^= change;
    }
}

/// Whether a frame carries a multicast UDP datagram over IPv6 with a payload.
pub(crate) fn is_datagram(frame: &[u8]) -> bool {
    frame.len() > PAYLOAD_AT
        && frame[12..IPV6_AT] == ETHERTYPE_IPV6
        && frame[IPV6_AT + 6] == UDP
        && frame[IPV6_AT + 24] == 0xff
}

/// Makes the checksum of UDP right (RFC 8200, section 8.1).
fn finish_checksum(frame: &mut [u8]) {
    frame[UDP_AT + 6..PAYLOAD_AT].fill(0);
    let len = (frame.len() - UDP_AT) as u64;
    let addresses = &frame[IPV6_AT + 8..UDP_AT];
    let sum = sum_of(addresses) + sum_of(&frame[UDP_AT..]) + len + u64::from(UDP);
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    // Zero would mean that there is none.
    let checksum = match !(folded as u16) {
        0 => 0xffff,
        checksum => checksum,
    };
    frame[UDP_AT + 6..PAYLOAD_AT].copy_from_slice(&checksum.to_be_bytes());
}

fn sum_of(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [high] => u64::from(high) << 8,
        _ => 0,
    });
    words.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram of `fe80::1` to `ff02::1` as Linux sent it, checksum and all,
    /// with the payload "mcl".
    fn frame() -> Vec<u8> {
        let mut frame = vec![0; PAYLOAD_AT];
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV6);
        frame[14] = 0x60;
        frame[18..20].copy_from_slice(&11u16.to_be_bytes());
        frame[20] = UDP;
        frame[21] = 1;
        frame[22..24].copy_from_slice(&[0xfe, 0x80]);
        frame[37] = 1;
        frame[38..40].copy_from_slice(&[0xff, 0x02]);
        frame[53] = 1;
        frame[54..60].copy_from_slice(&[0x12, 0x34, 0x65, 0x90, 0, 11]);
        frame.extend(b"mcl");
        frame
    }

    #[test]
    fn a_checksum_is_the_complement_of_the_sum() {
        let mut frame = frame();
        assert!(is_datagram(&frame));
        finish_checksum(&mut frame);
        // RFC 1071: over all of it, checksum included, the sum is all ones.
        let len = (frame.len() - UDP_AT) as u64;
        let mut sum = sum_of(&frame[22..UDP_AT]) + sum_of(&frame[UDP_AT..]) + len + u64::from(UDP);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);
    }

    #[test]
    fn damage_is_where_it_is_said_to_be() {
        let mut chance = Chance::new(1);
        for _ in 0..1000 {
            let mut one = frame();
            chance.damage(Fate::Corrupted, &mut one);
            assert_eq!(one[..PAYLOAD_AT], frame()[..PAYLOAD_AT]);
            let changed = one.iter().zip(frame()).filter(|(a, b)| **a != *b);
            assert_eq!(changed.count(), 1);
            let mut two = frame();
            chance.damage(Fate::CorruptedUndetected, &mut two);
            assert_ne!(two[PAYLOAD_AT..], frame()[PAYLOAD_AT..]);
            let right = two.clone();
            finish_checksum(&mut two);
            assert_eq!(two, right);
        }
    }

    #[test]
    fn rates_hold_and_the_seed_decides() {
        let faults = Faults {
            loss: 0.1,
            duplicate: 0.01,
            ..Faults::default()
        };
        let run = |seed| {
            let (mut chance, mut counts) = (Chance::new(seed), FaultCounts::default());
            (0..100_000).for_each(|_| counts.count(chance.fate(&faults)));
            counts
        };
        let counts = run(1);
        assert_eq!(counts, run(1));
        assert_ne!(counts, run(2));
        assert!((9_500..10_500).contains(&counts.lost), "{counts:?}");
        assert!((700..1_100).contains(&counts.duplicated), "{counts:?}");
        assert_eq!(
            counts.untouched + counts.lost + counts.duplicated,
            counts.taken
        );
    }
}
