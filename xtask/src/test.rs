//! `cargo xtask test`: the whole suite, in private network namespaces where the
//! system allows, so that no datagram of a test leaves the machine and no interface
//! of the user is touched.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::thread::available_parallelism;

use crate::Outcome;
use mcl_setup::command::{Mode, Shell, program};

/// The hidden command that runs the suite, and is itself run inside the namespace.
pub(crate) const INSIDE: &str = "inside-test";

/// Set for what runs inside: the commands that make interfaces there refuse to
/// make them anywhere else.
const INSIDE_VARIABLE: &str = "XTASK_IN_PRIVATE_NAMESPACE";

/// Where `cargo` is, said by itself to the programs that it runs.
pub(crate) fn cargo() -> Command {
    let mut command = program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The caller's choice of interface or connection is not the tests'.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("MCL_") {
            command.env_remove(name);
        }
    }
    command.current_dir(crate::ci::workspace());
    command
}

/// This program, to be run again. While it runs, building the workspace may put a new
/// one in its place, of the same source: that will do as well.
pub(crate) fn itself() -> io::Result<PathBuf> {
    let path = env::current_exe()?;
    // What the kernel says of a file that was replaced (proc_pid_exe(5)).
    let replaced = path.to_str().and_then(|it| it.strip_suffix(" (deleted)"));
    Ok(replaced.map_or_else(|| path.clone(), PathBuf::from))
}

pub(crate) fn main(arguments: &[String]) -> Outcome {
    let filters: Vec<String> = arguments.iter().filter(|it| *it != "--").cloned().collect();
    // Inside the namespace there is no network to fetch dependencies from.
    let built = cargo().args(["test", "--workspace", "--no-run"]).status()?;
    if !built.success() {
        return Ok(ExitCode::FAILURE);
    }
    match way_inside() {
        Ok(mut way) => {
            way.arg(itself()?).arg(INSIDE).args(&filters);
            Ok(exit_code(way.status()?))
        }
        Err(why) => host_only(&filters, &why),
    }
}

/// The command that runs another in a private network namespace: without root by a
/// user namespace, and with root where user namespaces are switched off.
pub(crate) fn way_inside() -> Result<Command, String> {
    let mut reasons = Vec::new();
    for flags in ["-rn", "-n"] {
        let mut probe = program("unshare");
        probe
            .arg(flags)
            .args(["ip", "link", "set", "dev", "lo", "up"]);
        match probe.output() {
            Ok(output) if output.status.success() => {
                let mut way = program("unshare");
                way.arg(flags).env(INSIDE_VARIABLE, "1");
                return Ok(way);
            }
            Ok(output) => {
                let stderr = String::from_utf8_lossy(&output.stderr);
                reasons.push(format!(
                    "`unshare {flags} ip link set dev lo up`: {}",
                    stderr.trim()
                ));
            }
            Err(error) => reasons.push(format!("`unshare`: {error}")),
        }
    }
    Err(reasons.join("; "))
}

/// Makes the namespace usable and runs the suite in it.
pub(crate) fn inside(filters: &[String]) -> Outcome {
    prepare(&mut Shell::new(&mut io::stdout(), Mode::Run))?;
    let mut command = suite();
    command.args(["--", "--include-ignored"]).args(filters);
    let missing: Vec<_> = EXTRAS.iter().filter(|it| it.is_missing()).collect();
    for extra in &missing {
        command.args(["--skip", extra.tests]);
    }
    let notes: Vec<_> = missing.iter().map(|it| it.note()).collect();
    let note = (!notes.is_empty()).then(|| notes.join("\n"));
    run(command, filters, note.as_deref())
}

/// A program that only some tests need, which are left out without it.
struct Extra {
    /// What the names of these tests contain.
    tests: &'static str,
    program: &'static str,
    /// What it is asked, to see whether it is there.
    probe: &'static [&'static str],
    about: &'static str,
    remedy: &'static str,
}

