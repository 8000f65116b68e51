//! Commands of the MCL workspace: `cargo xtask help` lists them.

mod ceiling;
mod ci;
mod demo;
mod faults;
mod loss;
mod netsetup;
#[cfg(test)]
mod readme;
mod soak;
mod test;
mod versus;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <command>

  demo                  a publisher and two listeners exchange messages, here and now
  netsetup [option]     make this machine ready for IPv6 multicast, and prove it
      --dry-run         print what would be done, change nothing
      --check           diagnose only; exit status 0: ready, 1: not usable,
                        2: usable, but its receive buffers are small
      --undo            take back exactly what netsetup made
      --persist         also write the buffer sizes to sysctl.d
  test [-- filter...]   the whole test suite, in private network namespaces
  ceiling [datagrams]   how much memory a listener takes under a flood (10000000)
  faults [filter...]    what becomes of messages under loss, duplication, reorder,
                        corruption, partition, stopped and killed processes: a table
  loss [series]         how much is lost with and without pacing (10 series)
  soak [option...]      many processes and faults, for long, and the account of all messages
      --seconds N       how long (120)
      --seed N          what chance follows from (another one each time)
      --load MB/S       what all broadcasters send together (12)
      --out FILE        the account as JSON
  versus [option...]    this library, bare sockets, LCM and Cyclone DDS side by side
      --quick           under two minutes, for a first look
      --pairs N         alternating pairs of runs for each ratio (5)
      --patience MIN    so long, measure again what the machine was too busy for (0)
      --only NAME,..    only these measurements (blast, pacing, lossless, roundtrip,
                        cable) or contenders (gso, naive, lcm, cyclone, coalesced)
      --out DIR         where the table, the JSON and the plot go (target/versus)
  ci [step...]          every gate, or the ones named; `cargo xtask ci list` lists them
  help                  this text
";

/// What a command returns: its exit status, or an error that has not been shown.
type Outcome = Result<ExitCode, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to be done if standard error is closed too.
            let _ = writeln!(io::stderr(), "xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Outcome {
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", arguments),
    };
    match command {
        "demo" => demo::main(rest),
        demo::INSIDE => demo::inside(),
        demo::LISTENER => demo::listener(rest),
        demo::PUBLISHER => demo::publisher(rest),
        "ceiling" => ceiling::main(rest),
        ceiling::INSIDE => ceiling::inside(rest),
        "faults" => faults::main(rest),
        faults::INSIDE => faults::inside(rest),
        "loss" => loss::main(rest),
        loss::INSIDE => loss::inside(rest),
        loss::LISTENER => loss::listener(rest),
        "netsetup" => netsetup::main(rest),
        "soak" => soak::main(rest),
        soak::INSIDE => soak::inside(rest),
        soak::BROADCASTER => soak::broadcaster(rest),
        soak::LISTENER => soak::listener(rest),
        "test" => test::main(rest),
        test::INSIDE => test::inside(rest),
        "versus" => versus::main(rest),
        versus::INSIDE => versus::inside(rest),
        "ci" => ci::main(rest),
        "help" | "--help" | "-h" => {
            io::stdout().write_all(HELP.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        other => Err(format!("no command {other:?}; `cargo xtask help` lists them").into()),
    }
}
