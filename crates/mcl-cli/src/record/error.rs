//! What can be wrong with a recording.

use std::io;
use std::path::PathBuf;

use mcap::McapError;
use thiserror::Error;

/// Why a recording cannot be written, or read. `Display` names the remedy.
#[derive(Debug, Error)]
pub(crate) enum RecordingError {
    #[error("{} exists; `--force` overwrites it", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: {source}", .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot go on writing {}: {}; what is in it can be read", .path.display(), Cause(.source))]
    Write { path: PathBuf, source: McapError },
    #[error("cannot read {}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no MCAP file", .0.display())]
    NotMcap(PathBuf),
    #[error("{} is damaged at byte {at}: {what}", .path.display())]
    Damaged {
        path: PathBuf,
        at: u64,
        what: String,
    },
    #[error("{}: {parts} of its parts are damaged; the rest was read", .path.display())]
    Partial { path: PathBuf, parts: u64 },
    #[error(
        "topic {topic} of {} says no connection to publish to; `--to CONN` names one",
        .path.display()
    )]
    Nowhere { path: PathBuf, topic: String },
}

/// The error of the system, which `mcap` calls but "I/O error".
pub(crate) struct Cause<'a>(pub(crate) &'a McapError);

impl std::fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            McapError::Io(error) => error.fmt(f),
            other => other.fmt(f),
        }
    }
}
