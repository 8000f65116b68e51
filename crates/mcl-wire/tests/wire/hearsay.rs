//! Who said what: the oracle of `driver`. What a reassembler gives out must have
//! been put in.

use std::collections::{HashMap, HashSet};

use mcl_wire::{Frame, Header, StreamId, TopicHash};

/// A message: its stream and its number.
pub(crate) type Name = (StreamId, u64);

/// What came out.
#[derive(PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) name: Name,
    pub(crate) body: Vec<u8>,
    pub(crate) owned: bool,
    pub(crate) topic_hash: TopicHash,
}

/// Fragments belong together if these three are the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) total: u32,
    pub(crate) size: u16,
    pub(crate) hash: TopicHash,
}

/// Something that a forger said about a message.
struct Forged {
    /// And the index, if it was a fragment.
    shape: Option<(Shape, u32)>,
    data: Vec<u8>,
}

pub(crate) struct Honest {
    pub(crate) body: Vec<u8>,
    /// `None` if it was sent whole.
    pub(crate) shape: Option<Shape>,
}

impl Honest {
    fn fragment(&self, shape: Shape, index: usize) -> Option<&[u8]> {
        let mut fragments = self.body.chunks(usize::from(shape.size));
        (self.shape == Some(shape)).then(|| fragments.nth(index))?
    }
}

/// Everything that was ever said, by whom.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) honest: HashMap<Name, Honest>,
    forged: HashMap<Name, Vec<Forged>>,
}

impl Said {
    /// Notes what a datagram of a forger's says, if it can be read.
    pub(crate) fn forge(&mut self, datagram: &[u8]) {
        let Ok((header, frames)) = Header::decode(datagram) else {
            return;
        };
        for frame in frames.flatten() {
            let (number, shape, data) = match frame {
                Frame::Message(whole) => (whole.number, None, whole.body),
                Frame::Fragment(part) => {
                    let shape = Shape {
                        total: part.total,
                        size: part.size,
                        hash: part.topic_hash,
                    };
                    (part.number, Some((shape, part.index)), part.data)
                }
                _ => continue,
            };
            let forged = self.forged.entry((header.stream, number)).or_default();
            let data = data.to_vec();
            forged.push(Forged { shape, data });
        }
    }

    /// Whether `message` is what somebody sent.
    pub(crate) fn explains(&self, message: &Delivered) -> bool {
        let honest = self.honest.get(&message.name);
        let forged = self
            .forged
            .get(&message.name)
            .map_or(&[][..], Vec::as_slice);
        if honest.is_some_and(|it| it.body == message.body && it.shape.is_some() == message.owned) {
            return true;
        }
        if !message.owned {
            let mut whole = forged.iter().filter(|it| it.shape.is_none());
            return whole.any(|it| it.data == message.body);
        }
        let shapes: HashSet<Shape> = forged.iter().filter_map(|it| Some(it.shape?.0)).collect();
        shapes.into_iter().any(|shape| {
            shape.total as usize == message.body.len()
                && shape.hash == message.topic_hash
                && fragments_were_sent(&message.body, shape, honest, forged)
        })
    }
}

fn fragments_were_sent(
    body: &[u8],
    shape: Shape,
    honest: Option<&Honest>,
    forged: &[Forged],
) -> bool {
    let mut parts = body.chunks(usize::from(shape.size)).enumerate();
    parts.all(|(index, part)| {
        let name = u32::try_from(index).ok().map(|index| (shape, index));
        let by_forger = forged.iter().any(|it| it.shape == name && it.data == part);
        let by_honest = honest.and_then(|it| it.fragment(shape, index));
        by_forger || by_honest == Some(part)
    })
}
