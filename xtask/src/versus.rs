//! `cargo xtask versus`: this library beside bare sockets, LCM and Cyclone DDS.
//!
//! One publisher and one subscriber process at a time, each on a core of its own,
//! in private network namespaces; the same payloads, whose sequence numbers are
//! checked. A ratio is counted from alternating pairs of runs, so that both of a
//! pair meet the machine in the same mood; the median is what counts, and all are
//! shown. See `docs/performance.md`.

mod build;
mod contender;
mod machine;
mod plan;
mod plot;
mod report;
mod results;
mod runner;
mod targets;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::ci::workspace;
use crate::test::{exit_code, inside_namespace, itself, way_inside};

use build::Programs;
use plan::Plan;
use runner::Bench;

/// The hidden command: the measurements, in the namespace made for them.
pub(crate) const INSIDE: &str = "versus-inside";

/// Nothing new is begun after that; what is missing then is said.
const FULL: Duration = Duration::from_secs(14 * 60);
const QUICK: Duration = Duration::from_secs(100);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    quick: bool,
    pairs: usize,
    /// How long to measure again what the machine was too busy for.
    patience: Duration,
    only: Vec<String>,
    out: PathBuf,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            quick: false,
            pairs: 0,
            patience: Duration::ZERO,
            only: Vec::new(),
            out: build::target_directory().join("versus"),
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            if name == "--quick" {
                options.quick = true;
                continue;
            }
            let value = arguments.next();
            let value = value.ok_or(format!("{name}: no such option, or no value for it"))?;
            match name.as_str() {
                "--pairs" => options.pairs = pairs(value)?,
                "--patience" => options.patience = patience(value)?,
                "--only" => options.only = value.split(',').map(str::to_owned).collect(),
                "--out" => options.out = workspace().join(value),
                _ => return Err(format!("{name}: no such option")),
            }
        }
        if options.pairs == 0 {
            options.pairs = if options.quick { 2 } else { 5 };
        }
        plan::check_names(&options.only)?;
        Ok(options)
    }

    fn limit(&self) -> Duration {
        if self.quick { QUICK } else { FULL }
    }
}

fn pairs(value: &str) -> Result<usize, String> {
    let pairs = value.parse().ok().filter(|pairs| (1..=100).contains(pairs));
    pairs.ok_or_else(|| format!("--pairs {value}: 1 to 100 are possible"))
}

fn patience(value: &str) -> Result<Duration, String> {
    let minutes = value.parse().ok().filter(|it| (1..=240).contains(it));
    let minutes: u64 =
        minutes.ok_or_else(|| format!("--patience {value}: 1 to 240 minutes are possible"))?;
    Ok(Duration::from_secs(60 * minutes))
}

pub(crate) fn main(arguments: &[String]) -> Outcome {
    let options = Options::parse(arguments)?;
    build::all(&options.out)?;
    let status = way_inside()?
        .arg(itself()?)
        .arg(INSIDE)
        .args(arguments)
        .status()?;
    Ok(exit_code(status))
}

pub(crate) fn inside(arguments: &[String]) -> Outcome {
    inside_namespace()?;
    let options = Options::parse(arguments)?;
    let programs = Programs::find(&options.out);
    let facts = machine::facts(&programs);
    let bench = Bench::open(programs)?;
    let deadline = Instant::now() + options.limit();
    let results = Plan::new(&options, deadline).run(&bench, &mut |line| {
        // Progress; who closes standard output still gets the files.
        let _ = writeln!(io::stdout(), "{line}");
    });
    write_all(&options, &facts, &results)
}

fn write_all(options: &Options, facts: &machine::Facts, results: &results::Results) -> Outcome {
    let table = report::markdown(facts, results);
    let json = serde_json::json!({
        "machine": facts,
        "quick": options.quick,
        "targets": targets::judge(results),
        "results": results,
    });
    let write = |name: &str, text: &str| -> Result<PathBuf, Box<dyn Error>> {
        let path = options.out.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    };
    let files = [
        write("versus.md", &table)?,
        write("versus.json", &serde_json::to_string_pretty(&json)?)?,
        write("versus.svg", &plot::svg(results))?,
    ];
    let mut out = io::stdout();
    writeln!(out, "\n{table}")?;
    for file in files {
        writeln!(out, "{}", file.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn options_are_read() {
        let options = parse("--quick --only blast,lcm --out elsewhere").unwrap();
        assert!(options.quick);
        assert_eq!((options.pairs, options.only.len()), (2, 2));
        assert_eq!(options.out, workspace().join("elsewhere"));
        assert_eq!(parse("").unwrap().pairs, 5);
        let patient = parse("--patience 15").unwrap();
        assert_eq!(patient.patience, Duration::from_secs(900));
    }

    #[test]
    fn wrong_options_are_named() {
        for (line, named) in [
            ("--pairs 0", "--pairs 0"),
            ("--pairs", "--pairs"),
            ("--patience 0", "--patience 0"),
            ("--patience 1h", "--patience 1h"),
            ("--slow 1", "--slow"),
            ("--only blast,zmq", "zmq"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
