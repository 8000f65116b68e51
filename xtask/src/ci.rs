//! `cargo xtask ci`: every gate, each a command that one can run alone.

mod instructions;

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::test::{cargo, itself};

/// How a gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    /// It could not be judged here; what is missing was said.
    Skipped,
}

type Judged = Result<Verdict, Box<dyn Error>>;

/// A gate: its name, what it holds, and the function that judges.
struct Gate {
    name: &'static str,
    about: &'static str,
    judge: fn() -> Judged,
}

const GATES: [Gate; 10] = [
    Gate {
        name: "fmt",
        about: "rustfmt changes nothing",
        judge: fmt,
    },
    Gate {
        name: "clippy",
        about: "no warning in any target, nor with other features of mcl-wire and mcl-udp",
        judge: clippy,
    },
    Gate {
        name: "docs",
        about: "rustdoc has no warning, private items included",
        judge: docs,
    },
    Gate {
        name: "no-std",
        about: "mcl-wire links into a no_std static library with a panic handler of its own",
        judge: no_std,
    },
    Gate {
        name: "deny",
        about: "licences, advisories, bans and sources of all dependencies (cargo-deny)",
        judge: deny,
    },
    Gate {
        name: "msrv",
        about: "the workspace builds with the oldest Rust that it promises",
        judge: msrv,
    },
    Gate {
        name: "test",
        about: "the whole suite: cargo xtask test; and what mcl-udp tells `tracing`",
        judge: whole_suite,
    },
    Gate {
        name: "instructions",
        about: "the hot paths take no more instructions than is committed (valgrind)",
        judge: instructions::gate,
    },
    Gate {
        name: "fuzz",
        about: "a minute of fuzzing, over all targets, from the committed corpus (nightly, cargo-fuzz)",
        judge: fuzz,
    },
    Gate {
        name: "demo",
        about: "cargo xtask demo runs to its end",
        judge: demo,
    },
];

