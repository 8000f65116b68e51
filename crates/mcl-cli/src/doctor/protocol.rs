//! What the two sides of a measurement say to each other.
//!
//! Control messages are JSON on one topic, numbered payloads go on another. Each
//! question is repeated until it is answered, and each answer is given as often as it
//! is asked for, so that a connection which loses half of everything is measured too.

use serde::{Deserialize, Serialize};

/// Control messages; the number changes with their meaning.
pub(super) const CONTROL: &str = "mcl.doctor.1";

/// Numbered payloads.
pub(super) const DATA: &str = "mcl.doctor.1.data";

/// Who began a measurement, and who waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    Peer,
    Listener,
}

impl Side {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Listener => "listener",
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Peer => Self::Listener,
            Self::Listener => Self::Peer,
        }
    }
}

/// One size of message in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Round {
    pub(super) sender: Side,
    /// Bytes of each payload.
    pub(super) size: usize,
    pub(super) count: u32,
    /// Messages a second.
    pub(super) rate: f64,
}

impl Round {
    /// How long it takes.
    pub(super) fn seconds(&self) -> f64 {
        f64::from(self.count) / self.rate
    }
}

/// A small datagram, a full one, dozens, hundreds; a rate that a link of 100 Mbit/s carries.
const SIZES: [(usize, u32, f64); 4] = [
    (64, 1000, 1000.0),
    (1300, 1000, 1000.0),
    (65_536, 100, 100.0),
    (1_048_576, 10, 5.0),
];

/// What is measured, in this order.
pub(super) fn plan() -> Vec<Round> {
    let of = |sender| {
        SIZES.map(|(size, count, rate)| Round {
            sender,
            size,
            count,
            rate,
        })
    };
    [of(Side::Peer), of(Side::Listener)].concat()
}

/// What became of a round, as its receiver counted it: both sides show the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) from: Side,
    pub(super) size: usize,
    pub(super) sent: u32,
    pub(super) arrived: u32,
    /// Arrived with other bytes than were sent.
    pub(super) damaged: u32,
    /// Datagrams missing by their sequence numbers.
    pub(super) datagrams_lost: u64,
    /// How often the receiving kernel had no room; `None` if it cannot be read.
    pub(super) kernel_drops: Option<u64>,
    /// Bytes of the receive buffer as granted.
    pub(super) receive_buffer: usize,
}

impl Row {
    pub(super) fn lost(&self) -> u32 {
        self.sent.saturating_sub(self.arrived)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "lowercase")]
pub(super) enum Control {
    /// The peer is there.
    Hello,
    /// The listener heard it.
    Welcome,
    /// Payloads follow.
    Begin { round: usize },
    /// They may.
    Ready { round: usize },
    /// They were so many.
    End { round: usize, sent: u32 },
    /// So many came.
    Outcome { round: usize, row: Row },
    /// That was the last one.
    Bye,
}

/// A control message with who says it, in which measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Letter {
    /// A random number of the peer's.
    pub(super) session: u64,
    /// A random number of the listener's; 0 while the peer does not know it.
    pub(super) listener: u64,
    pub(super) from: Side,
    #[serde(flatten)]
    pub(super) control: Control,
}

/// Bytes before the filling of a payload.
pub(super) const HEAD_LEN: usize = 16;

/// Writes whose payload it is, and which one.
pub(super) fn stamp(payload: &mut [u8], session: u64, round: usize, number: u32) {
    let round = u32::try_from(round).unwrap_or(u32::MAX);
    payload.fill(number as u8);
    payload[..8].copy_from_slice(&session.to_le_bytes());
    payload[8..12].copy_from_slice(&round.to_le_bytes());
    payload[12..HEAD_LEN].copy_from_slice(&number.to_le_bytes());
}

/// The number of a payload of this session and round, and whether its filling is what
/// was sent.
pub(super) fn read(payload: &[u8], session: u64, round: usize, size: usize) -> Option<(u32, bool)> {
    let (head, filling) = payload.split_first_chunk::<HEAD_LEN>()?;
    let (whose, rest) = head.split_first_chunk::<8>()?;
    let (which, number) = rest.split_first_chunk::<4>()?;
    let number = u32::from_le_bytes(number.try_into().ok()?);
    let is_ours = u64::from_le_bytes(*whose) == session
        && usize::try_from(u32::from_le_bytes(*which)) == Ok(round);
    let is_whole = payload.len() == size && filling.iter().all(|it| *it == number as u8);
    is_ours.then_some((number, is_whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_known_again_and_damage_is_seen() {
        let mut payload = vec![0; 64];
        stamp(&mut payload, 7, 3, 259);
        assert_eq!(read(&payload, 7, 3, 64), Some((259, true)));
        assert_eq!(read(&payload, 7, 4, 64), None);
        assert_eq!(read(&payload, 8, 3, 64), None);
        assert_eq!(read(&payload, 7, 3, 65), Some((259, false)));
        payload[63] ^= 1;
        assert_eq!(read(&payload, 7, 3, 64), Some((259, false)));
        assert_eq!(read(&payload[..15], 7, 3, 15), None);
    }

    #[test]
    fn a_letter_is_one_flat_object() {
        let letter = Letter {
            session: 1,
            listener: 2,
            from: Side::Peer,
            control: Control::End { round: 0, sent: 9 },
        };
        let text = serde_json::to_string(&letter).unwrap();
        let expected = r#"{"session":1,"listener":2,"from":"peer","say":"end","round":0,"sent":9}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Letter>(&text).unwrap(), letter);
    }
}
