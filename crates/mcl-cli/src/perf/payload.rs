//! Sequence numbers in payloads.

/// Below this length the number stands in the payload once.
const TWICE: usize = 16;

/// Writes `sequence` to both ends of `payload`.
pub(super) fn stamp(payload: &mut [u8], sequence: u64) {
    let number = sequence.to_le_bytes();
    match payload.len() {
        len @ 0..8 => payload.copy_from_slice(&number[..len]),
        8..TWICE => payload[..8].copy_from_slice(&number),
        len => {
            payload[..8].copy_from_slice(&number);
            payload[len - 8..].copy_from_slice(&number);
        }
    }
}

/// The sequence number of a payload; `None` if its two ends differ. What a short
/// payload holds is taken for the number next to `expected` that ends so.
pub(super) fn sequence(payload: &[u8], expected: u64) -> Option<u64> {
    let Some(first) = payload.first_chunk::<8>() else {
        return Some(widen(payload, expected));
    };
    let intact = payload.len() < TWICE || payload.last_chunk::<8>() == Some(first);
    intact.then(|| u64::from_le_bytes(*first))
}

fn widen(low: &[u8], expected: u64) -> u64 {
    let bits = 8 * low.len() as u32;
    if bits == 0 {
        return expected;
    }
    let mut bytes = [0; 8];
    bytes[..low.len()].copy_from_slice(low);
    let ahead = u64::from_le_bytes(bytes).wrapping_sub(expected) << (64 - bits);
    // Arithmetic, so that what lies behind counts as negative.
    expected.wrapping_add_signed(ahead.cast_signed() >> (64 - bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_from_payloads_of_all_lengths() {
        for len in [1, 2, 3, 7, 8, 9, 15, 16, 17, 64] {
            let mut payload = vec![0xff; len];
            for (number, expected) in [(0, 0), (255, 255), (256, 250), (70_000, 70_009)] {
                stamp(&mut payload, number);
                assert_eq!(sequence(&payload, expected), Some(number), "{len} bytes");
            }
        }
        assert_eq!(sequence(&[], 7), Some(7));
    }

    #[test]
    fn ends_that_differ_are_seen() {
        let mut payload = [0; 64];
        stamp(&mut payload, 77);
        payload[63] ^= 1;
        assert_eq!(sequence(&payload, 77), None);
        stamp(&mut payload[..16], 78);
        assert_eq!(sequence(&payload[..16], 0), Some(78));
        assert_eq!(payload[..8], payload[8..16]);
    }

    #[test]
    fn the_bytes_are_little_endian_at_both_ends() {
        let mut payload = [9; 20];
        stamp(&mut payload, 0x0102);
        assert_eq!(payload[..8], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(payload[8..12], [9; 4]);
        assert_eq!(payload[12..], payload[..8]);
    }
}
