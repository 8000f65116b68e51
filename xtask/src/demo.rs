//! `cargo xtask demo`: to be written.

use crate::Outcome;

pub(crate) fn main(_arguments: &[String]) -> Outcome {
    Err("the demo is not written yet".into())
}
