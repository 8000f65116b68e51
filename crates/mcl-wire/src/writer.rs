//! Several small messages in one datagram.

use core::fmt;

use crate::cursor::Writer;
use crate::frame::{FRAME_FLAG_NUMBERED, FRAME_HEADER_LEN, FRAME_MESSAGE, FRAME_PADDING};
use crate::head::BodyHead;
use crate::header::{HEADER_LEN, Header, MAX_DATAGRAM_LEN};

/// Writes a datagram of whole messages into the caller's buffer.
///
/// A message that does not fit is refused and leaves the datagram as it was.
/// To keep a datagram open between calls, [`suspend`](Self::suspend) and
/// [`resume`](Self::resume) it.
#[derive(Debug)]
pub struct DatagramWriter<'b> {
    buffer: &'b mut [u8],
    state: WriterState,
}

/// How far a suspended [`DatagramWriter`] has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriterState {
    len: usize,
    previous: Option<u64>,
}

impl WriterState {
    /// Bytes written, the header's included.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no message has been written yet.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.previous.is_none()
    }
}

impl<'b> DatagramWriter<'b> {
    /// Begins a datagram in `buffer`, whose length is the most it may have
    /// (bytes beyond [`MAX_DATAGRAM_LEN`] are not used).
    ///
    /// # Errors
    ///
    /// [`Full`] if the buffer is too short for a header.
    #[inline]
    pub fn new(buffer: &'b mut [u8], header: Header) -> Result<Self, Full> {
        let state = WriterState {
            len: HEADER_LEN,
            previous: None,
        };
        let mut writer = Self::resume(buffer, state);
        writer.set_header(header)?;
        Ok(writer)
    }

    /// Goes on with a datagram in the buffer in which it was begun.
    #[must_use]
    #[inline]
    pub fn resume(buffer: &'b mut [u8], state: WriterState) -> Self {
        let capacity = buffer.len().min(MAX_DATAGRAM_LEN);
        Self {
            buffer: buffer.get_mut(..capacity).unwrap_or_default(),
            state,
        }
    }

    /// Lets the buffer go; the datagram can be resumed.
    #[must_use]
    #[inline]
    pub const fn suspend(self) -> WriterState {
        self.state
    }

    /// Writes the header anew: a datagram that waited for company learns its
    /// sequence number only when it is sent.
    ///
    /// # Errors
    ///
    /// [`Full`] if the buffer is too short for a header.
    pub fn set_header(&mut self, header: Header) -> Result<(), Full> {
        let available = self.buffer.len();
        let place = self.buffer.first_chunk_mut().ok_or(Full {
            needed: HEADER_LEN,
            available,
        })?;
        *place = header.encode();
        Ok(())
    }

    /// Appends message `number`. Its number is written if it is the first of
    /// the datagram or does not follow the one before.
    ///
    /// # Errors
    ///
    /// [`Full`] if the message does not fit; nothing is written then.
    #[inline(always)]
    pub fn message(&mut self, number: u64, head: &BodyHead, payload: &[u8]) -> Result<(), Full> {
        self.frame(number, head, payload).map(|_| ())
    }

    /// As [`message`](Self::message), with `nanoseconds` as the publish time in
    /// place of the one in `head`, if that has one: the head of many messages
    /// need not be copied to be stamped.
    ///
    /// # Errors
    ///
    /// [`Full`] if the message does not fit; nothing is written then.
    #[inline(always)]
    pub fn message_published_at(
        &mut self,
        nanoseconds: u64,
        number: u64,
        head: &BodyHead,
        payload: &[u8],
    ) -> Result<(), Full> {
        let place = self.frame(number, head, payload)?;
        let time = head.time_at().and_then(|at| place.get_mut(at..));
        Writer::new(time.unwrap_or_default()).put(&nanoseconds.to_be_bytes());
        Ok(())
    }

