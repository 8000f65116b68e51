//! What the kernel can do: messages over bare IPv6 multicast sockets, without a
//! library. It is the limit that MCL is measured against, and a lower mark:
//!
//! - `--mode gso` (default) sends trains of datagrams by segmentation offload
//!   (`UDP_SEGMENT`) and receives them by receive offload (`UDP_GRO`);
//! - `--mode naive` sends a datagram per call, longer messages in datagrams of
//!   60,000 bytes that IP fragments.
//!
//! A message's bytes are checked where they lie in the receive buffer and are
//! not put together, unless `--whole` says so: then each train is received where it
//! belongs in a buffer as long as a message, as a program that wants whole messages
//! would have it, by the same system call.
//!
//! ```sh
//! cargo build --release -p mcl-benches --bin raw-reference
//! unshare -rn sh -c '
//!     ip link add br0 type bridge; sysctl -qw net.ipv6.conf.br0.accept_dad=0
//!     ip link set br0 up; sleep 0.3
//!     taskset -c 1 target/release/raw-reference sub --size 65536 & sleep 0.3
//!     taskset -c 0 target/release/raw-reference pub --size 65536 --seconds 2; wait'
//! ```
//!
//! `sub` and `pong` say `ready` on standard error; every role prints one JSON
//! object on standard output.

mod echo;
mod message;
mod network;
mod options;
mod publish;
mod report;
mod subscribe;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::network::{Inlet, Outlet};
use crate::options::{Options, Role, USAGE};
use crate::report::Report;
use crate::subscribe::Stop;

fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => return complain(&format!("{wrong}\n\n{USAGE}")),
    };
    match run(&options).and_then(|report| Ok(writeln!(io::stdout(), "{report}")?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string()),
    }
}

fn complain(what: &str) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "raw-reference: {what}");
    ExitCode::FAILURE
}

fn run(options: &Options) -> Result<Report, Box<dyn Error>> {
    match options.role {
        Role::Pub => publish::run(options, &mut Outlet::open(options, 0)?),
        Role::Sub => {
            let mut inlet = Inlet::open(options, 0)?;
            let mut stop = Stop::on_signals()?;
            writeln!(io::stderr(), "ready")?;
            subscribe::run(&mut inlet, &mut stop)
        }
        Role::Ping => echo::ping(
            options,
            &mut Outlet::open(options, 0)?,
            &mut Inlet::open(options, 1)?,
        ),
        Role::Pong => {
            let mut outlet = Outlet::open(options, 1)?;
            let mut inlet = Inlet::open(options, 0)?;
            let mut stop = Stop::on_signals()?;
            writeln!(io::stderr(), "ready")?;
            echo::pong(&mut inlet, &mut outlet, &mut stop)
        }
    }
}