const EXTRAS: [Extra; 4] = [
    Extra {
        tests: "with_ethtool",
        program: "ethtool",
        probe: &["--version"],
        about: "switch offloads of virtual cables off",
        remedy: "sudo apt-get install ethtool",
    },
    Extra {
        tests: "with_tshark",
        program: "tshark",
        probe: &["--version"],
        about: "judge the Wireshark dissector",
        remedy: "sudo apt-get install tshark",
    },
    Extra {
        tests: "with_python_mcap",
        program: "python3",
        probe: &["-c", "import mcap, lz4, zstandard"],
        about: "read recordings with another reader",
        remedy: "python3 -m venv target/python && target/python/bin/pip install mcap",
    },
    Extra {
        tests: "with_tmux",
        program: "tmux",
        probe: &["-V"],
        about: "read the screen of `mcl spy`",
        remedy: "sudo apt-get install tmux",
    },
];

/// Where `.ci/run` installs packages of Python, which are nobody else's.
const PYTHON: &str = "target/python/bin/python3";

impl Extra {
    fn is_missing(&self) -> bool {
        let own = crate::ci::workspace().join(PYTHON);
        let mut probe = match self.program {
            "python3" if own.exists() => program(own),
            name => program(name),
        };
        let probed = probe.args(self.probe).output();
        !probed.is_ok_and(|output| output.status.success())
    }

    fn note(&self) -> String {
        let Self {
            tests,
            program,
            about,
            remedy,
            ..
        } = self;
        format!(
            "Skipped: the tests whose name contains `{tests}`, which {about}; {program} is not \
             installed, or lacks what they need (`{remedy}`)."
        )
    }
}

pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Refuses to go on where the interfaces are the user's.
pub(crate) fn inside_namespace() -> Result<(), Box<dyn Error>> {
    match env::var_os(INSIDE_VARIABLE) {
        Some(_) => Ok(()),
        None => Err("this command is for the inside of a private network namespace".into()),
    }
}

/// One interface that carries multicast at once, and `lo`.
pub(crate) fn prepare(shell: &mut Shell<'_>) -> Result<(), Box<dyn Error>> {
    inside_namespace()?;
    shell.say("In a private network namespace, whose interfaces are its own:")?;
    shell.run("ip link set dev lo up")?;
    let kinds = ["type bridge", "type dummy", "type veth peer name test1"];
    let made = kinds.iter().any(|kind| {
        let added = shell.run(&format!("ip link add name test0 {kind}"));
        added.is_ok()
    });
    if !made {
        return Err("the kernel makes neither a bridge nor a dummy device nor a veth pair".into());
    }
    let at_once = "/proc/sys/net/ipv6/conf/test0/accept_dad";
    shell.write(
        "sysctl -w net.ipv6.conf.test0.accept_dad=0",
        at_once.as_ref(),
        "0",
    )?;
    shell.run("ip link set dev test0 multicast on up")?;
    shell.run("ip address add fd34::1/64 dev test0 nodad")?;
    Ok(())
}

fn suite() -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace", "--offline", "--no-fail-fast"]);
    command
}

/// Runs what needs no namespace, and lists what does.
fn host_only(filters: &[String], why: &str) -> Outcome {
    let note = format!(
        "This system does not allow private network namespaces: {why}\n\
         The tests that need one are skipped. To run them, allow user namespaces\n\
         (`sudo sysctl -w kernel.unprivileged_userns_clone=1` on older Debian,\n\
         `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` on Ubuntu),\n\
         install iproute2 and util-linux where `ip` or `unshare` is missing,\n\
         or run this command as root."
    );
    writeln!(io::stdout(), "{note}")?;
    let mut command = suite();
    command.arg("--").args(filters);
    run(command, filters, Some(&note))
}

/// Runs the suite, shows its output as it comes, and sums it up at the end.
fn run(mut command: Command, filters: &[String], note: Option<&str>) -> Outcome {
    if !filters.iter().any(|it| it.starts_with("--test-threads")) {
        // The tests wait more than they work, but measure time.
        let threads = available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4));
        command.arg(format!("--test-threads={threads}"));
    }
    let (reader, writer) = io::pipe()?;
    // One pipe for both, so that a binary's name stays above its tests.
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    drop(command);
    let mut summary = Summary::default();
    let mut out = io::stdout();
    for line in BufReader::new(reader).lines() {
        let line = line?;
        writeln!(out, "{line}")?;
        summary.take(&line);
    }
    let status = child.wait()?;
    summary.show(&mut out)?;
    if let Some(note) = note {
        writeln!(out, "\n{note}")?;
    }
    Ok(exit_code(status))
}