    /// Appends the frame of a message and gives the place of its body.
    #[inline(always)]
    fn frame(&mut self, number: u64, head: &BodyHead, payload: &[u8]) -> Result<&mut [u8], Full> {
        let body_len = head.len().saturating_add(payload.len());
        let follows = self.follows(number);
        let full = self.full(follows, body_len);
        let end = self.state.len.saturating_add(full.needed);
        let frame_len = u16::try_from(full.needed.saturating_sub(FRAME_HEADER_LEN));
        let place = self.buffer.get_mut(self.state.len..end);
        let (Some(place), Ok(frame_len)) = (place, frame_len) else {
            return Err(full);
        };
        let [high, low] = frame_len.to_be_bytes();
        let (fields, body) = place.split_at_mut(full.needed.saturating_sub(body_len));
        if follows {
            Writer::new(fields).put(&[FRAME_MESSAGE, 0, high, low]);
        } else {
            Writer::new(fields)
                .put(&[FRAME_MESSAGE, FRAME_FLAG_NUMBERED, high, low])
                .put(&number.to_be_bytes());
        }
        Writer::new(body).put(head.as_bytes()).put(payload);
        self.state = WriterState {
            len: end,
            previous: Some(number),
        };
        Ok(body)
    }

    /// What a message of `body_len` bytes would need.
    #[inline]
    fn full(&self, follows: bool, body_len: usize) -> Full {
        let number_len = if follows { 0 } else { 8 };
        Full {
            needed: body_len.saturating_add(FRAME_HEADER_LEN + number_len),
            available: self.buffer.len().saturating_sub(self.state.len),
        }
    }

    #[inline]
    fn follows(&self, number: u64) -> bool {
        let implied = self.state.previous.and_then(|number| number.checked_add(1));
        implied == Some(number)
    }

    /// Whether message `number` with a body of `body_len` bytes fits.
    #[must_use]
    pub fn fits(&self, number: u64, body_len: usize) -> bool {
        let full = self.full(self.follows(number), body_len);
        full.needed <= full.available
    }

    /// Pads the datagram with zeros to `len` bytes, or to the buffer's end if
    /// that comes first. Nothing may be appended after padding.
    #[inline]
    pub fn pad_to(&mut self, len: usize) {
        let end = len.min(self.buffer.len());
        if let Some(padding) = self.buffer.get_mut(self.state.len..end) {
            padding.fill(FRAME_PADDING);
            self.state.len = end;
        }
    }

    /// Bytes written so far, the header's included.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.state.len
    }

    /// Whether no message has been written yet.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.state.is_empty()
    }

    /// Ends the datagram and gives its length.
    #[must_use]
    pub const fn finish(self) -> usize {
        self.state.len
    }
}

/// Adds `by`, modulo 2^64, to the number of the first message in `datagram`, and
/// so to those that follow from it: messages written before their numbers were
/// known. `false`, with nothing changed, if the datagram does not begin with a
/// numbered whole message after a plain header.
pub fn shift_numbers(datagram: &mut [u8], by: u64) -> bool {
    let Some((frame, body)) = datagram
        .get_mut(HEADER_LEN..)
        .and_then(<[u8]>::split_first_chunk_mut::<FRAME_HEADER_LEN>)
    else {
        return false;
    };
    match (frame, body.first_chunk_mut()) {
        ([FRAME_MESSAGE, FRAME_FLAG_NUMBERED, ..], Some(number)) => {
            *number = u64::from_be_bytes(*number).wrapping_add(by).to_be_bytes();
            true
        }
        _ => false,
    }
}

/// What was to be written does not fit into the datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// Bytes needed.
    pub needed: usize,
    /// Bytes left.
    pub available: usize,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed, available } = self;
        write!(f, "{needed} bytes do not fit into the {available} left")
    }
}

impl core::error::Error for Full {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use crate::header::StreamId;
    use crate::metadata::Metadata;

    const HEADER: Header = Header::new(StreamId(1), 2);

    fn head() -> BodyHead {
        BodyHead::new(None, &Metadata::new()).unwrap()
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut buffer = [0xEE; HEADER_LEN + 12 + 4 + 10 + 4 + 4];
        let mut writer = DatagramWriter::new(&mut buffer, HEADER).unwrap();
        assert!(writer.is_empty());
        writer.message(0, &head(), &[1; 10]).unwrap();
        assert!(!writer.fits(1, 5) && writer.fits(1, 4) && !writer.fits(2, 4));
        let full = writer.message(1, &head(), &[2]).unwrap_err();
        assert_eq!((full.needed, full.available), (9, 8));
        writer.message(1, &head(), &[]).unwrap();
        let len = writer.finish();
        assert_eq!(len, buffer.len());
        let (_, frames) = Header::decode(&buffer).unwrap();
        assert_eq!(frames.count(), 2);
    }

