//! CRC-32C (RFC 3720, appendix B.4), by a table: this crate carries it, its users
//! compute it.

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            let feedback = if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
            crc = crc >> 1 ^ feedback;
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

pub(crate) fn crc32c(parts: [&[u8]; 2]) -> u32 {
    let step = |crc: u32, byte: &u8| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)];
    !parts.into_iter().flatten().fold(u32::MAX, step)
}

#[test]
fn the_published_vectors() {
    assert_eq!(crc32c([&[0; 32], &[]]), 0x8A91_36AA);
    assert_eq!(crc32c([&[0xFF; 10], &[0xFF; 22]]), 0x62A8_AB43);
    assert_eq!(crc32c([b"1234", b"56789"]), 0xE306_9283);
}
