//! Received bytes, shared between all who look at them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem;
use std::ops::{Bound, Deref, Range, RangeBounds};
use std::sync::{Arc, Weak};

use crate::depot::Depot;

/// How many bytes `Debug` shows.
const SHOWN: usize = 16;

/// Up to this many bytes a payload is copied rather than shared: to count a reference
/// and to let go of it takes longer.
pub(crate) const FEW: usize = 64;

/// What payloads share: bytes, and where the allocation goes when nobody needs
/// them any more.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    /// None for blocks of small messages, on which the listener keeps an eye.
    pub(crate) home: Weak<Depot>,
}

/// Bytes that any number of owners share: a clone or a [`slice`](Self::slice)
/// counts a reference and neither allocates nor copies. Up to 64 bytes that came in one
/// datagram lie in the payload itself, and are copied with it.
///
/// It dereferences to `[u8]` and compares with whatever holds bytes. When the
/// last owner lets go, the listener that it came from uses the memory again.
///
/// ```
/// use mcl_udp::Payload;
///
/// let payload = Payload::from(vec![1, 2, 3, 4]);
/// let tail = payload.slice(2..);
/// assert_eq!(tail, [3, 4]);
/// assert_eq!(tail.len() + payload.len(), 6);
/// ```
#[derive(Clone, Default)]
pub struct Payload(Bytes);

#[derive(Clone, Default)]
enum Bytes {
    /// None; also in a payload that is being dropped.
    #[default]
    Nothing,
    /// `len` of `bytes`.
    Few {
        len: u8,
        bytes: Room,
    },
    Shared(Part),
}

impl Bytes {
    const FEW: Self = Self::Few {
        len: 0,
        bytes: Room([0; FEW]),
    };
}

/// Room for a few bytes, where words of them can be moved and read as such.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Room([u8; FEW]);

/// A part of what is shared.
#[derive(Clone)]
struct Part {
    whole: Arc<Buffer>,
    // `start <= end <= whole.bytes.len()`, by construction.
    start: usize,
    end: usize,
}

/// Copies all of `from` to the front of `to`, in pieces of fixed lengths, which need no call.
#[inline(always)]
fn copy_few(to: &mut [u8; FEW], from: &[u8]) {
    let _ = copied::<32>(to, from)
        || copied::<16>(to, from)
        || copied::<8>(to, from)
        || copied::<4>(to, from)
        || copied::<2>(to, from)
        || copied::<1>(to, from);
}

/// Copies the first `N` bytes and the last `N`, which overlap, if that is all there are.
#[inline(always)]
fn copied<const N: usize>(to: &mut [u8; FEW], from: &[u8]) -> bool {
    let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return false;
    };
    let at = from.len() - N;
    let (Some(front), true) = (to.first_chunk_mut::<N>(), at <= N) else {
        return false;
    };
    *front = *first;
    if let Some(back) = to.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<N>) {
        *back = *last;
    }
    true
}

impl Payload {
    /// Takes `range` of `whole`, which stays allocated as long as the payload:
    /// a message body is not copied to strip it of what precedes its payload.
    ///
    /// # Panics
    /// If `range` is not within `whole`.
    pub(crate) fn new(whole: Arc<Buffer>, range: Range<usize>) -> Self {
        let Range { start, end } = range;
        assert!(
            start <= end && end <= whole.bytes.len(),
            "{start}..{end} is not within {} bytes",
            whole.bytes.len()
        );
        Self(Bytes::Shared(Part { whole, start, end }))
    }

    /// Becomes a copy of `from`, in place: to copy it elsewhere first would have the processor wait
    /// until all of it is written. `false`, and unchanged, if that is more than [`FEW`] bytes.
    #[inline(always)]
    pub(crate) fn copy_few(&mut self, from: &[u8]) -> bool {
        let Some(count) = u8::try_from(from.len()).ok().filter(|_| from.len() <= FEW) else {
            return false;
        };
        if !matches!(self.0, Bytes::Few { .. }) {
            self.0 = Bytes::FEW;
        }
        if let Bytes::Few { len, bytes } = &mut self.0 {
            *len = count;
            copy_few(&mut bytes.0, from);
        }
        true
    }

    /// Takes the bytes, and leaves none. Room for a few stays what it is.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        match &mut self.0 {
            Bytes::Few { len, bytes } => Self(Bytes::Few {
                len: mem::take(len),
                bytes: *bytes,
            }),
            others => Self(mem::take(others)),
        }
    }

    /// A part of these bytes, sharing them.
    ///
    /// # Panics
    /// If `range` reaches beyond the payload or ends before it begins.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len(),
        };
        assert!(
            start <= end && end <= self.len(),
            "range {start}..{end} is not within a payload of {} bytes",
            self.len()
        );
        Self(match &self.0 {
            Bytes::Nothing => Bytes::Nothing,
            Bytes::Few { .. } => {
                let mut part = Self::default();
                part.copy_few(&self[start..end]);
                return part;
            }
            Bytes::Shared(part) => Bytes::Shared(Part {
                whole: Arc::clone(&part.whole),
                start: part.start + start,
                end: part.start + end,
            }),
        })
    }

    /// The bytes as a vector of one's own. It is moved out where no one else
    /// shares it (a part is shifted to the front, in place), copied otherwise.
    #[must_use]
    pub fn into_vec(mut self) -> Vec<u8> {
        let Bytes::Shared(part) = &mut self.0 else {
            return self.to_vec();
        };
        match Arc::get_mut(&mut part.whole) {
            Some(unique) => {
                let mut bytes = mem::take(&mut unique.bytes);
                bytes.truncate(part.end);
                bytes.drain(..part.start);
                (part.start, part.end) = (0, 0);
                bytes
            }
            None => self.to_vec(),
        }
    }
}