/// What the test runner said, binary by binary.
#[derive(Debug, Default)]
struct Summary {
    binary: String,
    results: Vec<(String, String)>,
    failed: Vec<String>,
    skipped: Vec<String>,
    counts: [u64; 3],
}

impl Summary {
    fn take(&mut self, line: &str) {
        let trimmed = line.trim_start();
        if let Some(result) = line.strip_prefix("test result: ") {
            self.count(result);
            let tested = !result.contains(" 0 passed; 0 failed; 0 ignored;");
            if tested {
                self.results.push((self.binary.clone(), line.to_owned()));
            }
        } else if let Some(test) = line.strip_prefix("test ") {
            self.take_test(test);
        } else if let Some(running) = trimmed.strip_prefix("Running ") {
            self.binary = binary_name(running);
        } else if trimmed.starts_with("Doc-tests ") {
            self.binary = trimmed.to_owned();
        }
    }

    fn take_test(&mut self, test: &str) {
        let in_binary = |name: &str| format!("{}: {name}", self.binary);
        if let Some((name, reason)) = test.split_once(" ... ignored") {
            let reason = reason.trim_start_matches(", ");
            let reason = if reason.is_empty() {
                "no reason given"
            } else {
                reason
            };
            self.skipped.push(format!("{} ({reason})", in_binary(name)));
        } else if let Some(name) = test.strip_suffix(" ... FAILED") {
            self.failed.push(in_binary(name));
        }
    }

    /// Adds up "ok. 2 passed; 0 failed; 6 ignored; ...".
    fn count(&mut self, result: &str) {
        let kinds = ["passed", "failed", "ignored"];
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(kind)) = (words.next(), words.next()) else {
                continue;
            };
            let slot = kinds.iter().position(|it| *it == kind);
            if let (Some(slot), Ok(number)) = (slot, number.parse::<u64>()) {
                self.counts[slot] += number;
            }
        }
    }

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\nSummary")?;
        for (binary, result) in &self.results {
            writeln!(out, "  {binary}\n    {result}")?;
        }
        for test in &self.skipped {
            writeln!(out, "  skipped: {test}")?;
        }
        for test in &self.failed {
            writeln!(out, "  FAILED: {test}")?;
        }
        let [passed, failed, skipped] = self.counts;
        writeln!(
            out,
            "{passed} tests passed, {failed} failed, {skipped} skipped."
        )
    }
}

/// "tests/net.rs (target/debug/deps/net-0a1b2c)" as "net (tests/net.rs)".
fn binary_name(running: &str) -> String {
    let Some((source, path)) = running.split_once(" (") else {
        return running.to_owned();
    };
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    format!("{name} ({source})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_output_is_summed_up() {
        let mut summary = Summary::default();
        for line in [
            "     Running unittests src/lib.rs (target/debug/deps/mcl_net-0a1b2c)",
            "test a::works ... ok",
            "test a::fails ... FAILED",
            "test a::needs ... ignored, needs a private network namespace: cargo xtask test",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "   Doc-tests mcl_net",
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "     Running tests/net.rs (target/debug/deps/net-0a1b2c)",
            "test result: ok. 20 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            summary.take(line);
        }
        assert_eq!(summary.counts, [21, 1, 1]);
        assert_eq!(summary.failed, ["mcl_net (unittests src/lib.rs): a::fails"]);
        assert_eq!(
            summary.skipped,
            [
                "mcl_net (unittests src/lib.rs): a::needs (needs a private network namespace: cargo xtask test)"
            ]
        );
        assert_eq!(summary.results.len(), 2);
        let mut shown = Vec::new();
        summary.show(&mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(
            shown.contains("net (tests/net.rs)\n    test result: ok. 20 passed"),
            "{shown}"
        );
        assert!(shown.ends_with("21 tests passed, 1 failed, 1 skipped.\n"));
    }
}
