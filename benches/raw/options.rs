//! The command line, which the peers in `benches/peers` share.

use std::fmt::Display;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
usage: raw-reference pub  [--size N] [--seconds S] [--rate R] [--count N] [common]
       raw-reference sub  [--size N] [common]
       raw-reference ping [--size N] [--count N] [common]
       raw-reference pong [--size N] [common]

  --size N        bytes of a message, at least 8 (64)
  --seconds S     pub: how long (2, unless --count is given)
  --rate R        pub: messages a second; 0 is as fast as it goes (0)
  --count N       pub: how many messages; ping: how many rounds (1000)
  --mode M        gso or naive (gso)
  --group ADDR    IPv6 multicast group (ff15::6d63:6c)
  --port P        UDP port (26000); pong echoes on the next one
  --interface I   interface (br0)
  --hops N        hop limit; 0 keeps datagrams on this machine (1)
  --rcvbuf BYTES  receive buffer to ask for (4194304)
  --connect       connect the sending socket, which saves the kernel some work
  --spin          receive by busy polling
  --whole         put messages together: receive the trains of one behind each other
  --json          accepted for the sake of the other programs: it is always JSON";

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Pub,
    Sub,
    Ping,
    Pong,
}

/// How messages become datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Gso,
    Naive,
}

/// The command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) role: Role,
    pub(crate) mode: Mode,
    pub(crate) size: usize,
    pub(crate) seconds: Option<Duration>,
    pub(crate) rate: f64,
    pub(crate) count: Option<u64>,
    pub(crate) group: Ipv6Addr,
    pub(crate) port: u16,
    pub(crate) interface: String,
    pub(crate) hops: u32,
    pub(crate) rcvbuf: usize,
    pub(crate) connect: bool,
    pub(crate) spin: bool,
    pub(crate) whole: bool,
}

impl Options {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            mode: Mode::Gso,
            size: 64,
            seconds: None,
            rate: 0.0,
            count: None,
            group: Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x6d63, 0x6c),
            port: 26000,
            interface: "br0".into(),
            hops: 1,
            rcvbuf: 4 << 20,
            connect: false,
            spin: false,
            whole: false,
        }
    }

    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::new(match arguments.next().as_deref() {
            Some("pub") => Role::Pub,
            Some("sub") => Role::Sub,
            Some("ping") => Role::Ping,
            Some("pong") => Role::Pong,
            other => return Err(format!("no such role: {}", other.unwrap_or("none given"))),
        });
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--connect" => options.connect = true,
                "--spin" => options.spin = true,
                "--whole" => options.whole = true,
                "--json" => {}
                _ => options.set(&name, arguments.next())?,
            }
        }
        options.check()
    }

    fn set(&mut self, name: &str, value: Option<String>) -> Result<(), String> {
        let value = value.ok_or(format!("{name} needs a value"))?;
        match name {
            "--size" => self.size = number(name, &value)?,
            "--seconds" => {
                let seconds = Duration::try_from_secs_f64(number(name, &value)?);
                self.seconds = Some(seconds.map_err(|error| format!("--seconds: {error}"))?);
            }
            "--rate" => self.rate = number(name, &value)?,
            "--count" => self.count = Some(number(name, &value)?),
            "--mode" if value == "gso" => self.mode = Mode::Gso,
            "--mode" if value == "naive" => self.mode = Mode::Naive,
            "--group" => self.group = number(name, &value)?,
            "--port" => self.port = number(name, &value)?,
            "--interface" => self.interface = value,
            "--hops" => self.hops = number(name, &value)?,
            "--rcvbuf" => self.rcvbuf = number(name, &value)?,
            _ => return Err(format!("no such option: {name} {value}")),
        }
        Ok(())
    }

    fn check(self) -> Result<Self, String> {
        if self.size < 8 {
            return Err("--size: a message holds at least its number, 8 bytes".into());
        }
        if !self.group.is_multicast() {
            return Err(format!("--group: {} is no multicast address", self.group));
        }
        if self.port == u16::MAX {
            return Err("--port: pong needs the next one".into());
        }
        if !self.rate.is_finite() || self.rate < 0.0 {
            return Err("--rate: messages a second, or 0".into());
        }
        Ok(self)
    }
}

fn number<T: FromStr<Err: Display>>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|error| format!("{name} {value}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn a_command_line_is_read() {
        let options = parse("pub --size 1024 --seconds 0.5 --mode naive --spin --json").unwrap();
        assert!(parse("sub --whole").unwrap().whole && !options.whole);
        assert_eq!((options.role, options.mode), (Role::Pub, Mode::Naive));
        assert_eq!(options.seconds, Some(Duration::from_millis(500)));
        assert!(options.spin && options.size == 1024 && options.rcvbuf == 4_194_304);
    }

    #[test]
    fn a_wrong_one_is_refused_by_name() {
        for (line, named) in [
            ("", "role"),
            ("push", "role"),
            ("sub --size 7", "--size"),
            ("sub --mode udp", "--mode"),
            ("pub --seconds -1", "--seconds"),
            ("pub --rate inf", "--rate"),
            ("sub --group ::1", "--group"),
            ("sub --port 65535", "--port"),
            ("sub --size", "--size"),
        ] {
            let wrong = parse(line).expect_err(line);
            assert!(wrong.contains(named), "{line}: {wrong}");
        }
    }
}
