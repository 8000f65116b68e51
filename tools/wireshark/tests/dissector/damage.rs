//! Damaged captures: whatever the bytes, the dissector says what is wrong and never fails.

use std::fs;

use crate::golden::captures;
use crate::pcap;
use crate::scratch;
use crate::tshark::tshark;

/// Before it are Ethernet, IPv6 and UDP.
const PAYLOAD_AT: usize = 14 + 40 + 8;

/// Numbers that look random (xorshift64*, Vigna 2016).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % limit
    }
}

/// Some bytes changed: mostly early ones, where headers are, and often to values that mean something.
pub(crate) fn corrupt(payload: &mut [u8], dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let reach = [80, 300, payload.len()][dice.below(3)].min(payload.len());
        let at = dice.below(reach);
        payload[at] = match dice.below(3) {
            0 => [0, 1, 2, 0x10, 0x7F, 0x80, 0x81, 0xFF][dice.below(8)],
            1 => payload[at] ^ (1 << dice.below(8)),
            _ => u8::try_from(dice.below(256)).unwrap(),
        };
    }
}

/// A record of a packet of which all, or only a part, was captured.
fn record(packet: &[u8], captured: usize, second: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [second, 0, captured, packet.len()] {
        bytes.extend(u32::try_from(word).unwrap().to_le_bytes());
    }
    bytes.extend(&packet[..captured]);
    bytes
}

/// A capture of damaged packets of all golden ones.
fn damaged(seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    let mut out = pcap::capture(&[]);
    for capture in captures() {
        let bytes = fs::read(capture).unwrap();
        for (second, range) in pcap::packets(&bytes).into_iter().enumerate() {
            let mut packet = bytes[range].to_vec();
            if packet.len() <= PAYLOAD_AT {
                continue;
            }
            corrupt(&mut packet[PAYLOAD_AT..], &mut dice);
            let captured = match dice.below(4) {
                0 => PAYLOAD_AT + dice.below(packet.len() - PAYLOAD_AT),
                _ => packet.len(),
            };
            out.extend(record(&packet, captured, second));
        }
    }
    out
}

mod with_tshark {
    use super::*;

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn no_damage_is_an_error_of_the_dissector() {
        let file = scratch("damaged.pcap");
        let mut shown = String::new();
        for seed in 1..=12 {
            fs::write(&file, damaged(seed)).unwrap();
            // It fails if Lua does; the seed is in the file's last state.
            shown += &tshark(&file, &["-2", "-O", "mcl"]);
        }
        fs::remove_file(&file).unwrap();
        for disposition in [
            "Accepted",
            "Version",
            "MalformedHeader",
            "CriticalFlag",
            "MalformedFrame",
            "CriticalFrame",
            "unknown: not all was captured",
        ] {
            let line = format!("[Disposition: {disposition}]");
            assert!(shown.contains(&line), "no damage made it {disposition}");
        }
        for problem in [
            "item_cut_off",
            "fragment_length",
            "topic_not_utf8",
            "incomplete",
        ] {
            let line = format!("[Problem: {problem}]");
            assert!(shown.contains(&line), "no damage made it {problem}");
        }
    }
}
