//! What a message's bytes are, how they are cut, and how they are checked.
//!
//! The first and the last 8 bytes are the message's number (little-endian; the
//! first only, if it is shorter than 16), the rest is fixed. Where a message
//! takes several datagrams, the fixed bytes at the beginning of each but the
//! first are its index: the receiver sees every loss, and there is no header.

use crate::options::Mode;

/// The longest datagram on a link of 1500 bytes, and with it the longest
/// message that is not cut.
const LINK_DATAGRAM: usize = 1452;

/// What programs without offload send: IP fragments it.
const HUGE_DATAGRAM: usize = 60_000;

/// The longest train, and the most datagrams in one (`UDP_MAX_SEGMENTS`).
const MAX_TRAIN: usize = 65_527;
const MAX_SEGMENTS: usize = 64;

/// Tells an index at the beginning of a datagram from a number.
const INDEX: u64 = 1 << 63;

const FILL: u8 = 0xa5;

/// How messages of one size are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Bytes of each datagram but a message's last.
    pub(crate) datagram: usize,
    /// Bytes that one system call sends.
    pub(crate) train: usize,
    /// Messages that one system call sends, if they are short.
    pub(crate) batch: usize,
}

impl Shape {
    pub(crate) fn new(mode: Mode, size: usize) -> Self {
        match mode {
            Mode::Naive => {
                let datagram = cut(size, HUGE_DATAGRAM);
                let (train, batch) = (datagram, 1);
                Self {
                    size,
                    datagram,
                    train,
                    batch,
                }
            }
            Mode::Gso => {
                let datagram = cut(size, LINK_DATAGRAM);
                let segments = (MAX_TRAIN / datagram).min(MAX_SEGMENTS);
                let (train, batch) = (
                    segments * datagram,
                    if size == datagram { segments } else { 1 },
                );
                Self {
                    size,
                    datagram,
                    train,
                    batch,
                }
            }
        }
    }

    /// Datagrams of a message.
    fn parts(&self) -> usize {
        self.size.div_ceil(self.datagram)
    }

    /// As many messages as one call sends, but for their numbers.
    pub(crate) fn messages(&self) -> Vec<u8> {
        let mut bytes = vec![FILL; self.batch * self.size];
        for message in bytes.chunks_mut(self.size) {
            for (index, datagram) in (0_u64..).zip(message.chunks_mut(self.datagram)).skip(1) {
                write(datagram.first_chunk_mut(), INDEX | index);
            }
        }
        bytes
    }
}

/// The datagram length, such that a message's last datagram has room for an
/// index and a number.
fn cut(size: usize, longest: usize) -> usize {
    let mut datagram = size.min(longest);
    while (1..16).contains(&(size % datagram)) {
        datagram -= 1;
    }
    datagram
}

fn write(place: Option<&mut [u8; 8]>, value: u64) {
    if let Some(place) = place {
        *place = value.to_le_bytes();
    }
}

/// Gives a message its number.
pub(crate) fn write_number(message: &mut [u8], number: u64) {
    write(message.first_chunk_mut(), number);
    if message.len() >= 16 {
        write(message.last_chunk_mut(), number);
    }
}

/// What was received.
#[derive(Debug)]
pub(crate) struct Tally {
    shape: Shape,
    /// The message under way, and how many of its datagrams are there.
    under_way: (u64, usize),
    /// One more than the highest number.
    end: u64,
    pub(crate) messages: u64,
    pub(crate) bad: u64,
}

