//! Reading what tshark shows, as PDML: a field a line, in the order of the tree.

use std::path::Path;

use crate::tshark::tshark;

/// A field of the dissector as shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) name: String,
    /// The value as text.
    pub(crate) show: String,
    /// The bytes it was read from, hexadecimal.
    pub(crate) value: String,
}

/// A message as shown: in its frame, or where its last fragment came.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) stream: String,
    pub(crate) number: String,
    pub(crate) topic: Option<String>,
    pub(crate) encoding: Option<String>,
    /// Hexadecimal.
    pub(crate) payload: String,
    /// What is wrong with the message or its frame.
    pub(crate) problems: Vec<String>,
}

fn attribute(line: &str, name: &str) -> String {
    let start = format!(" {name}=\"");
    let Some((_, rest)) = line.split_once(&start) else {
        return String::new();
    };
    let text = rest.split('"').next().unwrap();
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&quot;", "\"").replace("&amp;", "&")
}

/// The dissector's fields, packet by packet.
pub(crate) fn read(capture: &Path, more: &[&str]) -> Vec<Vec<Shown>> {
    let text = tshark(capture, &[&["-T", "pdml"], more].concat());
    let mut packets = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if line == "<packet>" {
            packets.push(Vec::new());
        } else if line.starts_with("<field name=\"mcl.") {
            let shown = Shown {
                name: attribute(line, "name"),
                show: attribute(line, "show"),
                value: attribute(line, "value"),
            };
            packets.last_mut().unwrap().push(shown);
        }
    }
    packets
}

/// The messages among the fields of a packet, in their order.
pub(crate) fn messages(packet: &[Shown]) -> Vec<Message> {
    let mut context = Message::default();
    let mut messages: Vec<Message> = Vec::new();
    let mut before = 0;
    for Shown { name, show, value } in packet {
        match name.as_str() {
            "mcl.frame" => before = messages.len(),
            "mcl.problem" => {
                let of = messages.get_mut(before..).unwrap().last_mut();
                of.into_iter().for_each(|it| it.problems.push(show.clone()));
            }
            "mcl.stream" => context.stream.clone_from(show),
            "mcl.message.number" => context.number.clone_from(show),
            "mcl.body" => messages.push(context.clone()),
            "mcl.topic" => messages.last_mut().unwrap().topic = Some(topic(show, value)),
            "mcl.encoding" => messages.last_mut().unwrap().encoding = Some(show.clone()),
            "mcl.payload" => messages.last_mut().unwrap().payload.clone_from(value),
            _ => {}
        }
    }
    messages
}

/// The topic; shown, its control characters are escaped.
fn topic(show: &str, value: &str) -> String {
    if show.is_empty() {
        // The bytes are those of the length then.
        return String::new();
    }
    let digits = |at: usize| value.get(at..at + 2).unwrap();
    let bytes = (0..value.len()).step_by(2);
    let bytes = bytes.map(|at| u8::from_str_radix(digits(at), 16).unwrap());
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
