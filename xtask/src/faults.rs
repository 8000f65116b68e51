//! `cargo xtask faults`: real processes in namespaces of their own under every
//! fault that a cable, a machine or an operator can cause, and what became of all
//! they sent, as a table.
//!
//! The scenarios are the tests of `crates/mcl-udp/tests/faults`, which assert what
//! the table shows.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{ExitCode, Stdio};

use crate::Outcome;
use crate::test::{cargo, exit_code, inside_namespace, itself, way_inside};

/// The hidden command that runs the scenarios inside the namespace.
pub(crate) const INSIDE: &str = "faults-inside";

/// What the lines of the table begin with.
const MARK: &str = "mcl-faults> ";

const HEAD: &str = "\
| scenario | sent | delivered whole and right | what became of the rest, and what counts it | recovery |
|---|---|---|---|---|";

const TESTS: [&str; 5] = ["test", "--package", "mcl-udp", "--test", "faults"];

pub(crate) fn main(arguments: &[String]) -> Outcome {
    // Inside the namespace there is no network to fetch dependencies from.
    let built = cargo().args(TESTS).arg("--no-run").status()?;
    if !built.success() {
        return Ok(ExitCode::FAILURE);
    }
    let mut way = way_inside()?;
    way.arg(itself()?).arg(INSIDE).args(arguments);
    Ok(exit_code(way.status()?))
}

pub(crate) fn inside(filters: &[String]) -> Outcome {
    inside_namespace()?;
    let mut child = cargo()
        .args(TESTS)
        .args(["--offline", "--", "--include-ignored", "--nocapture"])
        .arg("--test-threads=1")
        .args(filters)
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    let mut out = io::stdout();
    writeln!(out, "{HEAD}")?;
    for line in BufReader::new(output).lines() {
        if let Some(row) = row(&line?) {
            writeln!(out, "{row}")?;
            out.flush()?;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        return Err("a scenario failed: its test says why".into());
    }
    Ok(exit_code(status))
}

/// The row that a line of the tests' output has, whatever stands before it.
fn row(line: &str) -> Option<String> {
    let (_, row) = line.split_once(MARK)?;
    Some(format!("| {row} |"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_from_the_rest() {
        let line = "test a::b ... mcl-faults> loss | 10 | 9 | 1 lost | none";
        assert_eq!(row(line).unwrap(), "| loss | 10 | 9 | 1 lost | none |");
        assert_eq!(row("test a::b ... ok"), None);
    }
}
