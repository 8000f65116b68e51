//! The committed corpus, without a fuzzer: `cargo test` in this folder, on a
//! stable compiler. That of `frames` and `demux` is replayed by mcl-wire's tests.

use std::fs;
use std::path::Path;

#[test]
fn the_corpus_of_typed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/typed");
    let mut kinds = vec![0; mcl_fuzz::KINDS];
    for entry in fs::read_dir(folder).expect("the corpus is in the repository") {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        mcl_fuzz::typed(&bytes);
        if let Some(kind) = bytes.first() {
            kinds[usize::from(*kind) % mcl_fuzz::KINDS] += 1;
        }
    }
    assert!(kinds.iter().all(|inputs| *inputs > 0), "{kinds:?}");
}
