//! Messages that say what they must be: who sent them, which one they are, how
//! long they are, and every byte of the rest follows from that.

use mcl_testbed::SplitMix64;

/// Sender's seed, number and length.
const HEAD: usize = 24;

/// The shortest message.
pub(crate) const SHORTEST: usize = HEAD;

/// Message `number` of the sender with this seed.
pub(crate) fn content(seed: u64, number: u64, len: usize) -> Vec<u8> {
    assert!(len >= SHORTEST);
    let mut bytes = Vec::with_capacity(len + 8);
    for word in [seed, number, len as u64] {
        bytes.extend(word.to_le_bytes());
    }
    let mut words = Words::of(seed, number);
    while bytes.len() < len {
        bytes.extend(words.next());
    }
    bytes.truncate(len);
    bytes
}

/// Who sent it, and which one it is; `None` if a single byte is not as it must be.
pub(crate) fn check(payload: &[u8]) -> Option<(u64, u64)> {
    let (head, rest) = payload.split_at_checked(HEAD)?;
    let word = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let (seed, number) = (word(0)?, word(8)?);
    if word(16)? != payload.len() as u64 {
        return None;
    }
    let mut words = Words::of(seed, number);
    let right = rest.chunks(8).all(|chunk| words.next().starts_with(chunk));
    right.then_some((seed, number))
}

/// What a message is filled with.
struct Words(SplitMix64);

impl Words {
    fn of(seed: u64, number: u64) -> Self {
        Self(SplitMix64::new(seed ^ number.rotate_left(40)))
    }

    fn next(&mut self) -> [u8; 8] {
        self.0.next_u64().to_le_bytes()
    }
}

#[test]
fn a_message_says_what_it_must_be() {
    for len in [SHORTEST, 25, 31, 32, 33, 1000] {
        let whole = content(7, 9, len);
        assert_eq!((whole.len(), check(&whole)), (len, Some((7, 9))));
        assert_eq!(check(&whole[..len - 1]), None);
        for at in HEAD..len {
            let mut broken = whole.clone();
            broken[at] ^= 1;
            assert_eq!(check(&broken), None);
        }
    }
    // Too short to have anything that follows from its head, but for the length.
    assert_eq!(check(b"short"), None);
}
