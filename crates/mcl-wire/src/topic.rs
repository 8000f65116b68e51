//! Topic hashes.

/// Longest topic, in bytes of UTF-8.
pub const MAX_TOPIC_LEN: usize = 255;

/// A 32-bit FNV-1a hash of a topic, carried by every fragment so that an
/// uninterested listener can skip reassembly.
///
/// FNV-1a is specified in draft-eastlake-fnv (offset basis `0x811c9dc5`, prime
/// `0x01000193`). No topic is 0; a topic that hashes to 0 uses 1.
///
/// ```
/// use mcl_wire::TopicHash;
/// assert_eq!(TopicHash::of(None), TopicHash::NONE);
/// assert_eq!(TopicHash::of(Some("")), TopicHash(0x811c_9dc5));
/// assert_eq!(TopicHash::of(Some("a")), TopicHash(0xe40c_292c));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicHash(pub u32);

impl TopicHash {
    /// The hash of a message without a topic.
    pub const NONE: Self = Self(0);

    /// The hash of `topic`.
    #[must_use]
    #[inline]
    pub fn of(topic: Option<&str>) -> Self {
        let Some(topic) = topic else {
            return Self::NONE;
        };
        let hash = topic.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Self(hash.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        // From the test vectors of draft-eastlake-fnv.
        assert_eq!(TopicHash::of(Some("foobar")).0, 0xbf9c_f968);
        assert_eq!(TopicHash::of(Some("b")).0, 0xe70c_2de5);
    }

    #[test]
    fn a_topic_never_hashes_to_none() {
        // Its plain FNV-1a hash is 0.
        assert_eq!(TopicHash::of(Some("+!=yG")), TopicHash(1));
    }
}
