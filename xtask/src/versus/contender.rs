//! Who is measured, and the command line of each.

use std::process::Command;

use super::build::Programs;
use mcl_setup::command::program;

/// The interface, in both namespaces.
pub(super) const INTERFACE: &str = "v0";

const GROUP: &str = "ff15::6d63:6c";

/// What the receivers ask for, unless a measurement is about that.
const RECEIVE_BUFFER: &str = "4194304";

/// One side of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Pub,
    Sub,
    Ping,
    Pong,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Pub => "pub",
            Self::Sub => "sub",
            Self::Ping => "ping",
            Self::Pong => "pong",
        }
    }

    fn sends(self) -> bool {
        matches!(self, Self::Pub | Self::Ping)
    }
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) size: usize,
    /// Time to publish for.
    pub(super) seconds: f64,
    /// Messages a second; 0 as fast as it goes.
    pub(super) rate: f64,
    /// Rounds of a ping.
    pub(super) rounds: u64,
    /// Whether the subscriber is in the second namespace, behind the cable.
    pub(super) across: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mcl,
    Raw,
    Lcm,
    Cyclone,
}

/// A program in one of its configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    kind: Kind,
    options: &'static [&'static str],
}

const fn contender(name: &'static str, kind: Kind, options: &'static [&'static str]) -> Contender {
    Contender {
        name,
        kind,
        options,
    }
}

pub(super) const GSO: Contender = contender("raw gso", Kind::Raw, &["--mode", "gso"]);
pub(super) const NAIVE: Contender = contender("raw naive", Kind::Raw, &["--mode", "naive"]);
pub(super) const GSO_SPIN: Contender =
    contender("raw gso spinning", Kind::Raw, &["--mode", "gso", "--spin"]);
/// Puts messages together, which the others of bare sockets do not.
pub(super) const GSO_WHOLE: Contender =
    contender("raw gso whole", Kind::Raw, &["--mode", "gso", "--whole"]);
pub(super) const LCM: Contender = contender("lcm", Kind::Lcm, &[]);
pub(super) const CYCLONE: Contender = contender("cyclone", Kind::Cyclone, &[]);

pub(super) const INLINE: Contender = contender(
    "mcl inline",
    Kind::Mcl,
    &["--no-pacing", "--no-crc", "--inline"],
);
pub(super) const QUEUE: Contender = contender("mcl queue", Kind::Mcl, &["--no-pacing", "--no-crc"]);
pub(super) const PULL: Contender = contender(
    "mcl pull",
    Kind::Mcl,
    &["--no-pacing", "--no-crc", "--pull"],
);
pub(super) const COALESCED_INLINE: Contender = contender(
    "mcl coalesced inline",
    Kind::Mcl,
    &["--no-pacing", "--no-crc", "--inline", "--coalesce"],
);
/// Its messages carry what those of bare sockets do: no checksum and no publish time.
pub(super) const COALESCED_UNTIMED: Contender = contender(
    "mcl coalesced inline, no times",
    Kind::Mcl,
    &[
        "--no-pacing",
        "--no-crc",
        "--inline",
        "--coalesce",
        "--no-time",
    ],
);
/// As many messages at hand as fill a train or two, and given with one call, as bare sockets do with 64.
pub(super) const BATCHES_INLINE: Contender = contender(
    "mcl batches inline",
    Kind::Mcl,
    &["--no-pacing", "--no-crc", "--inline", "--batch", "1024"],
);
/// Ten times sooner than [`COALESCED_INLINE`].
pub(super) const COALESCED_SOON: Contender = contender(
    "mcl coalesced inline, 100 us",
    Kind::Mcl,
    &["--no-pacing", "--no-crc", "--inline", "--coalesce", "100"],
);
/// Nothing waits for company: only what threads bring while a train is sent shares one.
pub(super) const COALESCED_AT_ONCE: Contender = contender(
    "mcl coalesced inline, no delay",
    Kind::Mcl,
    &["--no-pacing", "--no-crc", "--inline", "--coalesce", "0"],
);
pub(super) const COALESCED_AT_ONCE_SPIN: Contender = contender(
    "mcl coalesced inline, no delay, spinning",
    Kind::Mcl,
    &[
        "--no-pacing",
        "--no-crc",
        "--inline",
        "--spin",
        "--coalesce",
        "0",
    ],
);
pub(super) const COALESCED_QUEUE: Contender = contender(
    "mcl coalesced queue",
    Kind::Mcl,
    &["--no-pacing", "--no-crc", "--coalesce"],
);
pub(super) const INLINE_SPIN: Contender = contender(
    "mcl inline spinning",
    Kind::Mcl,
    &["--no-pacing", "--no-crc", "--inline", "--spin"],
);
pub(super) const PULL_SPIN: Contender = contender(
    "mcl pull spinning",
    Kind::Mcl,
    &["--no-pacing", "--no-crc", "--pull", "--spin"],
);
pub(super) const ORDINARY_BUFFER: Contender = contender(
    "mcl, default pacing, 212,992 B",
    Kind::Mcl,
    &["--inline", "--rcvbuf", "212992"],
);
pub(super) const LARGE_BUFFER: Contender =
    contender("mcl, default pacing, 4 MiB", Kind::Mcl, &["--inline"]);
pub(super) const LARGE_BUFFER_PACED: Contender = contender(
    "mcl, paced for 4 MiB, 4 MiB",
    Kind::Mcl,
    &["--inline", "--pace-for", "4194304"],
);

impl Contender {
    /// Whether its program was built.
    pub(super) fn is_there(&self, programs: &Programs) -> bool {
        match self.kind {
            Kind::Mcl | Kind::Raw => true,
            Kind::Lcm => programs.lcm.is_some(),
            Kind::Cyclone => programs.cyclone.is_some(),
        }
    }

    /// Its command in a role, pinned to a core: senders and receivers apart.
    pub(super) fn command(&self, programs: &Programs, role: Role, job: &Job) -> Command {
        let mut command = program("taskset");
        command.args(["-c", if role.sends() { "0" } else { "1" }]);
        self.add_program(&mut command, programs, role);
        command.args(["--json", "--size", &job.size.to_string()]);
        match role {
            Role::Pub => {
                command.args(["--seconds", &job.seconds.to_string()]);
                command.args(["--rate", &job.rate.to_string()]);
            }
            Role::Ping => {
                command.args(["--count", &job.rounds.to_string()]);
            }
            Role::Sub | Role::Pong => {}
        }
        if !self.options.contains(&"--rcvbuf") {
            command.args(["--rcvbuf", RECEIVE_BUFFER]);
        }
        command.args(self.options);
        command
    }

    fn add_program(&self, command: &mut Command, programs: &Programs, role: Role) {
        match self.kind {
            Kind::Mcl => {
                let group = ["perf", role.name(), GROUP, "--interface", INTERFACE];
                command.arg(&programs.mcl).args(group);
            }
            Kind::Raw => {
                let group = [role.name(), "--group", GROUP, "--interface", INTERFACE];
                command.arg(&programs.raw).args(group);
            }
            Kind::Lcm => {
                command.args(programs.lcm.iter()).arg(role.name());
            }
            Kind::Cyclone => {
                command.env("CYCLONEDDS_URI", cyclone_settings());
                command.args(programs.cyclone.iter()).arg(role.name());
            }
        }
    }
}

/// Huge datagrams, which IP fragments: the better of two settings for all but the
/// smallest messages. Multicast is asked for: with a single reader Cyclone DDS would
/// send unicast, which on one machine goes over `lo` and its MTU of 65,536.
fn cyclone_settings() -> String {
    format!(
        "<CycloneDDS><Domain><General><Interfaces>\
         <NetworkInterface name=\"{INTERFACE}\" multicast=\"true\" prefer_multicast=\"true\"/></Interfaces>\
         <AllowMulticast>true</AllowMulticast>\
         <MaxMessageSize>65500B</MaxMessageSize><FragmentSize>65000B</FragmentSize></General>\
         <Internal><SocketReceiveBufferSize min=\"4MiB\"/></Internal></Domain></CycloneDDS>"
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn line(contender: &Contender, role: Role) -> String {
        let programs = Programs {
            mcl: PathBuf::from("mcl"),
            raw: PathBuf::from("raw"),
            lcm: Some(PathBuf::from("lcm")),
            cyclone: None,
        };
        let job = Job {
            size: 64,
            seconds: 0.5,
            rate: 10.0,
            rounds: 7,
            across: false,
        };
        let command = contender.command(&programs, role, &job);
        let words: Vec<_> = command.get_args().map(|it| it.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn coalescing_is_the_only_difference_between_those_compared_for_it() {
        let without = line(&INLINE, Role::Ping);
        assert_eq!(
            line(&COALESCED_AT_ONCE, Role::Ping),
            format!("{without} --coalesce 0")
        );
        assert_eq!(
            line(&COALESCED_AT_ONCE_SPIN, Role::Ping),
            format!("{} --coalesce 0", line(&INLINE_SPIN, Role::Ping))
        );
        assert_eq!(
            line(&COALESCED_INLINE, Role::Pong),
            format!("{} --coalesce", line(&INLINE, Role::Pong))
        );
        assert_eq!(
            line(&COALESCED_UNTIMED, Role::Pub),
            format!("{} --no-time", line(&COALESCED_INLINE, Role::Pub))
        );
        assert_eq!(
            line(&COALESCED_SOON, Role::Ping),
            format!("{without} --coalesce 100")
        );
    }

    #[test]
    fn each_contender_has_the_command_line_it_reads() {
        assert_eq!(
            line(&COALESCED_QUEUE, Role::Pub),
            "-c 0 mcl perf pub ff15::6d63:6c --interface v0 --json --size 64 --seconds 0.5 \
             --rate 10 --rcvbuf 4194304 --no-pacing --no-crc --coalesce"
        );
        assert_eq!(
            line(&GSO_SPIN, Role::Pong),
            "-c 1 raw pong --group ff15::6d63:6c --interface v0 --json --size 64 \
             --rcvbuf 4194304 --mode gso --spin"
        );
        assert_eq!(
            line(&LCM, Role::Ping),
            "-c 0 lcm ping --json --size 64 --count 7 --rcvbuf 4194304"
        );
        assert_eq!(
            line(&ORDINARY_BUFFER, Role::Sub).matches("rcvbuf").count(),
            1
        );
    }
}
