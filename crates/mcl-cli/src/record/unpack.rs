//! The records within a chunk.

use std::io::{self, Read};

use mcap::records::ChunkHeader;

/// The longest record, and the most that a chunk may hold: a message of 4 GiB, and
/// what else belongs to it.
pub(super) const LONGEST: u64 = (4 << 30) + (16 << 20);

/// What is reserved before there are bytes to fill it with.
const AT_FIRST: u64 = 8 << 20;

/// What a chunk holds, as it was written: with its length and its checksum.
pub(super) fn unpack(header: &ChunkHeader, packed: &[u8]) -> Result<Vec<u8>, String> {
    let size = header.uncompressed_size;
    if size > LONGEST {
        return Err(format!("a chunk claims to hold {size} bytes"));
    }
    let unpacked = decompress(header, packed)
        .map_err(|error| format!("a chunk cannot be decompressed: {error}"))?;
    if unpacked.len() as u64 != size {
        let got = unpacked.len();
        return Err(format!("a chunk holds {got} bytes instead of {size}"));
    }
    match header.uncompressed_crc {
        0 => Ok(unpacked),
        crc if crc == crc32fast::hash(&unpacked) => Ok(unpacked),
        _ => Err("the checksum of a chunk does not match".into()),
    }
}

fn decompress(header: &ChunkHeader, packed: &[u8]) -> io::Result<Vec<u8>> {
    let size = header.uncompressed_size;
    match header.compression.as_str() {
        "" => Ok(packed.to_vec()),
        "lz4" => all(lz4::Decoder::new(packed)?, size),
        "zstd" => all(zstd::stream::read::Decoder::with_buffer(packed)?, size),
        other => Err(io::Error::other(format!(
            "compression `{}` is not known",
            other.escape_debug()
        ))),
    }
}

/// One byte more than there should be shows that there is more.
fn all(from: impl Read, size: u64) -> io::Result<Vec<u8>> {
    let reserved = usize::try_from(size.min(AT_FIRST)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(reserved);
    from.take(size + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Takes the first record off: its opcode and where its content is in `bytes`.
pub(super) fn split(bytes: &[u8], at: usize) -> Option<(u8, std::ops::Range<usize>)> {
    let rest = bytes.get(at..)?;
    let (&opcode, rest) = rest.split_first()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let start = at + 9;
    (len <= rest.len()).then(|| (opcode, start..start + len))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn header(compression: &str, content: &[u8]) -> ChunkHeader {
        ChunkHeader {
            message_start_time: 0,
            message_end_time: 0,
            uncompressed_size: content.len() as u64,
            uncompressed_crc: crc32fast::hash(content),
            compression: compression.into(),
            compressed_size: 0,
        }
    }

    fn packed(compression: &str, content: &[u8]) -> Vec<u8> {
        match compression {
            "lz4" => {
                let mut encoder = lz4::EncoderBuilder::new().build(Vec::new()).unwrap();
                encoder.write_all(content).unwrap();
                let (packed, done) = encoder.finish();
                done.unwrap();
                packed
            }
            "zstd" => zstd::encode_all(content, 1).unwrap(),
            _ => content.to_vec(),
        }
    }

    #[test]
    fn a_chunk_is_what_was_packed_or_an_error() {
        let content: Vec<u8> = (0..100_000_u32).map(|it| (it / 7) as u8).collect();
        for compression in ["", "lz4", "zstd"] {
            let packed = packed(compression, &content);
            let header = header(compression, &content);
            assert_eq!(unpack(&header, &packed).unwrap(), content);
            assert!(unpack(&header, &packed[..packed.len() / 2]).is_err());
            let mut longer = header.clone();
            longer.uncompressed_size += 1;
            assert!(unpack(&longer, &packed).is_err());
            longer.uncompressed_size = u64::MAX;
            assert!(unpack(&longer, &packed).is_err());
            let mut shorter = header.clone();
            shorter.uncompressed_size -= 1;
            assert!(unpack(&shorter, &packed).is_err());
            for at in (0..packed.len()).step_by(packed.len() / 50) {
                let mut damaged = packed.clone();
                damaged[at] ^= 0x10;
                // What does not matter to the content may be anything.
                let unpacked = unpack(&header, &damaged);
                assert!(unpacked.is_err() || unpacked.unwrap() == content, "{at}");
            }
        }
        assert!(unpack(&header("xz", b"a"), b"a").is_err());
    }

    #[test]
    fn a_record_that_reaches_beyond_the_end_is_none() {
        let mut bytes = vec![5];
        bytes.extend(3_u64.to_le_bytes());
        bytes.extend(b"abc");
        assert_eq!(split(&bytes, 0), Some((5, 9..12)));
        assert_eq!(split(&bytes, 12), None);
        assert_eq!(split(&bytes, 99), None);
        for end in 0..bytes.len() {
            assert_eq!(split(&bytes[..end], 0), None);
        }
        bytes[8] = 255;
        assert_eq!(split(&bytes, 0), None);
    }
}
