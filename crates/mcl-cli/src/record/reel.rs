//! The files of a recording: one, or numbered parts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::RecordingError;
use super::tape::{Compression, Tape};

/// Which files are written, and when the next one is begun.
#[derive(Clone, Debug)]
pub(crate) struct Reel {
    pub(crate) path: PathBuf,
    pub(crate) force: bool,
    pub(crate) compression: Compression,
    pub(crate) split_size: Option<u64>,
    pub(crate) split_time: Option<Duration>,
    /// Parts so far.
    pub(crate) part: u32,
}

impl Reel {
    /// Begins the next file.
    pub(crate) fn next(&mut self) -> Result<Tape, RecordingError> {
        loop {
            self.part += 1;
            let path = self.name();
            match Tape::create(&path, self.force, self.compression) {
                // A recording that has begun goes on: it leaves a number out.
                Err(RecordingError::Exists(_)) if self.part > 1 && self.part < 1 << 20 => {}
                done => return done,
            }
        }
    }

    /// Whether the next message belongs into another file.
    pub(crate) fn is_over(&self, tape: &Tape) -> bool {
        let long = |time| tape.begun.elapsed() >= time;
        let large = |size| tape.len() >= size;
        self.split_size.is_some_and(large) || self.split_time.is_some_and(long)
    }

    fn splits(&self) -> bool {
        self.split_size.is_some() || self.split_time.is_some()
    }

    fn name(&self) -> PathBuf {
        match self.splits() {
            true => numbered(&self.path, self.part),
            false => self.path.clone(),
        }
    }
}

/// `dir/run.mcap` as `dir/run_0001.mcap`.
fn numbered(path: &Path, part: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or("mcap".as_ref());
    let extension = extension.to_string_lossy();
    path.with_file_name(format!("{stem}_{part:04}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_before_the_extension() {
        for (path, part, name) in [
            ("a/run.mcap", 1, "a/run_0001.mcap"),
            ("run", 12, "run_0012.mcap"),
            ("run.1.mcap", 10_000, "run.1_10000.mcap"),
        ] {
            assert_eq!(numbered(path.as_ref(), part), Path::new(name));
        }
    }
}