pub(crate) fn main(arguments: &[String]) -> Outcome {
    if arguments.iter().any(|it| it == "list") {
        for Gate { name, about, .. } in GATES {
            writeln!(io::stdout(), "{name:<13} {about}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = arguments
        .iter()
        .find(|it| GATES.iter().all(|gate| gate.name != **it))
    {
        return Err(format!("no gate {unknown:?}; `cargo xtask ci list` lists them").into());
    }
    let wanted = |gate: &&Gate| arguments.is_empty() || arguments.iter().any(|it| it == gate.name);
    let mut results = Vec::new();
    for gate in GATES.iter().filter(wanted) {
        writeln!(io::stdout(), "\n== {}: {}", gate.name, gate.about)?;
        let began = Instant::now();
        let verdict = (gate.judge)().or_else(|error| {
            writeln!(io::stdout(), "{error}")?;
            Ok::<_, io::Error>(Verdict::Failed)
        })?;
        results.push((gate.name, verdict, began.elapsed()));
    }
    table(&results)
}

fn table(results: &[(&str, Verdict, Duration)]) -> Outcome {
    let mut out = io::stdout();
    writeln!(out, "\n{:<13} {:<8} seconds", "gate", "result")?;
    for (name, verdict, took) in results {
        let verdict = match verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        };
        writeln!(out, "{name:<13} {verdict:<8} {:.1}", took.as_secs_f64())?;
    }
    let failed = results
        .iter()
        .any(|(_, verdict, _)| *verdict == Verdict::Failed);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// Shows the command, runs it and judges by its exit status.
fn passes(command: &mut Command) -> Judged {
    writeln!(io::stdout(), "+ {}", shown(command))?;
    Ok(if command.status()?.success() {
        Verdict::Passed
    } else {
        Verdict::Failed
    })
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Runs the commands in turn until one fails.
fn all_pass(commands: impl IntoIterator<Item = Command>) -> Judged {
    for mut command in commands {
        let verdict = passes(&mut command)?;
        if verdict != Verdict::Passed {
            return Ok(verdict);
        }
    }
    Ok(Verdict::Passed)
}

fn cargo_with(arguments: &str) -> Command {
    let mut command = cargo();
    command.args(arguments.split(' '));
    command
}

fn fmt() -> Judged {
    passes(&mut cargo_with("fmt --all --check"))
}

fn clippy() -> Judged {
    all_pass([
        cargo_with("clippy --workspace --all-targets --locked -- -D warnings"),
        cargo_with("clippy --package mcl-wire --no-default-features --locked -- -D warnings"),
        cargo_with("clippy --package mcl-wire --features serde --locked -- -D warnings"),
        cargo_with(
            "clippy --package mcl-udp --all-targets --features tracing --locked -- -D warnings",
        ),
    ])
}

fn docs() -> Judged {
    let mut command = cargo_with("doc --workspace --no-deps --document-private-items --locked");
    command.env("RUSTDOCFLAGS", "-D warnings");
    passes(&mut command)
}

fn whole_suite() -> Judged {
    let mut suite = Command::new(itself()?);
    suite.arg("test").current_dir(workspace());
    let events = "test --package mcl-udp --features tracing --lib --locked trace";
    all_pass([suite, cargo_with(events)])
}

fn demo() -> Judged {
    let mut command = Command::new(itself()?);
    command.arg("demo").current_dir(workspace());
    passes(&mut command)
}

/// The fuzz targets, and the longest input of each.
const FUZZ_TARGETS: [(&str, u32); 3] = [("frames", 4096), ("demux", 2048), ("typed", 8192)];

/// Seconds for each of them.
const FUZZ_SECONDS: u32 = 20;

fn fuzz() -> Judged {
    let probes = [
        (
            "rustc",
            "+nightly --version",
            "a nightly compiler is not installed: `rustup toolchain install nightly --profile minimal`",
        ),
        (
            "cargo",
            "fuzz --version",
            "cargo-fuzz is not installed: `cargo install --locked cargo-fuzz`",
        ),
    ];
    for (program, arguments, missing) in probes {
        // By rustup's proxies: this process may have been started by a fixed toolchain.
        let probe = by_rustup(program, arguments).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            say(missing)?;
            return Ok(Verdict::Skipped);
        }
    }
    let found = target().join("fuzz");
    let targets = FUZZ_TARGETS.iter().map(|(name, longest)| {
        let inputs = found.join("inputs").join(name);
        let mut command = by_rustup("cargo", "+nightly fuzz run --target-dir");
        command.arg(&found).arg(name).arg(&inputs);
        command.arg(format!("fuzz/corpus/{name}")).arg("--");
        command.arg(format!("-max_total_time={FUZZ_SECONDS}"));
        // By the clock on the wall: the machine may have other work.
        command.args(["-timeout=60", "-verbosity=0", "-print_final_stats=1"]);
        command.arg(format!("-max_len={longest}"));
        fs::create_dir_all(&inputs).map(|()| command)
    });
    all_pass(targets.collect::<io::Result<Vec<_>>>()?)
}

fn by_rustup(program: &str, arguments: &str) -> Command {
    let mut command = Command::new(program);
    command.args(arguments.split(' ')).current_dir(workspace());
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command
}

fn deny() -> Judged {
    let installed = cargo().args(["deny", "--version"]).output()?;
    if !installed.status.success() {
        say("cargo-deny is not installed: `cargo install --locked cargo-deny`")?;
        return Ok(Verdict::Skipped);
    }
    if passes(&mut cargo_with("deny check bans licenses sources"))? == Verdict::Failed {
        return Ok(Verdict::Failed);
    }
    advisories()
}

/// The one check that needs the network: the list of advisories is fetched.
fn advisories() -> Judged {
    let mut command = cargo_with("deny check advisories");
    say(&format!("+ {}", shown(&command)))?;
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    io::stdout().write_all(said.as_bytes())?;
    Ok(if output.status.success() {
        Verdict::Passed
    } else if said.contains("failed to fetch advisory database") {
        say("The list of advisories cannot be fetched from here.")?;
        Verdict::Skipped
    } else {
        Verdict::Failed
    })
}

/// Builds with the toolchain named by `rust-version`, where rustup has it.
fn msrv() -> Judged {
    let version = env!("CARGO_PKG_RUST_VERSION");
    let toolchains = Command::new("rustup").args(["toolchain", "list"]).output();
    let installed = toolchains.is_ok_and(|list| {
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        list.lines().any(|line| line.starts_with(version))
    });
    if !installed {
        writeln!(
            io::stdout(),
            "Rust {version} is not installed: `rustup toolchain install {version} --profile minimal`"
        )?;
        return Ok(Verdict::Skipped);
    }
    let mut command = Command::new("rustup");
    command.args(["run", version, "cargo", "check", "--workspace", "--locked"]);
    command
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN");
    command.env("CARGO_TARGET_DIR", target().join("msrv"));
    passes(command.current_dir(workspace()))
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// A fresh folder below the target folder, outside of the workspace's members.
fn fresh(name: &str) -> io::Result<PathBuf> {
    let folder = target().join("ci").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("src"))?;
    Ok(folder)
}

/// Writes a crate that is a workspace of its own.
fn write_crate(name: &str, manifest: &str, file: &str, code: &str) -> io::Result<PathBuf> {
    let folder = fresh(name)?;
    let head = format!("[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n");
    fs::write(
        folder.join("Cargo.toml"),
        format!("{head}\n{manifest}\n[workspace]\n"),
    )?;
    fs::write(folder.join("src").join(file), code)?;
    Ok(folder)
}

fn path_dependency(name: &str, rest: &str) -> String {
    let path = workspace().join("crates").join(name);
    format!("{name} = {{ path = {path:?}{rest} }}\n")
}

/// Builds the library as firmware would, and links it into a program that has no
/// other Rust in it.
fn no_std() -> Judged {
    let manifest = format!(
        "[lib]\ncrate-type = [\"staticlib\"]\n\n[dependencies]\n{}\n\
         [profile.dev]\npanic = \"abort\"\n\n[profile.release]\npanic = \"abort\"\n",
        path_dependency("mcl-wire", ", default-features = false")
    );
    let folder = write_crate("mcl-no-std", &manifest, "lib.rs", NO_STD)?;
    fs::write(folder.join("main.c"), NO_STD_MAIN)?;
    let mut commands = ["build", "build --release"].map(cargo_with);
    for command in &mut commands {
        command
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", target());
    }
    let mut link = Command::new("cc");
    link.arg("main.c")
        .arg(target().join("release/libmcl_no_std.a"));
    link.args(["-o", "main"]).current_dir(&folder);
    let program = Command::new(folder.join("main"));
    all_pass(commands.into_iter().chain([link, program]))
}

const NO_STD: &str = r#"#![no_std]
//! The wire format alone, as firmware links it.

use mcl_wire::{BodyHead, Fragmenter, Header, Metadata};

static PAYLOAD: [u8; 8192] = [7; 8192];

/// How many datagrams a message of `len` bytes takes on Ethernet; 0 if it is too long.
#[unsafe(no_mangle)]
pub extern "C" fn mcl_datagrams(len: usize) -> usize {
    let Ok(head) = BodyHead::new(Some("topic"), &Metadata::new()) else { return 0 };
    let Some(payload) = PAYLOAD.get(..len) else { return 0 };
    Fragmenter::new(1, &head, payload, 1452).map_or(0, |fragments| fragments.len())
}

/// Whether these bytes begin with the header of a datagram.
#[unsafe(no_mangle)]
pub extern "C" fn mcl_is_datagram(byte: u8) -> bool {
    Header::decode(&[byte; 64]).is_ok()
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
"#;

const NO_STD_MAIN: &str = "\
#include <stddef.h>
#include <stdbool.h>
size_t mcl_datagrams(size_t len);
bool mcl_is_datagram(unsigned char byte);
/* The core library of this host is built to unwind; those of firmware targets are not. */
void rust_eh_personality(void) {}
int main(void) {
    return mcl_datagrams(5000) == 4 && mcl_datagrams(9000) == 0 && !mcl_is_datagram(0) ? 0 : 1;
}
";
