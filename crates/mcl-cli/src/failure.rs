//! What can go wrong, by kind, and the exit code of each.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use mcl_udp::{OpenError, PublishError, PullError};
use thiserror::Error;

use crate::doctor;
use crate::record::RecordingError;

/// Shown below the help.
pub(crate) const EXIT_CODES: &str = "\
Exit status: 0 done, also when ended by SIGINT or SIGTERM; 1 another error; 2 wrong arguments;
3 the connection cannot be opened; 4 publishing failed; 5 nothing arrived in time;
6 the input cannot be read, or is not in the encoding named; 7 a check of `mcl doctor` failed;
8 a recording cannot be written, or read whole.";

/// Why a command ended without having done its work. `Display` names the remedy.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot publish: {0}")]
    Publish(#[from] PublishError),
    /// Said already, each when it occurred.
    #[error("{0} messages could not be published")]
    Unpublished(u64),
    #[error(transparent)]
    Receive(#[from] PullError),
    #[error(
        "nothing arrived within {} s; is the other side running, with the same group, port, topic and interface? (`{option}` waits longer)",
        .after.as_secs_f64()
    )]
    Silence {
        after: Duration,
        /// What would have waited longer.
        option: &'static str,
    },
    #[error("{got} of {wanted} messages arrived before the time was over")]
    Fewer { got: u64, wanted: u64 },
    #[error("cannot read {what}: {source}")]
    Input { what: String, source: io::Error },
    #[error("{0}")]
    Encode(String),
    #[error("{}", checks(*.0))]
    Unhealthy(usize),
    #[error(transparent)]
    Peer(#[from] doctor::Error),
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Child(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Receive(_) | Self::Io(_) | Self::Child(_) => 1,
            Self::Usage(_) => 2,
            Self::Open(_) => 3,
            Self::Publish(_) | Self::Unpublished(_) => 4,
            Self::Silence { .. } | Self::Fewer { .. } => 5,
            Self::Input { .. } | Self::Encode(_) => 6,
            Self::Unhealthy(_) => 7,
            Self::Recording(_) => 8,
            Self::Peer(error) => error.exit_code(),
        })
    }

    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether a signal ended the wait for who reads the output.
    pub(crate) fn is_unread(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::TimedOut)
    }
}

fn checks(failed: usize) -> String {
    match failed {
        1 => "1 check failed".to_owned(),
        _ => format!("{failed} checks failed"),
    }
}
