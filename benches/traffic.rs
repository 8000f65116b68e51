//! Datagrams to be taken in, as a broadcaster sends them, and who takes what they
//! bring.

use mcl_wire::{
    BodyBytes, BodyHead, DatagramWriter, Fragmenter, Header, Metadata, OutgoingFragment, Received,
    Sink, StreamId,
};

/// Bytes of a full datagram on Ethernet.
pub const DATAGRAM: usize = 1452;

/// Datagrams that come in a train.
pub const TRAIN: usize = 45;

/// The head of a message with a topic and a publish time.
///
/// # Panics
/// Never: the topic is short.
#[must_use]
pub fn head() -> BodyHead {
    BodyHead::new(Some("bench"), &Metadata::new().with_publish_time(1)).expect("a short topic")
}

/// An id for each of many streams, as random as ids are, and the same each time
/// (`splitmix64`: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
#[must_use]
#[inline]
pub const fn stream_id(stream: u64) -> StreamId {
    let mixed = stream.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    StreamId(mixed ^ (mixed >> 31))
}

/// The datagrams of the large message `number`, whose sequence numbers begin with
/// `sequence`.
///
/// # Panics
/// The payload has more than `u32::MAX` bytes.
#[must_use]
pub fn fragmented(
    stream: StreamId,
    number: u64,
    mut sequence: u64,
    payload: &[u8],
) -> Vec<Vec<u8>> {
    let head = head();
    let fragments = Fragmenter::new(number, &head, payload, DATAGRAM).expect("a valid length");
    let datagram = |fragment: OutgoingFragment<'_>| {
        let prefix = fragment.prefix(stream, sequence);
        sequence += 1;
        [&prefix[..], fragment.head, fragment.payload].concat()
    };
    fragments.map(datagram).collect()
}

/// Shuffles within windows of 64, as networks reorder; always in the same way.
pub fn shuffle(datagrams: &mut [Vec<u8>]) {
    let mut state = 1_u64;
    for window in datagrams.chunks_mut(64) {
        for at in (1..window.len()).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            window.swap(at, (state >> 33) as usize % (at + 1));
        }
    }
}

/// Fills the datagrams with messages of 64 bytes, numbered on.
///
/// # Panics
/// Never: a full datagram has room for a header.
pub fn coalesce(datagrams: &mut [Vec<u8>], number: &mut u64, sequence: &mut u64) {
    let head = head();
    for datagram in datagrams {
        datagram.resize(DATAGRAM, 0);
        let header = Header::new(StreamId(1), *sequence);
        let mut writer = DatagramWriter::new(datagram, header).expect("long enough");
        while writer.message(*number, &head, &[7; 64]).is_ok() {
            *number += 1;
        }
        let len = writer.finish();
        datagram.truncate(len);
        *sequence += 1;
    }
}

/// Keeps the buffer of the last large message, so that it can be recycled.
#[derive(Debug, Default)]
pub struct Last(pub Option<Vec<u8>>);

impl Sink for Last {
    fn message(&mut self, message: Received<'_>) {
        if let BodyBytes::Owned(buffer) = message.into_bytes() {
            self.0 = Some(buffer);
        }
    }
}
