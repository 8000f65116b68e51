//! `mcl`: what a person does with the network without writing Rust.
//!
//! One module per subcommand; what they share is in `arguments` (where to
//! publish and listen), `failure` (exit codes), `output`, `signals`, `view` (payloads
//! and topics as text, with `transcode`), `sampling` (rates and intervals) and `account`
//! (losses by cause).

mod account;
mod arguments;
mod doctor;
mod echo;
mod failure;
mod info;
mod netsetup;
mod outlet;
mod output;
mod pages;
mod perf;
mod play;
mod publish;
mod record;
mod sampling;
mod signals;
mod spy;
mod survey;
mod transcode;
mod view;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::failure::Failure;

#[derive(Debug, Parser)]
#[command(name = "mcl", version, about, after_help = failure::EXIT_CODES)]
#[command(about = "Publish/subscribe over IPv6 UDP multicast, from the command line")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish a text, a file, standard input, its lines, or random bytes
    #[command(after_long_help = publish::NOTES)]
    Pub(publish::Pub),
    /// Show messages as they arrive
    Echo(echo::Echo),
    /// List the topics and streams seen within some seconds
    List(survey::List),
    /// Measure rates and intervals of each topic and stream
    Hz(survey::Periodic),
    /// Measure bandwidth and sizes of each topic and stream
    Bw(survey::Periodic),
    /// Watch topics and streams on a full screen
    #[command(after_long_help = spy::NOTES)]
    Spy(spy::Spy),
    /// Measure rates, losses, round trips and CPU time per message
    #[command(subcommand)]
    Perf(perf::Perf),
    /// Record messages, and what was lost of them, into MCAP files
    #[command(after_long_help = record::NOTES)]
    Record(record::Record),
    /// Publish what was recorded, with its timing
    #[command(after_long_help = play::NOTES)]
    Play(play::Play),
    /// Say what is in recordings, and what is missing
    #[command(after_long_help = info::NOTES)]
    Info(info::Info),
    /// Say why multicast does or does not work, here or between two machines
    Doctor(doctor::Doctor),
    /// Make this machine ready for IPv6 multicast, and prove it
    Netsetup(netsetup::Netsetup),
    /// Print a script that completes commands and options in a shell
    Completions(pages::Completions),
    /// Print the manual page, or write the pages of all subcommands
    Man(pages::Man),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Pub(it) => it.run(),
        Command::Echo(it) => it.run(),
        Command::List(it) => it.run(),
        Command::Hz(it) => it.hz(),
        Command::Bw(it) => it.bw(),
        Command::Spy(it) => it.run(),
        Command::Perf(perf) => perf.run(),
        Command::Record(it) => it.run(),
        Command::Play(it) => it.run(),
        Command::Info(it) => it.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Netsetup(netsetup) => match netsetup.run() {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough: `mcl ... | head` is no error.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    // Nothing is left to be done if standard error is closed too.
    let _ = writeln!(io::stderr(), "mcl: {failure}");
    failure.exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
