//! Building the programs that are measured; what cannot be built is skipped.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ci::workspace;
use crate::test::cargo;
use mcl_setup::command::program;

/// Where the programs are; `None` for peers that were not built.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) mcl: PathBuf,
    pub(super) raw: PathBuf,
    pub(super) lcm: Option<PathBuf>,
    pub(super) cyclone: Option<PathBuf>,
}

pub(super) const INSTALL_LCM: &str = "sudo apt-get install gcc liblcm-dev";
pub(super) const INSTALL_CYCLONE: &str = "sudo apt-get install gcc cyclonedds-dev cyclonedds-tools";

impl Programs {
    /// Those that [`all`] built.
    pub(super) fn find(out: &Path) -> Self {
        let release = target_directory().join("release");
        let peer = |name: &str| Some(out.join("build").join(name)).filter(|path| path.is_file());
        Self {
            mcl: release.join("mcl"),
            raw: release.join("raw-reference"),
            lcm: peer("lcm_peer"),
            cyclone: peer("cyclone_peer"),
        }
    }
}

/// Where cargo puts what it builds.
pub(super) fn target_directory() -> PathBuf {
    let set = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    workspace().join(set.unwrap_or_else(|| "target".into()))
}

pub(super) fn all(out: &Path) -> Result<(), Box<dyn Error>> {
    let packages = ["-p", "mcl-cli", "-p", "mcl-benches"];
    let bins = ["--bin", "mcl", "--bin", "raw-reference"];
    let built = cargo()
        .args(["build", "--release"])
        .args(packages)
        .args(bins)
        .status()?;
    if !built.success() {
        return Err("the programs to be measured do not build".into());
    }
    let build = out.join("build");
    // What was built before may be of other sources.
    if build.exists() {
        fs::remove_dir_all(&build)?;
    }
    fs::create_dir_all(&build)?;
    attempt("LCM", INSTALL_LCM, lcm(&build))?;
    attempt("Cyclone DDS", INSTALL_CYCLONE, cyclone(&build))
}

fn attempt(name: &str, install: &str, built: Result<(), String>) -> Result<(), Box<dyn Error>> {
    if let Err(why) = built {
        let first = why.lines().next().unwrap_or_default();
        writeln!(
            io::stdout(),
            "{name} is skipped: {first}\n  `{install}` installs what it needs"
        )?;
    }
    Ok(())
}

fn peers() -> PathBuf {
    workspace().join("benches/peers")
}

fn lcm(build: &Path) -> Result<(), String> {
    let mut compile = compiler(&build.join("lcm_peer"));
    run(compile.arg(peers().join("lcm_peer.c")).arg("-llcm"))
}

/// idlc writes C files of the peer's own name, into the directory for builds.
fn cyclone(build: &Path) -> Result<(), String> {
    let idl = peers().join("cyclone_peer.idl");
    run(program("idlc").args(["-l", "c", "-o"]).arg(build).arg(idl))?;
    let mut compile = compiler(&build.join("cyclone_peer"));
    compile.arg("-I").arg(build);
    compile.arg(peers().join("cyclone_peer.c"));
    run(compile.arg(build.join("cyclone_peer.c")).arg("-lddsc"))
}

fn compiler(output: &Path) -> Command {
    let mut compile = program("cc");
    compile.args(["-std=c11", "-O2", "-o"]).arg(output);
    compile
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
