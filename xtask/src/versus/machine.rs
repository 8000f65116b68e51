//! The facts of the machine that a result is worth nothing without.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde::Serialize;

use super::build::Programs;
use crate::ci::workspace;
use mcl_setup::command::program;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Facts {
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    pub(super) rmem_max: String,
    pub(super) rustc: String,
    pub(super) lcm: String,
    pub(super) cyclone: String,
}

pub(super) fn facts(programs: &Programs) -> Facts {
    let package = |there: bool, name: &str| match there {
        true => says(program("dpkg-query").args(["-W", "-f", "${Version}", name])),
        false => "not measured".to_owned(),
    };
    Facts {
        date: says(program("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
        commit: says(
            program("git")
                .current_dir(workspace())
                .args(["describe", "--always", "--dirty"]),
        ),
        processor: processor(&file("/proc/cpuinfo")),
        cores: available_parallelism().map_or(0, usize::from),
        kernel: file("/proc/sys/kernel/osrelease"),
        rmem_max: file("/proc/sys/net/core/rmem_max"),
        rustc: says(program("rustc").arg("--version")),
        lcm: package(programs.lcm.is_some(), "liblcm-dev"),
        cyclone: package(programs.cyclone.is_some(), "cyclonedds-dev"),
    }
}

fn file(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|_| "unknown".into());
    text.trim().to_owned()
}

/// The first line of what a program says.
fn says(command: &mut Command) -> String {
    let output = command.output().ok().filter(|it| it.status.success());
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    text.unwrap_or_else(|| "unknown".into())
}

fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or("unknown", |(_, name)| name.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_by_its_model() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(processor(text), "AMD EPYC");
        assert_eq!(processor(""), "unknown");
    }
}
