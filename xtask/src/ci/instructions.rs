//! The gate for instructions: how many the hot paths take that need no socket, against
//! what is committed.
//!
//! Times wander by tens of percent on a busy machine; instructions hardly do, and a
//! loop too many shows in them. The programs are `benches/instructions`, the numbers
//! `benches/instructions/expected.json`. Counted by cachegrind, a tool of valgrind,
//! whose file of results is plain text: a benchmark is run without and with its steps,
//! and the difference is theirs. Nothing else is needed, and no crate of its own
//! version beside a runner of the same version.
//!
//! Counts depend on the compiler, on the C library (which copies) and on what valgrind
//! shows of the processor. They are compared where all of that is as it was when the
//! expectations were written, and otherwise only shown. What several of one count are to each
//! other is judged everywhere: with a thousand streams, or 64 MiB, a fragment must not cost much more than
//! with one and 64 KiB. Times cannot tell, since memory costs more than that.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::{Judged, Verdict, cargo_with, passes, say, target, workspace};

/// How much more than expected is too much, as a share.
const TOLERANCE: f64 = 0.05;

/// How much more than its base a benchmark of the same at another size may cost for each unit, as a share.
const GROWTH: f64 = 0.2;

const BLESS: &str = "BLESS=1 cargo xtask ci instructions";

/// The processor that valgrind shows copies long pieces by an instruction which counts
/// as one for every byte. With this, glibc copies them as it does short ones.
const TUNABLES: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.x86_rep_movsb_threshold=0x10000000",
);

pub(super) fn gate() -> Judged {
    if Command::new("valgrind").arg("--version").output().is_err() {
        say("valgrind is not installed: `sudo apt-get install valgrind`")?;
        return Ok(Verdict::Skipped);
    }
    let mut build = cargo_with("build --release --locked --package mcl-benches --bin instructions");
    if passes(&mut build)? != Verdict::Passed {
        return Ok(Verdict::Failed);
    }
    let counts = count_all(&target().join("release/instructions"))?;
    let grown = grown(&counts);
    if !grown.is_empty() {
        say(&table(&counts, &BTreeMap::new()))?;
        say(&format!("grows by more than 20 %: {}", grown.join(", ")))?;
        return Ok(Verdict::Failed);
    }
    let found = Expectations::found(&counts)?;
    let path = workspace().join("benches/instructions/expected.json");
    if env::var_os("BLESS").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&found)? + "\n")?;
        say(&table(&counts, &BTreeMap::new()))?;
        say(&format!("written to {}", path.display()))?;
        return Ok(Verdict::Passed);
    }
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let expected: Expectations = serde_json::from_str(&text)?;
    let (verdict, report) = compare(&counts, &found, &expected);
    say(&report)?;
    Ok(verdict)
}

/// What the counts depend on besides our code and its dependencies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Conditions {
    rustc: String,
    host: String,
    rustflags: String,
    libc: String,
    valgrind: String,
    /// Whether there is AVX2, which decides how the C library copies.
    avx2: bool,
}

impl Conditions {
    fn here() -> Result<Self, Box<dyn Error>> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let rustc = says(Command::new(rustc).arg("-vV"))?;
        let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
        Ok(Self {
            rustc: rustc.lines().next().unwrap_or_default().to_owned(),
            host: host.unwrap_or_default().to_owned(),
            rustflags: env::var("RUSTFLAGS").unwrap_or_default(),
            libc: says(Command::new("getconf").arg("GNU_LIBC_VERSION"))?,
            valgrind: says(Command::new("valgrind").arg("--version"))?,
            avx2: fs::read_to_string("/proc/cpuinfo")?.contains(" avx2"),
        })
    }

    /// What is not as it was.
    fn differences(&self, expected: &Self) -> Vec<String> {
        let avx2 = |it: &Self| if it.avx2 { "AVX2" } else { "no AVX2" }.to_owned();
        let flags = |it: &Self| format!("RUSTFLAGS {:?}", it.rustflags);
        let pairs = [
            (self.rustc.clone(), expected.rustc.clone()),
            (self.host.clone(), expected.host.clone()),
            (flags(self), flags(expected)),
            (self.libc.clone(), expected.libc.clone()),
            (self.valgrind.clone(), expected.valgrind.clone()),
            (avx2(self), avx2(expected)),
        ];
        pairs
            .iter()
            .filter(|(here, then)| here != then)
            .map(|(here, then)| format!("{here} here, {then} there"))
            .collect()
    }
}

