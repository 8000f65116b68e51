//! Benchmarks of MCL. Each file here opens with the command that runs it.

pub mod interleaving;
pub mod namespace;
pub mod ratio;
pub mod traffic;
