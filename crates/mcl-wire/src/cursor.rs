//! A reader and a writer that split their slice and so cannot leave it.

/// Takes big-endian fields off the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(front)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (front, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(front)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|bytes| u8::from_be_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }
}

/// Puts fields one after the other into a slice.
#[derive(Debug)]
pub(crate) struct Writer<'b> {
    rest: &'b mut [u8],
}

impl<'b> Writer<'b> {
    #[inline]
    pub(crate) const fn new(buffer: &'b mut [u8]) -> Self {
        Self { rest: buffer }
    }

    /// Writes `bytes`, or nothing when they do not fit. Callers have sized or
    /// checked their buffer; leaving bytes out is the one way not to panic
    /// should they ever be wrong, and the golden vectors would show it.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        if let Some(front) = self.rest.split_off_mut(..bytes.len()) {
            copy(front, bytes);
        }
        self
    }
}

/// Copies what has the same length. Few bytes in pieces of fixed lengths, which need no call.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) {
    let done = copied::<32>(to, from)
        || copied::<16>(to, from)
        || copied::<8>(to, from)
        || copied::<4>(to, from)
        || copied::<2>(to, from)
        || copied::<1>(to, from);
    if !done {
        to.copy_from_slice(from);
    }
}

/// Copies the first `N` bytes and the last `N`, which may overlap, if that is all there are.
#[inline(always)]
fn copied<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
    let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return false;
    };
    if from.len() > N.saturating_mul(2) {
        return false;
    }
    if let Some(front) = to.first_chunk_mut::<N>() {
        *front = *first;
    }
    if let Some(back) = to.last_chunk_mut::<N>() {
        *back = *last;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_never_leaves_its_slice() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u16(), Some(0x0102));
        assert_eq!(reader.u16(), None);
        assert_eq!(reader.take(usize::MAX), None);
        assert_eq!(reader.u8(), Some(3));
        assert!(reader.is_empty());
        assert_eq!(reader.take(0), Some(&[][..]));
    }

    #[test]
    fn writer_leaves_out_what_does_not_fit() {
        let mut buffer = [0; 3];
        Writer::new(&mut buffer).put(&[1, 2]).put(&[3, 4]).put(&[5]);
        assert_eq!(buffer, [1, 2, 5]);
    }
}