/// What a program says, if it ends well.
fn says(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name}: {}: {said}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The committed numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Expectations {
    conditions: Conditions,
    instructions: BTreeMap<String, f64>,
}

impl Expectations {
    fn found(counts: &[Count]) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            conditions: Conditions::here()?,
            instructions: counts
                .iter()
                .map(|it| (it.name.clone(), it.instructions))
                .collect(),
        })
    }
}

/// Instructions for one unit of a benchmark.
#[derive(Clone, Debug, PartialEq)]
struct Count {
    name: String,
    unit: String,
    instructions: f64,
    /// The benchmark that it does more of.
    base: Option<String>,
}

fn count_all(program: &Path) -> Result<Vec<Count>, Box<dyn Error>> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    let list = says(Command::new(program).arg("--list"))?;
    list.lines()
        .map(|line| count(program, &folder, line))
        .collect()
}

/// Where cachegrind's files are.
fn folder() -> PathBuf {
    target().join("ci/instructions")
}

/// Counts the benchmark of a line of the list.
fn count(program: &Path, folder: &Path, line: &str) -> Result<Count, Box<dyn Error>> {
    let words: Vec<&str> = line.split('\t').collect();
    let &[name, unit, units, steps, base] = words.as_slice() else {
        return Err(format!("not a benchmark: {line}").into());
    };
    let run = |steps: &str, file: &str| {
        let file = folder.join(format!("{name}.{file}"));
        says(
            Command::new("valgrind")
                .args(["-q", "--tool=cachegrind", "--cache-sim=no"])
                .arg(format!("--cachegrind-out-file={}", file.display()))
                .arg(program)
                .args(["--count", name, steps])
                // The environment lies on the stack and moves it.
                .env_clear()
                .envs(env::var_os("PATH").map(|path| ("PATH", path)))
                .env(TUNABLES.0, TUNABLES.1),
        )?;
        total(&fs::read_to_string(file)?)
    };
    let (without, with) = (run("0", "without")?, run(steps, "with")?);
    let units = units.parse::<f64>()? * steps.parse::<f64>()?;
    let instructions = with.saturating_sub(without) as f64 / units;
    Ok(Count {
        name: name.to_owned(),
        unit: unit.to_owned(),
        instructions: (instructions * 10.0).round() / 10.0,
        base: (base != "-").then(|| base.to_owned()),
    })
}

/// The instructions of a whole run, from cachegrind's file.
fn total(file: &str) -> Result<u64, Box<dyn Error>> {
    let mut summaries = file
        .lines()
        .filter_map(|line| line.strip_prefix("summary: "));
    let summary = summaries.next().ok_or("cachegrind wrote no summary")?;
    Ok(summary.trim().parse()?)
}

/// Those of which a unit costs much more than one of their base.
fn grown(counts: &[Count]) -> Vec<String> {
    let too_much = |it: &Count| {
        let name = it.base.as_deref()?;
        let base = counts.iter().find(|base| base.name == name);
        let share = base.map_or(f64::INFINITY, |base| it.instructions / base.instructions);
        let (percent, it) = (share * 100.0, &it.name);
        (share > 1.0 + GROWTH).then(|| format!("{it} ({percent:.0} % of {name})"))
    };
    counts.iter().filter_map(too_much).collect()
}

