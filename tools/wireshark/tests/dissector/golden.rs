//! Golden captures: beside each what tshark must show of it.

use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use mcl_dissector::folder;

use crate::pcap::{Packet, capture};
use crate::tshark::{fields, tshark};
use crate::{blessing, scratch, vectors};

/// What is held of each packet. The first is what a person sees in the list.
const NAMES: [&str; 15] = [
    "frame.number",
    "_ws.col.Protocol",
    "_ws.col.Info",
    "mcl.disposition",
    "mcl.problem",
    "mcl.train.datagrams",
    "mcl.stream",
    "mcl.sequence",
    "mcl.message.number",
    "mcl.topic",
    "mcl.encoding",
    "mcl.fragment.index",
    "mcl.reassembled.length",
    "mcl.crc32c.status",
    "mcl.payload.length",
];

/// All committed captures may take this much, so that a clone stays small.
const AT_MOST: u64 = 200_000;

pub(crate) fn captures() -> Vec<PathBuf> {
    let files = fs::read_dir(folder().join("captures")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|it| it == "pcap"))
        .collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    files
}

#[test]
fn the_captures_are_small() {
    let sizes = captures()
        .into_iter()
        .map(|it| fs::metadata(it).unwrap().len());
    assert!(sizes.sum::<u64>() < AT_MOST);
}

/// The same, whether packets are seen once or, as a window does, twice; but "reassembled in" and
/// what is incomplete are known only then.
fn shown(capture: &Path, passes: &[&str]) -> String {
    let text = fields(capture, &NAMES, passes);
    // A trailing bar is easier to read than trailing blanks.
    text.lines().map(|line| format!("{line}|\n")).collect()
}

mod with_tshark {
    use super::*;

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn the_captures_show_what_is_written_beside_them() {
        for capture in captures() {
            let expected = capture.with_extension("expected");
            let seen = shown(&capture, &["-2"]);
            if blessing() {
                fs::write(&expected, &seen).unwrap();
            }
            let expected = fs::read_to_string(&expected).unwrap();
            assert_eq!(seen, expected, "{}", capture.display());
        }
    }

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn dispositions_do_not_depend_on_the_number_of_passes() {
        for capture in captures() {
            let names = ["mcl.disposition", "mcl.payload.length"];
            let once = fields(&capture, &names, &[]);
            assert_eq!(
                once,
                fields(&capture, &names, &["-2"]),
                "{}",
                capture.display()
            );
        }
    }

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn the_port_is_a_preference_and_the_heuristic_finds_the_rest() {
        for port in ["26000", "9"] {
            let setting = format!("mcl.ports:{port}");
            let found = fields(
                &folder().join("captures/datagrams.pcap"),
                &["mcl.disposition"],
                &["-o", &setting, "--enable-heuristic", "mcl_udp"],
            );
            assert_eq!(found.matches("Accepted").count(), 13, "{port}: {found}");
        }
    }

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn decode_as_takes_what_the_heuristic_leaves() {
        let packets: Vec<_> = vectors::cases("refused")
            .into_iter()
            .map(|case| Packet {
                group: Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 1),
                port: 4_000,
                payload: case.bytes,
            })
            .collect();
        let file = scratch("elsewhere.pcap");
        fs::write(&file, capture(&packets)).unwrap();
        let found = |more: &[&str]| fields(&file, &["mcl.disposition"], more);
        let (left, taken) = (found(&[]), found(&["-d", "udp.port==4000,mcl"]));
        // Elsewhere a wrong version is not worth a claim.
        assert_eq!(left.matches("Version").count(), 0, "{left}");
        assert_eq!(taken.matches("Version").count(), 2, "{taken}");
        assert_eq!(left.matches("CriticalFlag").count(), 7, "{left}");
        assert_eq!(taken.matches("CriticalFlag").count(), 7, "{taken}");
        fs::remove_file(file).unwrap();
    }

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn the_readme_shows_real_output() {
        let readme = fs::read_to_string(folder().join("README.md")).unwrap();
        let (_, tree) = readme.split_once("<!-- tree -->\n```text\n").unwrap();
        let tree = tree.split("```").next().unwrap();
        let capture = folder().join("captures/cut.pcap");
        let seen = tshark(&capture, &["-O", "mcl", "-Y", "mcl.topic == \"imu\""]);
        assert!(
            seen.contains(tree),
            "the README has\n{tree}\nbut tshark says\n{seen}"
        );
        let (_, list) = readme.split_once("<!-- list -->\n```text\n").unwrap();
        for line in list.split("```").next().unwrap().lines() {
            // Between them is the packet's length.
            let (_, info) = line.split_once("MCL ").unwrap();
            let (_, info) = info.split_once(' ').unwrap();
            let expected = fs::read_to_string(folder().join("captures/train.expected")).unwrap();
            assert!(expected.contains(&format!("|{info}|")), "{info}");
        }
    }
}
