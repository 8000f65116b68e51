//! `mcl completions` and `mcl man`: what is made of the definition of the arguments.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output::Out;

#[derive(Args, Clone, Debug)]
pub(crate) struct Completions {
    /// Which shell it is for
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, mut command: Command) -> Result<(), Failure> {
        // It panics when it cannot write: into memory it can.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "mcl", &mut script);
        print(&script)
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Man {
    /// Directory to write a page for each subcommand into, such as
    /// `~/.local/share/man/man1`; without it, mcl(1) goes to standard output
    directory: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self, command: Command) -> Result<(), Failure> {
        match &self.directory {
            Some(directory) => {
                std::fs::create_dir_all(directory)?;
                Ok(clap_mangen::generate_to(command, directory)?)
            }
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(command).render(&mut page)?;
                print(&page)
            }
        }
    }
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = Out::new()?;
    out.bytes(bytes)?;
    Ok(out.flush()?)
}