/// The verdict, and everything that is to be said about it.
fn compare(counts: &[Count], found: &Expectations, expected: &Expectations) -> (Verdict, String) {
    let differences = found.conditions.differences(&expected.conditions);
    let mut report = table(counts, &expected.instructions);
    if !differences.is_empty() {
        report += &format!(
            "cannot be compared with what is expected, which was counted with something else:\n  \
             {}\n`{BLESS}` writes these counts instead\n",
            differences.join("\n  ")
        );
        return (Verdict::Skipped, report);
    }
    let names = |is: &dyn Fn(f64) -> bool| -> Vec<&str> {
        let changed = counts.iter().filter(|it| {
            let expected = expected.instructions.get(&it.name);
            expected.is_some_and(|expected| is(it.instructions / expected - 1.0))
        });
        changed.map(|it| it.name.as_str()).collect()
    };
    let (more, less) = (names(&|it| it > TOLERANCE), names(&|it| it < -TOLERANCE));
    let other = in_one_only(&found.instructions, &expected.instructions);
    let mut line = |what: &str, names: &[&str]| {
        if !names.is_empty() {
            report += &format!("{what}: {}\n", names.join(", "));
        }
    };
    line("more than 5 % above what is expected", &more);
    line(
        "more than 5 % below what is expected; keep it so by new expectations",
        &less,
    );
    line("not on both lists", &other);
    if let Some(name) = more.first() {
        report += &where_they_are(name);
    }
    if more.is_empty() && less.is_empty() && other.is_empty() {
        return (Verdict::Passed, report);
    }
    report +=
        &format!("`{BLESS}` writes these counts as the expected ones: say why in the commit\n");
    let fails = !more.is_empty() || !other.is_empty();
    (
        if fails {
            Verdict::Failed
        } else {
            Verdict::Passed
        },
        report,
    )
}

/// Benchmarks without an expectation, and expectations without a benchmark.
fn in_one_only<'a>(
    found: &'a BTreeMap<String, f64>,
    expected: &'a BTreeMap<String, f64>,
) -> Vec<&'a str> {
    let new = found.keys().filter(|name| !expected.contains_key(*name));
    let gone = expected.keys().filter(|name| !found.contains_key(*name));
    new.chain(gone).map(String::as_str).collect()
}

fn where_they_are(name: &str) -> String {
    let folder = folder();
    let file = |end: &str| folder.join(format!("{name}.{end}")).display().to_string();
    format!(
        "where they are: `cg_diff {} {} > {name}.diff; cg_annotate {name}.diff`\n",
        file("without"),
        file("with")
    )
}