impl Drop for Payload {
    #[inline]
    fn drop(&mut self) {
        if let Bytes::Shared(part) = mem::take(&mut self.0) {
            part.let_go();
        }
    }
}

impl Part {
    /// The last owner sends the memory home. Two who let go at the same time may
    /// both miss that; then it is freed as usual.
    fn let_go(self) {
        let mut whole = self.whole;
        // Costs less than finding out whether this is the last owner.
        if whole.home.strong_count() == 0 {
            return;
        }
        if let Some(home) = Arc::get_mut(&mut whole).and_then(|buffer| buffer.home.upgrade()) {
            home.give_back(whole);
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Nothing => &[],
            Bytes::Few { len, bytes } => &bytes.0[..usize::from(*len)],
            Bytes::Shared(part) => &part.whole.bytes[part.start..part.end],
        }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Payload {
    /// Takes the vector over without copying its bytes.
    fn from(bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        let whole = Buffer {
            bytes,
            ..Buffer::default()
        };
        Self(Bytes::Shared(Part {
            whole: Arc::new(whole),
            start: 0,
            end,
        }))
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Payload {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Payload {}

impl Hash for Payload {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self[..self.len().min(SHOWN)];
        let more = if self.len() > SHOWN { "..." } else { "" };
        write!(
            f,
            "Payload({} bytes, b\"{}\"{more})",
            self.len(),
            shown.escape_ascii()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn body() -> Payload {
        Payload::from(b"topic:hello".to_vec())
    }

    #[test]
    fn clones_and_slices_share_the_bytes() {
        let whole = body();
        assert_eq!(whole.clone().as_ptr(), whole.as_ptr());
        assert_eq!(whole.slice(6..).as_ptr(), whole[6..].as_ptr());
        assert_eq!(whole.slice(6..).slice(1..3), b"el");
        assert_eq!(whole.slice(..=4), *b"topic");
        assert_eq!(
            whole.slice((Bound::Excluded(4), Bound::Unbounded)),
            b":hello"
        );
        assert!(whole.slice(11..).is_empty());
        assert_eq!(body().slice(6..11), "hello");
    }

    fn few(bytes: &[u8]) -> Payload {
        let mut few = Payload::default();
        assert!(few.copy_few(bytes));
        few
    }

    #[test]
    fn few_bytes_are_copied_and_more_are_not() {
        let bytes: Vec<u8> = (1..=FEW as u8 + 1).collect();
        let mut place = body();
        for len in (0..=FEW).chain((0..=FEW).rev()) {
            assert!(place.copy_few(&bytes[..len]));
            assert_eq!(place, bytes[..len]);
            assert_eq!(place.clone(), bytes[..len]);
            assert_eq!(place.clone().into_vec(), bytes[..len]);
        }
        let mut place = few(b"before");
        assert!(!place.copy_few(&bytes));
        assert_eq!(place, "before");
    }

    #[test]
    fn a_slice_of_few_bytes_is_what_that_of_many_would_be() {
        let few = few(b"topic:hello");
        assert_eq!(few.slice(6..), "hello");
        assert_eq!(few.slice(6..).slice(1..3), "el");
        assert!(few.slice(11..).is_empty());
        assert!(std::panic::catch_unwind(|| few.slice(..12)).is_err());
        assert_eq!(HashSet::from([few]).get(&body()), Some(&body()));
    }

    #[test]
    fn what_is_taken_is_gone() {
        for mut payload in [body(), few(b"topic:hello")] {
            assert_eq!(payload.take(), body());
            assert_eq!(payload, []);
            assert_eq!(payload.take(), []);
        }
    }

    #[test]
    fn slices_within_the_vector_but_beyond_the_payload_are_refused() {
        let part = body().slice(2..5);
        let beyond = || part.slice(1..4);
        assert!(std::panic::catch_unwind(beyond).is_err());
        let last = || part.slice(..=usize::MAX);
        assert!(std::panic::catch_unwind(last).is_err());
        #[expect(clippy::reversed_empty_ranges, reason = "the case under test")]
        let reversed = || part.slice(2..1);
        assert!(std::panic::catch_unwind(reversed).is_err());
    }

    #[test]
    fn a_unique_payload_moves_out_and_a_shared_one_is_copied() {
        let whole = body();
        let address = whole.as_ptr();
        let shared = whole.clone();
        let copy = whole.into_vec();
        assert_ne!(copy.as_ptr(), address);
        assert_eq!(shared, copy);
        assert_eq!(shared.clone().slice(6..8).into_vec(), b"he");

        let moved = shared.into_vec();
        assert_eq!(moved.as_ptr(), address);
        let whole = Payload::from(moved);
        let part = whole.slice(6..9);
        drop(whole);
        let part = part.into_vec();
        assert_eq!(part.as_ptr(), address);
        assert_eq!(part, b"hel");
    }

    #[test]
    fn equality_and_hash_go_by_the_bytes_alone() {
        let part = body().slice(6..);
        let own = Payload::from(b"hello".to_vec());
        assert_eq!(part, own);
        assert_eq!(part, b"hello".to_vec());
        assert_eq!(part, b"hello"[..]);
        assert_eq!(part, &b"hello"[..]);
        assert_ne!(part, body());
        assert!(HashSet::from([part]).contains(&own));
        assert_eq!(Payload::default(), []);
    }

    #[test]
    fn debug_shows_the_length_and_the_beginning() {
        assert_eq!(
            format!("{:?}", body()),
            r#"Payload(11 bytes, b"topic:hello")"#
        );
        let long = Payload::from(vec![0x07; 1000]);
        let shown = "\\x07".repeat(SHOWN);
        assert_eq!(
            format!("{long:?}"),
            format!("Payload(1000 bytes, b\"{shown}\"...)")
        );
    }
}