impl Tally {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            shape,
            under_way: (0, 0),
            end: 0,
            messages: 0,
            bad: 0,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.messages * self.shape.size as u64
    }

    /// Bytes of the message under way, less than all of it.
    pub(crate) fn under_way_bytes(&self) -> usize {
        self.under_way.1 * self.shape.datagram
    }

    /// Numbers that are missing below the highest.
    pub(crate) fn lost(&self) -> u64 {
        self.end.saturating_sub(self.messages)
    }

    /// Takes what one system call received; says which message was the last to
    /// become whole.
    pub(crate) fn take(&mut self, train: &[u8]) -> Option<u64> {
        let datagrams = train.chunks(self.shape.datagram);
        datagrams.fold(None, |last, datagram| self.take_datagram(datagram).or(last))
    }

    fn take_datagram(&mut self, datagram: &[u8]) -> Option<u64> {
        let Some(head) = datagram.first_chunk().map(|head| u64::from_le_bytes(*head)) else {
            self.bad += 1;
            return None;
        };
        let (number, have) = if head & INDEX == 0 {
            (head, 1)
        } else if self.under_way.1 as u64 == head & !INDEX && self.under_way.1 > 0 {
            (self.under_way.0, self.under_way.1 + 1)
        } else {
            // Some before it is missing, and with it the message.
            self.under_way.1 = 0;
            return None;
        };
        self.under_way = (number, have);
        self.finish(datagram, number, have)
    }

    fn finish(&mut self, datagram: &[u8], number: u64, have: usize) -> Option<u64> {
        let is_last = have == self.shape.parts();
        let len = if is_last {
            self.shape.size - (have - 1) * self.shape.datagram
        } else {
            self.shape.datagram
        };
        let tail = datagram.last_chunk().map(|tail| u64::from_le_bytes(*tail));
        let ends_well = !is_last || self.shape.size < 16 || tail == Some(number);
        if datagram.len() != len || !ends_well {
            self.bad += 1;
            self.under_way.1 = 0;
            return None;
        }
        if !is_last {
            return None;
        }
        self.under_way.1 = 0;
        self.messages += 1;
        self.end = self.end.max(number + 1);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages `0..count`, as the trains that carry them.
    fn trains(shape: Shape, count: u64) -> Vec<Vec<u8>> {
        let one = &mut shape.messages()[..shape.size];
        (0..count)
            .flat_map(|number| {
                write_number(one, number);
                one.chunks(shape.train)
                    .map(<[u8]>::to_vec)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn messages_are_cut_as_documented() {
        let shape = |mode, size| {
            let shape = Shape::new(mode, size);
            (shape.datagram, shape.train, shape.batch, shape.parts())
        };
        assert_eq!(shape(Mode::Gso, 64), (64, 4096, 64, 1));
        assert_eq!(shape(Mode::Gso, 1024), (1024, 64_512, 63, 1));
        assert_eq!(shape(Mode::Gso, 65_536), (1452, 65_340, 1, 46));
        assert_eq!(shape(Mode::Naive, 1024), (1024, 1024, 1, 1));
        assert_eq!(shape(Mode::Naive, 65_536), (60_000, 60_000, 1, 2));
        // Four bytes over would leave no room for the number.
        assert_eq!(shape(Mode::Gso, 1456).0, 1440);
    }

    #[test]
    fn all_that_is_sent_is_counted() {
        for mode in [Mode::Gso, Mode::Naive] {
            for size in [
                8,
                15,
                16,
                64,
                1452,
                1453,
                1468,
                2904,
                60_000,
                60_001,
                65_536,
                1 << 20,
            ] {
                let shape = Shape::new(mode, size);
                let mut tally = Tally::new(shape);
                for train in trains(shape, 3) {
                    tally.take(&train);
                }
                assert_eq!(
                    (tally.messages, tally.lost(), tally.bad),
                    (3, 0, 0),
                    "{mode:?} {size}"
                );
            }
        }
    }

    #[test]
    fn whatever_is_missing_costs_its_message() {
        let shape = Shape::new(Mode::Gso, 100_000);
        let sent = trains(shape, 3);
        for missing in 0..sent.len() - 2 {
            let mut tally = Tally::new(shape);
            for (index, train) in sent.iter().enumerate() {
                if index != missing {
                    tally.take(train);
                }
            }
            assert_eq!(
                (tally.messages, tally.lost(), tally.bad),
                (2, 1, 0),
                "{missing}"
            );
        }
    }

    #[test]
    fn a_train_belongs_behind_those_of_its_message() {
        for size in [64, 100_000, 1 << 20] {
            let shape = Shape::new(Mode::Gso, size);
            let mut tally = Tally::new(shape);
            let mut whole = vec![0; size];
            for train in trains(shape, 2) {
                let begin = tally.under_way_bytes();
                whole[begin..begin + train.len()].copy_from_slice(&train);
                if let Some(number) = tally.take(&train) {
                    let mut sent = shape.messages();
                    write_number(&mut sent[..size], number);
                    assert_eq!(whole, sent[..size]);
                }
            }
            assert_eq!((tally.messages, tally.under_way_bytes()), (2, 0));
        }
    }

    #[test]
    fn bytes_of_two_messages_make_none() {
        let shape = Shape::new(Mode::Gso, 100_000);
        let sent = trains(shape, 2);
        let mut tally = Tally::new(shape);
        tally.take(&sent[0]);
        assert_eq!(tally.take(&sent[3]), None);
        assert_eq!((tally.messages, tally.bad), (0, 1));
    }

    #[test]
    fn a_wrong_length_is_bad() {
        let mut tally = Tally::new(Shape::new(Mode::Gso, 64));
        assert_eq!(tally.take(&[0; 60]), None);
        assert_eq!(tally.take(&[0; 4]), None);
        assert_eq!((tally.messages, tally.bad), (0, 2));
    }
}
