//! CBOR.

use std::convert::Infallible;

use ciborium_ll::{Decoder, Header, simple};

use super::{Full, MAX_DEPTH, Sink};

/// CBOR as JSON, or its beginning of more than `limit` bytes; `None` if it is no
/// CBOR up to there.
pub(crate) fn cbor(payload: &[u8], limit: usize) -> Option<String> {
    let mut walk = Walk {
        from: Decoder::from(payload),
        sink: Sink::new(limit),
    };
    let read = walk.item(MAX_DEPTH);
    let whole = read.is_ok() && walk.from.offset() == payload.len();
    walk.sink.finish(whole)
}

/// Why it does not go on: it is no CBOR, or there is enough of it.
struct Ended;

impl From<Full> for Ended {
    fn from(_: Full) -> Self {
        Self
    }
}

impl<E> From<ciborium_ll::Error<E>> for Ended {
    fn from(_: ciborium_ll::Error<E>) -> Self {
        Self
    }
}

impl From<Infallible> for Ended {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

struct Walk<'a> {
    from: Decoder<&'a [u8]>,
    sink: Sink,
}

impl Walk<'_> {
    /// The next item; a break is none.
    fn item(&mut self, depth: usize) -> Result<(), Ended> {
        match self.from.pull()? {
            Header::Break => Err(Ended),
            header => self.after(header, depth),
        }
    }

    /// The item that begins with this header.
    fn after(&mut self, header: Header, depth: usize) -> Result<(), Ended> {
        let depth = depth.checked_sub(1).ok_or(Ended)?;
        match header {
            Header::Positive(value) => self.sink.push(&value.to_string())?,
            Header::Negative(value) => self.sink.push(&(!i128::from(value)).to_string())?,
            Header::Float(value) => self.sink.push_float(value)?,
            Header::Simple(simple::FALSE) => self.sink.push("false")?,
            Header::Simple(simple::TRUE) => self.sink.push("true")?,
            Header::Simple(simple::NULL | simple::UNDEFINED) => self.sink.push("null")?,
            Header::Simple(value) => self.sink.push(&format!("\"simple({value})\""))?,
            Header::Tag(tag) => self.tagged(tag, depth)?,
            Header::Bytes(len) => self.bytes(len)?,
            Header::Text(len) => self.text(len)?,
            Header::Array(len) => self.array(len, depth)?,
            Header::Map(len) => self.map(len, depth)?,
            Header::Break => return Err(Ended),
        }
        Ok(())
    }

    fn tagged(&mut self, tag: u64, depth: usize) -> Result<(), Ended> {
        self.sink.push(&format!("[{tag},"))?;
        self.item(depth)?;
        Ok(self.sink.push("]")?)
    }

    /// The header of the next of `left` items, or of a number of them that ends with a
    /// break; with a comma before it unless it is the first.
    fn next(&mut self, left: &mut Option<usize>, start: usize) -> Result<Option<Header>, Ended> {
        if let Some(left) = left {
            match left.checked_sub(1) {
                None => return Ok(None),
                Some(fewer) => *left = fewer,
            }
        }
        match self.from.pull()? {
            Header::Break if left.is_none() => Ok(None),
            header => {
                if self.sink.text.len() > start {
                    self.sink.push(",")?;
                }
                Ok(Some(header))
            }
        }
    }

    fn array(&mut self, mut left: Option<usize>, depth: usize) -> Result<(), Ended> {
        self.sink.push("[")?;
        let start = self.sink.text.len();
        while let Some(header) = self.next(&mut left, start)? {
            self.after(header, depth)?;
        }
        Ok(self.sink.push("]")?)
    }

    fn map(&mut self, mut left: Option<usize>, depth: usize) -> Result<(), Ended> {
        self.sink.push("{")?;
        let start = self.sink.text.len();
        while let Some(header) = self.next(&mut left, start)? {
            let key = self.sink.text.len();
            self.after(header, depth)?;
            self.sink.quote_key(key);
            self.sink.push(":")?;
            self.item(depth)?;
        }
        Ok(self.sink.push("}")?)
    }

    fn bytes(&mut self, len: Option<usize>) -> Result<(), Ended> {
        let (mut whole, mut buffer) = (Vec::new(), [0; 4096]);
        let mut segments = self.from.bytes(len);
        while let Some(mut segment) = segments.pull()? {
            while let Some(chunk) = segment.pull(&mut buffer)? {
                whole.extend_from_slice(chunk);
            }
        }
        Ok(self.sink.push_bytes(&whole)?)
    }

    fn text(&mut self, len: Option<usize>) -> Result<(), Ended> {
        let (mut whole, mut buffer) = (String::new(), [0; 4096]);
        let mut segments = self.from.text(len);
        while let Some(mut segment) = segments.pull()? {
            while let Some(chunk) = segment.pull(&mut buffer)? {
                whole.push_str(chunk);
            }
        }
        Ok(self.sink.push_string(&whole)?)
    }
}
