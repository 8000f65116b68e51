//! One datagram, taken apart in every way there is. The fuzz target `frames`
//! and the replay of its corpus are this function.

use core::time::Duration;

use mcl_wire::{
    Body, BodyHead, DatagramWriter, Disposition, FRAGMENT_FIELDS_LEN, FRAGMENT_OVERHEAD,
    FRAME_FLAG_NUMBERED, FRAME_HEADER_LEN, Fragment, Fragmenter, Frame, Frames, HEADER_LEN, Header,
    Limits, MAX_DATAGRAM_LEN, Metadata, WholeMessage,
};

use crate::common::{Inbox, Message, check, demux};

/// Longest message that is made up to see how it would be cut.
const MADE_UP: usize = 1 << 20;

/// What a message says, wherever it came from.
type Said<'a> = (u64, Option<&'a str>, Metadata, &'a [u8]);

/// Reads `bytes` as a datagram and as a message body. Whatever decodes is
/// encoded again and must decode to the same; frames must cover the datagram;
/// [`Demux`](mcl_wire::Demux) must come to the same verdict.
pub(crate) fn dissect(bytes: &[u8]) {
    dissect_body(bytes);
    let verdict = dissect_datagram(bytes);
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let expected = verdict.as_ref().err().copied();
    let expected = expected.unwrap_or(Disposition::Accepted);
    for again in [expected, repeated(expected, bytes)] {
        assert_eq!(demux.datagram(Duration::ZERO, bytes, &mut inbox), again);
        check(&demux);
    }
    let frames = verdict.unwrap_or_default();
    for message in &inbox.messages {
        assert!(frames.iter().any(|frame| is_from(message, frame)));
    }
}

/// What the same datagram is when it comes a second time.
fn repeated(first: Disposition, bytes: &[u8]) -> Disposition {
    let sequenced = bytes.get(4) == Some(&0);
    if first == Disposition::Accepted && sequenced {
        return Disposition::Duplicate;
    }
    first
}

fn is_from(message: &Message, frame: &Frame<'_>) -> bool {
    let (number, bytes) = match frame {
        Frame::Message(whole) => (whole.number, whole.body),
        // All of it is in one fragment: there is only one datagram.
        Frame::Fragment(fragment) => (fragment.number, fragment.data),
        _ => return false,
    };
    let said = said(number, bytes);
    said.is_some_and(|(number, topic, metadata, payload)| {
        message.number == number
            && message.topic.as_deref() == topic
            && message.metadata == metadata
            && message.payload == payload
    })
}

fn said(number: u64, body: &[u8]) -> Option<Said<'_>> {
    let body = Body::decode(body).ok()?;
    Some((number, body.topic(), body.metadata(), body.payload()))
}

fn dissect_datagram(bytes: &[u8]) -> Result<Vec<Frame<'_>>, Disposition> {
    let (header, frames) = Header::decode(bytes)?;
    let encoded = header.encode();
    let (decoded, mut nothing) = Header::decode(&encoded).unwrap();
    assert_eq!((decoded, nothing.next()), (header, None));
    if !header.unsequenced && bytes[3..8] == [24, 0, header.ignorable_flags, 0, 0] {
        assert_eq!(encoded, bytes[..HEADER_LEN]);
    }
    let frames = walk(&bytes[usize::from(bytes[3])..], frames)?;
    for frame in &frames {
        match frame {
            Frame::Message(message) => dissect_body(message.body),
            Frame::Fragment(fragment) => dissect_fragment(fragment),
            _ => {}
        }
    }
    write_again(header, bytes.len(), &frames);
    Ok(frames)
}

/// All frames, if all are well-formed: they cover `rest`, without a gap.
fn walk<'a>(mut rest: &'a [u8], mut frames: Frames<'a>) -> Result<Vec<Frame<'a>>, Disposition> {
    let mut found = Vec::new();
    while let Some(frame) = frames.next() {
        if frame.is_err() {
            assert!(frames.next().is_none(), "nothing follows an error");
        }
        let frame = frame?;
        rest = &rest[extent(&frame, rest)..];
        found.push(frame);
    }
    assert!(rest.is_empty());
    Ok(found)
}