    #[test]
    fn no_room_for_a_header() {
        let full = DatagramWriter::new(&mut [0; 23], HEADER).unwrap_err();
        assert_eq!((full.needed, full.available), (24, 23));
    }

    #[test]
    fn suspended_and_resumed_under_another_number() {
        let mut buffer = [0; 100];
        let mut writer = DatagramWriter::new(&mut buffer, HEADER).unwrap();
        writer.message(7, &head(), &[1]).unwrap();
        let state = writer.suspend();
        assert_eq!((state.len(), state.is_empty()), (41, false));
        let mut writer = DatagramWriter::resume(&mut buffer, state);
        writer.message(8, &head(), &[2]).unwrap();
        writer.set_header(Header::new(StreamId(1), 99)).unwrap();
        writer.pad_to(1000);
        assert_eq!(writer.finish(), 100);
        let (header, mut frames) = Header::decode(&buffer).unwrap();
        assert_eq!(header.sequence, 99);
        for number in [7, 8] {
            let Some(Ok(Frame::Message(message))) = frames.next() else {
                panic!("a message is missing");
            };
            assert_eq!(message.number, number);
        }
        assert_eq!(frames.next(), Some(Ok(Frame::Padding { len: 50 })));
        assert_eq!(frames.next(), None);
    }

    #[test]
    fn buffers_longer_than_a_datagram_are_not_filled() {
        let mut buffer = alloc::vec![0; 70_000];
        let mut writer = DatagramWriter::new(&mut buffer, HEADER).unwrap();
        let payload = alloc::vec![0; MAX_DATAGRAM_LEN - HEADER_LEN - 12 - 4];
        writer.message(0, &head(), &payload).unwrap();
        assert_eq!(writer.len(), MAX_DATAGRAM_LEN);
        writer.pad_to(usize::MAX);
        assert_eq!(writer.finish(), MAX_DATAGRAM_LEN);
    }

    #[test]
    fn numbers_are_shifted_once_they_are_known() {
        let mut buffer = [0; 100];
        let mut writer = DatagramWriter::new(&mut buffer, HEADER).unwrap();
        writer.message(0, &head(), &[1]).unwrap();
        writer.message(1, &head(), &[2]).unwrap();
        let len = writer.finish();
        assert!(shift_numbers(&mut buffer[..len], 7));
        let (_, frames) = Header::decode(&buffer[..len]).unwrap();
        let numbers = frames.map(|frame| match frame {
            Ok(Frame::Message(message)) => message.number,
            other => panic!("{other:?}"),
        });
        assert!(numbers.eq([7, 8]));
        assert!(shift_numbers(&mut buffer[..len], 0u64.wrapping_sub(7)));
        assert_eq!(buffer[HEADER_LEN + 4..HEADER_LEN + 12], [0; 8]);

        let mut padded = [0; HEADER_LEN + 20];
        DatagramWriter::new(&mut padded, HEADER).unwrap();
        assert!(!shift_numbers(&mut padded, 1));
        assert!(!shift_numbers(&mut buffer[..HEADER_LEN + 11], 1));
        assert!(!shift_numbers(&mut [], 1));
    }

    #[test]
    fn stamped_while_written() {
        let stamped = |time| {
            let metadata = Metadata::new().with_publish_time(time).with_schema(9);
            BodyHead::new(Some("topic"), &metadata).unwrap()
        };
        let mut expected = [0; 120];
        let mut writer = DatagramWriter::new(&mut expected, HEADER).unwrap();
        writer.message(3, &stamped(5), b"one").unwrap();
        writer.message(4, &stamped(6), b"").unwrap();
        writer.message(5, &head(), b"timeless").unwrap();
        let mut buffer = [0; 120];
        let mut writer = DatagramWriter::new(&mut buffer, HEADER).unwrap();
        let unstamped = stamped(0);
        for (time, number, head, payload) in [
            (5, 3, &unstamped, &b"one"[..]),
            (6, 4, &unstamped, b""),
            (7, 5, &head(), b"timeless"),
        ] {
            writer
                .message_published_at(time, number, head, payload)
                .unwrap();
        }
        assert_eq!(buffer, expected);
    }

    #[test]
    fn padding_back_is_no_padding() {
        let mut buffer = [0; 50];
        let mut writer = DatagramWriter::new(&mut buffer, HEADER).unwrap();
        writer.pad_to(3);
        assert_eq!(writer.finish(), HEADER_LEN);
    }
}
