//! `mcl perf`: the measuring instrument.
//!
//! The first and the last 8 bytes of every payload are its sequence number,
//! little-endian, from 0; a payload shorter than 16 bytes has it once, one
//! shorter than 8 as much of it as fits.

mod cpu;
mod inbox;
mod load;
mod matrix;
mod payload;
mod ping;
mod pong;
mod publish;
mod report;
mod subscribe;
mod tally;
mod tuning;
mod watch;

use clap::Subcommand;

use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Perf {
    /// Publish numbered payloads, at a rate or as fast as it goes
    Pub(publish::Pub),
    /// Count numbered payloads and what is missing; ends 1 s after the last one
    Sub(subscribe::Sub),
    /// Send payloads to a `pong` and time each echo
    Ping(ping::Ping),
    /// Send back what arrives, on a second connection
    Pong(pong::Pong),
    /// Measure a matrix of sizes with child processes and print a table
    Run(matrix::Run),
}

impl Perf {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Pub(it) => it.run(),
            Self::Sub(it) => it.run(),
            Self::Ping(it) => it.run(),
            Self::Pong(it) => it.run(),
            Self::Run(it) => it.run(),
        }
    }
}