/// How many bytes at the front of `rest` are this frame.
fn extent(frame: &Frame<'_>, rest: &[u8]) -> usize {
    let (fields, data) = match frame {
        Frame::Message(message) if rest[1] & FRAME_FLAG_NUMBERED != 0 => (8, message.body),
        Frame::Message(message) => (0, message.body),
        Frame::Fragment(fragment) => (FRAGMENT_FIELDS_LEN, fragment.data),
        Frame::Ignored { body, .. } => (0, *body),
        Frame::Padding { len } => return *len,
        frame => panic!("a frame that version 1 does not have: {frame:?}"),
    };
    let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
    let end = FRAME_HEADER_LEN + len;
    // The very same bytes, not only equal ones.
    assert!(core::ptr::eq(
        data,
        &raw const rest[FRAME_HEADER_LEN + fields..end]
    ));
    end
}

fn dissect_body(bytes: &[u8]) {
    let Ok(body) = Body::decode(bytes) else {
        return;
    };
    assert_eq!(body.payload(), &bytes[body.payload_offset()..]);
    let (covered, payload) = body.crc_covered();
    assert!(bytes.starts_with(covered) && covered.len() <= body.payload_offset());
    assert_eq!(payload, body.payload());
    // What version 1 writes of it: the same but for what is ignorable.
    let head = BodyHead::new(body.topic(), &body.metadata()).unwrap();
    assert!(head.as_bytes().len() <= body.payload_offset());
    let again = [head.as_bytes(), body.payload()].concat();
    assert_eq!(said(0, &again), said(0, bytes));
    assert_eq!(
        Body::decode(&again).unwrap().crc_covered().0,
        head.crc_covered()
    );
}

/// A message of the same total cut to the same size gives such a fragment.
fn dissect_fragment(fragment: &Fragment<'_>) {
    let head = BodyHead::new(None, &Metadata::new()).unwrap();
    let datagram_len = FRAGMENT_OVERHEAD + usize::from(fragment.size);
    let payload_len = (fragment.total as usize).checked_sub(head.as_bytes().len());
    assert!(fragment.index < fragment.count().get());
    assert!(fragment.offset() + fragment.data.len() <= fragment.total as usize);
    let Some(payload_len) = payload_len.filter(|len| *len <= MADE_UP) else {
        return;
    };
    if datagram_len > MAX_DATAGRAM_LEN {
        return;
    }
    let payload = vec![0; payload_len];
    let cut = Fragmenter::new(fragment.number, &head, &payload, datagram_len).unwrap();
    assert_eq!(cut.len(), fragment.count().get() as usize);
    let same = cut.clone().nth(fragment.index as usize).unwrap();
    assert_eq!(same.datagram_len(), FRAGMENT_OVERHEAD + fragment.data.len());
    let said = (same.number, same.total, same.index, same.size);
    let expected = (
        fragment.number,
        fragment.total,
        fragment.index,
        fragment.size,
    );
    assert_eq!(said, expected);
}

fn messages<'a>(frames: &[Frame<'a>]) -> Vec<Said<'a>> {
    let whole = |frame: &Frame<'a>| match frame {
        Frame::Message(WholeMessage { number, body, .. }) => said(*number, body),
        _ => None,
    };
    frames.iter().filter_map(whole).collect()
}

/// Whole messages, put into a datagram of this crate's own making.
fn write_again(header: Header, len: usize, frames: &[Frame<'_>]) {
    if header.unsequenced {
        return;
    }
    // A message that is left out may cost the next one its implied number.
    let mut buffer = vec![0xEE; (len + 8 * frames.len()).min(MAX_DATAGRAM_LEN)];
    let mut writer = DatagramWriter::new(&mut buffer, header).unwrap();
    let mut written = Vec::new();
    for said in messages(frames) {
        let (number, topic, metadata, payload) = said;
        let head = BodyHead::new(topic, &metadata).unwrap();
        let fits = writer.fits(number, head.as_bytes().len() + payload.len());
        assert_eq!(writer.message(number, &head, payload).is_ok(), fits);
        if fits {
            written.push(said);
        }
    }
    let len = writer.finish();
    let (decoded, frames) = Header::decode(&buffer[..len]).unwrap();
    assert_eq!(decoded, header);
    let frames: Vec<_> = frames.map(Result::unwrap).collect();
    assert_eq!(messages(&frames), written);
}
