//! Typed decoding of what a fuzzer found, run once more as a plain test.
//!
//! - `payloads`: what is done with an input; the fuzz target `typed` is this.
//!
//! A binary of its own, since it replaces the allocator, to see what is allocated.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod payloads;

use std::fs;
use std::path::Path;

use payloads::{KINDS, typed};

#[test]
fn the_corpus_of_typed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/typed");
    let mut kinds = vec![0; KINDS];
    for entry in fs::read_dir(folder).expect("the corpus is in the repository") {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        typed(&bytes);
        if let Some(kind) = bytes.first() {
            kinds[usize::from(*kind) % KINDS] += 1;
        }
    }
    assert!(kinds.iter().all(|inputs| *inputs > 0), "{kinds:?}");
}
