//! Payloads that say what they must be: everything in one follows from the seed of
//! the run and the key in its first bytes.

use mcl_udp::{Bincode, Codec};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::dice::Dice;

/// Key and check: the shortest payload.
pub(super) const SHORTEST: usize = 16;

/// Names one message of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Which broadcaster.
    pub(super) broadcaster: u8,
    /// Which of its lives: each is a stream.
    pub(super) life: u32,
    /// The number of the message in that stream.
    pub(super) index: u32,
}

impl Key {
    const LIFE_BITS: u32 = 24;

    fn pack(self) -> u64 {
        let life = u64::from(self.life) & ((1 << Self::LIFE_BITS) - 1);
        u64::from(self.broadcaster) << 56 | life << 32 | u64::from(self.index)
    }

    fn unpack(packed: u64) -> Self {
        let [broadcaster, a, b, c, index @ ..] = packed.to_be_bytes();
        Self {
            broadcaster,
            life: u32::from_be_bytes([0, a, b, c]),
            index: u32::from_be_bytes(index),
        }
    }
}

/// Why a payload is not what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Too short for a key and a check.
    Short(usize),
    /// The check does not belong to the key and the length.
    Check(Key),
    /// From this byte on it is something else.
    Content(Key, usize),
    /// The value is another one.
    Value(Key),
    /// It does not decode.
    Undecodable(String),
}

fn check(seed: u64, key: u64, len: usize) -> u64 {
    Dice::of(Dice::of(seed, key).next(), len as u64).next()
}

/// Makes a payload of `len` bytes in `out`; at least [`SHORTEST`].
pub(super) fn fill(seed: u64, key: Key, len: usize, out: &mut Vec<u8>) {
    let (packed, len) = (key.pack(), len.max(SHORTEST));
    out.clear();
    out.extend_from_slice(&packed.to_le_bytes());
    out.extend_from_slice(&check(seed, packed, len).to_le_bytes());
    let mut dice = Dice::of(seed, packed);
    out.resize(len, 0);
    let mut words = out[SHORTEST..].chunks_exact_mut(8);
    for word in &mut words {
        word.copy_from_slice(&dice.next().to_le_bytes());
    }
    let rest = words.into_remainder();
    let last = dice.next().to_le_bytes();
    rest.copy_from_slice(&last[..rest.len()]);
}

/// Tells which message it is, if each of its bytes is that message's.
pub(super) fn verify(seed: u64, payload: &[u8]) -> Result<Key, Wrong> {
    let short = Wrong::Short(payload.len());
    let (packed, rest) = payload.split_first_chunk().ok_or(short.clone())?;
    let (found, content) = rest.split_first_chunk().ok_or(short)?;
    let packed = u64::from_le_bytes(*packed);
    let key = Key::unpack(packed);
    if u64::from_le_bytes(*found) != check(seed, packed, payload.len()) {
        return Err(Wrong::Check(key));
    }
    let mut dice = Dice::of(seed, packed);
    let (words, rest) = content.as_chunks();
    for (at, word) in words.iter().enumerate() {
        if u64::from_le_bytes(*word) != dice.next() {
            return Err(Wrong::Content(key, SHORTEST + at * 8));
        }
    }
    let last = dice.next().to_le_bytes();
    if last[..rest.len()] == *rest {
        Ok(key)
    } else {
        Err(Wrong::Content(key, payload.len() - rest.len()))
    }
}

/// A typed message: numbers of several kinds, a text, a list and bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    key: u64,
    check: u64,
    name: String,
    position: (f64, f64),
    state: Option<i16>,
    readings: Vec<u32>,
    bytes: ByteBuf,
}

impl Sample {
    /// One of about `len` bytes.
    pub(super) fn new(seed: u64, key: Key, len: usize) -> Self {
        let packed = key.pack();
        let mut dice = Dice::of(seed, packed);
        let mut bytes = Vec::new();
        fill(seed, key, len, &mut bytes);
        let state = i16::try_from(dice.next() % 1000).ok();
        Self {
            key: packed,
            check: check(seed, packed, len),
            name: format!("sensor {}", dice.next() % 100),
            position: (dice.unit(), dice.unit()),
            state: state.filter(|state| state % 3 > 0),
            readings: (0..len % 32).map(|_| dice.next() as u32).collect(),
            bytes: ByteBuf::from(bytes),
        }
    }

    pub(super) fn verify(&self, seed: u64) -> Result<Key, Wrong> {
        let key = Key::unpack(self.key);
        let len = self.bytes.len();
        match self.check == check(seed, self.key, len) {
            false => Err(Wrong::Check(key)),
            true if *self == Self::new(seed, key, len) => Ok(key),
            true => Err(Wrong::Value(key)),
        }
    }

    /// How many of its bytes are a field of bytes: most of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Tells which message the bytes of a sample are.
    pub(super) fn verify_encoded(seed: u64, payload: &[u8]) -> Result<Key, Wrong> {
        match Bincode.decode::<Self>(payload) {
            Ok(sample) => sample.verify(seed),
            Err(error) => Err(Wrong::Undecodable(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key {
        broadcaster: 5,
        life: 0x01_0203,
        index: 77,
    };

    #[test]
    fn a_payload_tells_which_message_it_is() {
        let mut payload = Vec::new();
        for len in [16, 17, 23, 24, 25, 100, 65_537] {
            fill(9, KEY, len, &mut payload);
            assert_eq!(payload.len(), len);
            assert_eq!(verify(9, &payload), Ok(KEY));
            assert_eq!(verify(8, &payload), Err(Wrong::Check(KEY)));
        }
    }

    #[test]
    fn every_changed_missing_or_added_byte_is_seen() {
        let mut payload = Vec::new();
        fill(9, KEY, 61, &mut payload);
        for at in 0..payload.len() {
            payload[at] ^= 0x10;
            assert!(verify(9, &payload).is_err(), "byte {at}");
            payload[at] ^= 0x10;
        }
        assert_eq!(verify(9, &payload[..60]), Err(Wrong::Check(KEY)));
        assert_eq!(verify(9, &payload[..9]), Err(Wrong::Short(9)));
        payload.push(0);
        assert_eq!(verify(9, &payload), Err(Wrong::Check(KEY)));
    }

    #[test]
    fn a_splice_of_two_payloads_is_seen() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        fill(9, KEY, 4000, &mut one);
        fill(9, Key { index: 78, ..KEY }, 4000, &mut other);
        one[1600..2400].copy_from_slice(&other[1600..2400]);
        assert_eq!(verify(9, &one), Err(Wrong::Content(KEY, 1600)));
    }

    #[test]
    fn a_sample_is_verified_as_a_value_and_as_bytes() {
        let sample = Sample::new(9, KEY, 500);
        assert_eq!(sample.verify(9), Ok(KEY));
        let mut bytes = Vec::new();
        Bincode.encode(&sample, &mut bytes).unwrap();
        assert_eq!(Sample::verify_encoded(9, &bytes), Ok(KEY));
        let mut other = sample;
        other.position.0 += 1.0;
        assert_eq!(other.verify(9), Err(Wrong::Value(KEY)));
    }
}
