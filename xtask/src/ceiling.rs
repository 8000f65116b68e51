//! `cargo xtask ceiling`: how much memory a listener takes at most, seen from outside
//! while ten million hostile datagrams come in. The suite does the same with fewer.

use std::io;
use std::process::ExitCode;

use mcl_setup::command::{Mode, Shell};

use crate::Outcome;
use crate::test::{cargo, exit_code, itself, prepare, way_inside};

/// The hidden command that runs inside the namespace.
pub(crate) const INSIDE: &str = "ceiling-inside";

/// How the test is told the number.
const VARIABLE: &str = "MCL_CEILING_DATAGRAMS";

const DATAGRAMS: u64 = 10_000_000;

/// The test, built as what it measures is used: optimised.
const TEST: [&str; 6] = [
    "test",
    "--release",
    "--package",
    "mcl-udp",
    "--test",
    "memory",
];

pub(crate) fn main(arguments: &[String]) -> Outcome {
    let datagrams = match arguments.first() {
        Some(number) => number
            .parse::<u64>()
            .map_err(|_| "usage: cargo xtask ceiling [datagrams]")?,
        None => DATAGRAMS,
    };
    // Inside the namespace there is no network to fetch dependencies from.
    if !cargo().args(TEST).arg("--no-run").status()?.success() {
        return Ok(ExitCode::FAILURE);
    }
    let status = way_inside()?
        .arg(itself()?)
        .args([INSIDE, &datagrams.to_string()])
        .status()?;
    Ok(exit_code(status))
}

pub(crate) fn inside(arguments: &[String]) -> Outcome {
    let datagrams = arguments.first().ok_or("the number is missing")?;
    prepare(&mut Shell::new(&mut io::stdout(), Mode::Run))?;
    let status = cargo()
        .args(TEST)
        .args(["--offline", "--", "--include-ignored", "--nocapture"])
        .env(VARIABLE, datagrams)
        .status()?;
    Ok(exit_code(status))
}
