//! `mcl netsetup`.

use std::io;
use std::process::ExitCode;

use clap::Args;
use mcl_setup::netsetup::{self, Options};

use crate::failure::Failure;

/// Exit status: 0 ready, or done; 1 not usable, or not done; 2 usable, but its receive
/// buffers are small.
#[derive(Args, Clone, Copy, Debug)]
#[command(
    after_help = "Exit status: 0 ready, or done; 1 not usable, or not done; 2 usable, but its receive buffers are small (and wrong arguments)."
)]
pub(crate) struct Netsetup {
    /// Print what would be done, change nothing
    #[arg(long, conflicts_with_all = ["check", "undo"])]
    dry_run: bool,
    /// Diagnose only
    #[arg(long, conflicts_with_all = ["undo", "persist"])]
    check: bool,
    /// Take back exactly what netsetup made
    #[arg(long, conflicts_with = "persist")]
    undo: bool,
    /// Also write the buffer sizes to sysctl.d
    #[arg(long)]
    persist: bool,
}

impl Netsetup {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let given = [
            ("--dry-run", self.dry_run),
            ("--check", self.check),
            ("--undo", self.undo),
            ("--persist", self.persist),
        ];
        let given = given
            .into_iter()
            .filter_map(|(name, is)| is.then_some(name));
        let options = Options::parse(given).map_err(|error| Failure::Usage(error.to_string()))?;
        match netsetup::run(options, &mut io::stdout()) {
            Ok(status) => Ok(status.into()),
            Err(netsetup::Error::Io(error)) => Err(Failure::Io(error)),
            Err(error) => Err(Failure::Child(error.to_string())),
        }
    }
}