fn table(counts: &[Count], expected: &BTreeMap<String, f64>) -> String {
    let mut lines = format!(
        "{:<26} {:>12} {:<12} {:>10} {:>8}\n",
        "benchmark", "instructions", "for each", "expected", "change"
    );
    for it in counts {
        let (then, change) = match expected.get(&it.name) {
            Some(then) => (
                format!("{then:.1}"),
                format!("{:+.1} %", (it.instructions / then - 1.0) * 100.0),
            ),
            None => ("–".to_owned(), String::new()),
        };
        let line = format!(
            "{:<26} {:>12.1} {:<12} {then:>10} {change:>8}",
            it.name, it.instructions, it.unit
        );
        lines += line.trim_end();
        lines += "\n";
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> Vec<Count> {
        let count = |&(name, instructions): &(&str, f64)| Count {
            name: name.to_owned(),
            unit: "message".to_owned(),
            instructions,
            base: None,
        };
        of.iter().map(count).collect()
    }

    fn expectations(of: &[(&str, f64)]) -> Expectations {
        let conditions = Conditions {
            rustc: "rustc 1.95.0".to_owned(),
            host: "x86_64-unknown-linux-gnu".to_owned(),
            rustflags: String::new(),
            libc: "glibc 2.36".to_owned(),
            valgrind: "valgrind-3.19.0".to_owned(),
            avx2: true,
        };
        let instructions = of.iter().map(|(name, it)| ((*name).to_owned(), *it));
        Expectations {
            conditions,
            instructions: instructions.collect(),
        }
    }

    fn compared(found: &[(&str, f64)], expected: &[(&str, f64)]) -> (Verdict, String) {
        compare(
            &counts(found),
            &expectations(found),
            &expectations(expected),
        )
    }

    #[test]
    fn what_is_about_as_expected_passes() {
        let (verdict, report) =
            compared(&[("a", 104.9), ("b", 95.1)], &[("a", 100.0), ("b", 100.0)]);
        assert_eq!(verdict, Verdict::Passed, "{report}");
        assert!(!report.contains("BLESS"), "{report}");
    }

    #[test]
    fn one_that_takes_more_fails_and_is_named_with_the_way_out() {
        let (verdict, report) =
            compared(&[("a", 105.2), ("b", 80.0)], &[("a", 100.0), ("b", 100.0)]);
        assert_eq!(verdict, Verdict::Failed);
        for said in [
            "5 % above what is expected: a\n",
            "cg_annotate a.diff",
            BLESS,
        ] {
            assert!(report.contains(said), "{said}\n{report}");
        }
        assert!(report.contains("+5.2 %"), "{report}");
    }

    #[test]
    fn one_that_takes_less_is_told_and_passes() {
        let (verdict, report) = compared(&[("a", 94.0)], &[("a", 100.0)]);
        assert_eq!(verdict, Verdict::Passed);
        assert!(report.contains("new expectations: a\n"), "{report}");
        assert!(report.contains(BLESS), "{report}");
    }

    #[test]
    fn the_lists_must_be_the_same() {
        for (found, expected) in [
            (&[("a", 1.0), ("b", 1.0)][..], &[("a", 1.0)][..]),
            (&[("a", 1.0)], &[("a", 1.0), ("b", 1.0)]),
        ] {
            let (verdict, report) = compared(found, expected);
            assert_eq!(verdict, Verdict::Failed);
            assert!(report.contains("not on both lists: b\n"), "{report}");
        }
    }

    #[test]
    fn with_another_compiler_nothing_is_judged() {
        let mut found = expectations(&[("a", 200.0)]);
        found.conditions.rustc = "rustc 1.96.0".to_owned();
        found.conditions.avx2 = false;
        let expected = expectations(&[("a", 100.0)]);
        let (verdict, report) = compare(&counts(&[("a", 200.0)]), &found, &expected);
        assert_eq!(verdict, Verdict::Skipped);
        for said in [
            "rustc 1.96.0 here, rustc 1.95.0 there",
            "no AVX2 here, AVX2 there",
            "200.0",
            BLESS,
        ] {
            assert!(report.contains(said), "{said}\n{report}");
        }
    }

    #[test]
    fn more_of_the_same_must_not_cost_much_more_each() {
        let mut counts = counts(&[("one", 100.0), ("ten", 119.0), ("hundred", 121.0)]);
        assert_eq!(grown(&counts), [""; 0]);
        for it in &mut counts[1..] {
            it.base = Some("one".to_owned());
        }
        assert_eq!(grown(&counts), ["hundred (121 % of one)"]);
        counts[1].base = Some("none".to_owned());
        assert_eq!(grown(&counts).len(), 2, "its base is gone");
    }

    #[test]
    fn the_total_is_read_from_the_file_of_cachegrind() {
        let file = "desc: I1 cache: 32768 B\ncmd: x\nevents: Ir\nfn=main\n3 7\nsummary: 1238922\n";
        assert_eq!(total(file).unwrap(), 1_238_922);
        assert!(total("events: Ir\n").is_err());
    }

    #[test]
    fn the_committed_expectations_can_be_read() {
        let path = workspace().join("benches/instructions/expected.json");
        let text = fs::read_to_string(path).unwrap();
        let expected: Expectations = serde_json::from_str(&text).unwrap();
        assert!(expected.instructions.values().all(|it| *it > 1.0));
    }
}
