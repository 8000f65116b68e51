//! The committed corpus of the fuzz targets, run once more as plain tests.

use std::fs;
use std::path::{Path, PathBuf};

use mcl_wire::Counters;

use crate::dissection::dissect;
use crate::driver::drive;

/// The inputs of a fuzz target, in order of their names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder.join(target))
        .expect("the corpus is in the repository")
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "{target}: only {} inputs", paths.len());
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Says which input it was that panicked.
struct InputOnPanic(PathBuf);

impl Drop for InputOnPanic {
    #[allow(clippy::print_stdout, reason = "the input is what to run again")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed with {}", self.0.display());
        }
    }
}

#[test]
fn the_corpus_of_frames() {
    for (path, bytes) in corpus("frames") {
        let _input = InputOnPanic(path);
        dissect(&bytes);
    }
}

/// Something that the corpus is to reach.
struct Place(&'static str, fn(&Counters) -> u64);

#[test]
fn the_corpus_of_demux_reaches_everything() {
    let (mut reached, mut together) = (Vec::new(), 0);
    for (path, bytes) in corpus("demux") {
        let _input = InputOnPanic(path);
        let (counters, followed) = drive(&bytes);
        reached.push(counters);
        together += followed;
    }
    assert!(together > 100, "{together} datagrams taken in together");
    let places = [
        Place("accepted", |c| c.datagrams.accepted),
        Place("malformed frame", |c| c.datagrams.malformed_frame),
        Place("critical frame", |c| c.datagrams.critical_frame),
        Place("duplicate", |c| c.datagrams.duplicate),
        Place("stale", |c| c.datagrams.stale),
        Place("jump", |c| c.datagrams.jump),
        Place("stream limit", |c| c.datagrams.stream_limit),
        Place("departed", |c| c.departed.streams),
        Place("completed", |c| c.messages.completed),
        Place("expired", |c| c.messages.expired),
        Place("evicted", |c| c.messages.evicted),
        Place("abandoned", |c| c.messages.abandoned),
        Place("refused", |c| c.messages.refused),
        Place("filtered", |c| c.messages.filtered),
        Place("filtered by hash", |c| c.messages.filtered_by_hash),
        Place("too large", |c| c.messages.too_large),
        Place("malformed body", |c| c.messages.malformed()),
        Place("contradicting", |c| c.frames.fragment_contradicting),
        Place("of finished", |c| c.frames.fragment_of_finished),
        Place("fragment duplicate", |c| c.frames.fragment_duplicate),
        Place("message duplicate", |c| c.frames.message_duplicate),
        Place("no room", |c| c.frames.fragment_no_room),
    ];
    for Place(name, count) in places {
        assert!(reached.iter().any(|c| count(c) > 0), "never: {name}");
    }
}
