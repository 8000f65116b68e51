//! An account of its own: which messages a process has got, by their content.

use std::collections::HashMap;

use mcl_udp::StreamId;

use super::content::{Key, Wrong};
use super::words::Found;

/// How many of the last message numbers of a stream are remembered.
const REMEMBERED: u64 = 16_384;
const WORD: u64 = 64;

/// How many wrong payloads are described.
const EXAMPLES: usize = 5;

/// What was got of one stream.
#[derive(Debug)]
struct Got {
    /// Whose stream it is, as its first payload said.
    broadcaster: u8,
    life: u32,
    messages: u64,
    highest: u64,
    /// Bit `number % REMEMBERED`, for the numbers up to `highest`.
    seen: Box<[u64]>,
}

impl Got {
    fn new(key: Key) -> Self {
        Self {
            broadcaster: key.broadcaster,
            life: key.life,
            messages: 0,
            highest: 0,
            seen: vec![0; (REMEMBERED / WORD) as usize].into(),
        }
    }

    /// Notes a number; `false` if it had been noted before.
    fn note(&mut self, number: u64) -> bool {
        if number > self.highest {
            let leap = (number - self.highest).min(REMEMBERED);
            for passed in number + 1 - leap..=number {
                *self.word(passed) &= !bit(passed);
            }
            self.highest = number;
        }
        // What is older is not remembered, and taken for new.
        if self.highest - number < REMEMBERED {
            let word = self.word(number);
            if *word & bit(number) != 0 {
                return false;
            }
            *word |= bit(number);
        }
        self.messages += 1;
        true
    }

    fn word(&mut self, number: u64) -> &mut u64 {
        &mut self.seen[(number % REMEMBERED / WORD) as usize]
    }
}

fn bit(number: u64) -> u64 {
    1 << (number % WORD)
}

/// Looks at each message that a listener gives.
#[derive(Debug, Default)]
pub(super) struct Witness {
    streams: HashMap<StreamId, Got>,
    found: Found,
    examples: Vec<String>,
}

impl Witness {
    /// Takes note of a message and whether its content was found right.
    pub(super) fn take(
        &mut self,
        stream: StreamId,
        number: u64,
        len: usize,
        verified: Result<Key, Wrong>,
    ) {
        let objection = match verified {
            Ok(key) => self.note(stream, number, key),
            Err(wrong) => Some(format!("{wrong:?}")),
        };
        match objection {
            None => self.found.bytes += len as u64,
            Some(why) => {
                self.found.wrong += 1;
                if self.examples.len() < EXAMPLES {
                    self.examples.push(format!(
                        "message {number} of stream {stream}, {len} bytes: {why}"
                    ));
                }
            }
        }
    }

    /// Tells what is wrong if the message is one of another stream or number.
    fn note(&mut self, stream: StreamId, number: u64, key: Key) -> Option<String> {
        let got = self.streams.entry(stream).or_insert_with(|| Got::new(key));
        if (got.broadcaster, got.life) != (key.broadcaster, key.life) {
            return Some(format!(
                "{key:?} in a stream of {} {}",
                got.broadcaster, got.life
            ));
        }
        if number != u64::from(key.index) {
            return Some(format!("{key:?} has another number"));
        }
        if got.note(number) {
            self.found.verified += 1;
        } else {
            self.found.repeated += 1;
        }
        None
    }

    pub(super) fn found(&self) -> Found {
        self.found
    }

    /// Different messages got of a stream.
    pub(super) fn of(&self, stream: StreamId) -> u64 {
        self.streams.get(&stream).map_or(0, |got| got.messages)
    }

    pub(super) fn examples(&self) -> &[String] {
        &self.examples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId(4);

    fn key(index: u32) -> Key {
        Key {
            broadcaster: 1,
            life: 2,
            index,
        }
    }

    #[test]
    fn each_message_counts_once_in_any_order() {
        let mut witness = Witness::default();
        for number in [5, 3, 4, 5, 3, 20_000, 19_999, 19_999] {
            witness.take(STREAM, number, 10, Ok(key(number as u32)));
        }
        let found = witness.found();
        assert_eq!((found.verified, found.repeated, found.wrong), (5, 3, 0));
        assert_eq!((witness.of(STREAM), witness.of(StreamId(5))), (5, 0));
    }

    #[test]
    fn numbers_that_share_a_bit_are_told_apart() {
        let mut got = Got::new(key(0));
        assert!(got.note(7));
        assert!(got.note(7 + REMEMBERED));
        assert!(!got.note(7 + REMEMBERED));
        assert!(got.note(8 + 5 * REMEMBERED));
        assert!(got.note(7 + 5 * REMEMBERED));
    }

    #[test]
    fn content_of_another_stream_or_number_is_wrong() {
        let mut witness = Witness::default();
        witness.take(STREAM, 9, 10, Ok(key(9)));
        let stranger = Key { life: 3, ..key(10) };
        witness.take(STREAM, 10, 10, Ok(stranger));
        witness.take(STREAM, 11, 10, Ok(key(10)));
        witness.take(STREAM, 12, 10, Err(Wrong::Short(10)));
        assert_eq!((witness.found().verified, witness.found().wrong), (1, 3));
        assert_eq!(witness.examples().len(), 3);
    }
}
