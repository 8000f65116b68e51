//! Running one pair of processes, and reading what they measured.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use mcl_testbed::Namespace;
use serde::Deserialize;

use super::build::Programs;
use super::contender::{Contender, INTERFACE, Job, Role};
use super::results::Outcome;

/// The longest that a process may take to be ready, and to end when it should.
const PATIENCE: Duration = Duration::from_secs(12);

/// From the end of the publisher until the subscriber is asked to end: what is in
/// buffers by then takes less.
const SETTLE: Duration = Duration::from_millis(200);

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Two namespaces joined by a cable: most of the time both processes are in the
/// first one.
pub(super) struct Bench {
    pub(super) programs: Programs,
    here: Namespace,
    there: Namespace,
}

/// What the programs print, as far as it is looked at.
#[derive(Clone, Debug, Deserialize)]
struct Printed {
    msgs: u64,
    bad: u64,
    msgs_per_s: f64,
    mb_per_s: f64,
    cpu_ns_per_msg: f64,
    rcvbuf: Option<u64>,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
}

impl Bench {
    pub(super) fn open(programs: Programs) -> Result<Self, Box<dyn Error>> {
        let (here, there) = (Namespace::new()?, Namespace::new()?);
        Namespace::veth(&here, INTERFACE, &there, INTERFACE)?;
        // LCM and Cyclone DDS speak IPv4.
        for (namespace, address) in [(&here, "10.77.0.1/24"), (&there, "10.77.0.2/24")] {
            namespace.ip(&["address", "add", address, "dev", INTERFACE])?;
            namespace.ip(&["route", "add", "224.0.0.0/4", "dev", INTERFACE])?;
        }
        Ok(Self {
            programs,
            here,
            there,
        })
    }

    /// Switches the cable's segmentation offload.
    ///
    /// # Errors
    /// ethtool is missing, or the device has no such switch.
    pub(super) fn offload(&self, on: bool) -> io::Result<()> {
        let state = if on { "on" } else { "off" };
        let features = ["tso", "gso", "tx-udp-segmentation"];
        let words = features.iter().flat_map(|feature| [*feature, state]);
        let arguments: Vec<&str> = ["-K", INTERFACE].into_iter().chain(words).collect();
        let program = if self.here.command("ethtool", &["--version"]).is_ok() {
            "ethtool"
        } else {
            "/usr/sbin/ethtool"
        };
        self.here.command(program, &arguments).map(drop)
    }

    /// Publishes as the job says; what was delivered.
    pub(super) fn blast(&self, contender: &Contender, job: &Job) -> Result<Outcome, String> {
        let receiver = self.start(contender, Role::Sub, job)?.ready()?;
        let mut sender = self.start(contender, Role::Pub, job)?;
        let sent = sender.result(Duration::from_secs_f64(job.seconds) + PATIENCE)?;
        thread::sleep(SETTLE);
        let got = receiver.stop()?;
        Ok(Outcome {
            sent: sent.msgs,
            received: got.msgs,
            lost: sent.msgs.saturating_sub(got.msgs),
            bad: got.bad,
            rate: got.msgs_per_s,
            sent_rate: sent.msgs_per_s,
            mb_per_s: got.mb_per_s,
            send_cpu_ns: sent.cpu_ns_per_msg,
            receive_cpu_ns: got.cpu_ns_per_msg,
            rcvbuf: got.rcvbuf,
            p50_us: None,
            p99_us: None,
        })
    }

    /// Sends pings; the time of their echoes.
    pub(super) fn round_trip(&self, contender: &Contender, job: &Job) -> Result<Outcome, String> {
        let pong = self.start(contender, Role::Pong, job)?.ready()?;
        let mut ping = self.start(contender, Role::Ping, job)?;
        let got = ping.result(PATIENCE)?;
        pong.stop()?;
        if got.p50_us.is_none() {
            return Err(format!("{}: no round trip", contender.name));
        }
        Ok(Outcome {
            sent: job.rounds,
            received: got.msgs,
            lost: job.rounds.saturating_sub(got.msgs),
            bad: got.bad,
            rate: got.msgs_per_s,
            sent_rate: got.msgs_per_s,
            mb_per_s: got.mb_per_s,
            send_cpu_ns: got.cpu_ns_per_msg,
            receive_cpu_ns: 0.0,
            rcvbuf: got.rcvbuf,
            p50_us: got.p50_us,
            p99_us: got.p99_us,
        })
    }

    fn start(&self, contender: &Contender, role: Role, job: &Job) -> Result<Party, String> {
        let mut command = contender.command(&self.programs, role, job);
        let receives = matches!(role, Role::Sub | Role::Pong);
        let namespace = match job.across && receives {
            true => &self.there,
            false => &self.here,
        };
        Party::start(contender.name, namespace, &mut command)
    }
}

/// A process of a contender; ended when dropped.
struct Party {
    name: &'static str,
    child: Child,
    errors: Receiver<String>,
}

impl Party {
    fn start(
        name: &'static str,
        namespace: &Namespace,
        command: &mut Command,
    ) -> Result<Self, String> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = namespace
            .spawn(command)
            .map_err(|error| format!("{name}: {error}"))?;
        let (sender, errors) = mpsc::channel();
        if let Some(from) = child.stderr.take() {
            // By a thread of its own, so that waiting for a line can have a bound.
            thread::spawn(move || {
                let lines = BufReader::new(from).lines().map_while(Result::ok);
                lines
                    .map(|line| sender.send(line))
                    .take_while(Result::is_ok)
                    .for_each(drop);
            });
        }
        Ok(Self {
            name,
            child,
            errors,
        })
    }

    /// Waits until it has subscribed.
    fn ready(self) -> Result<Self, String> {
        loop {
            match self.errors.recv_timeout(PATIENCE) {
                Ok(line) if line == "ready" => return Ok(self),
                Ok(line) if line.contains("warning") => {}
                Ok(line) => return Err(format!("{}: {line}", self.name)),
                Err(_) => return Err(format!("{}: not ready in time", self.name)),
            }
        }
    }

    /// Asks it to end.
    fn stop(mut self) -> Result<Printed, String> {
        // The shell's own `kill`: the program is not on every machine. An error
        // means that it has ended by itself.
        let kill = format!("kill -TERM {} 2>/dev/null", self.child.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
        self.result(PATIENCE)
    }

    /// Waits for its end and reads its JSON.
    fn result(&mut self, patience: Duration) -> Result<Printed, String> {
        let status = self.wait(patience)?;
        let mut text = String::new();
        if let Some(mut out) = self.child.stdout.take() {
            out.read_to_string(&mut text)
                .map_err(|error| format!("{}: {error}", self.name))?;
        }
        if !status.success() {
            let said: Vec<String> = self.errors.iter().filter(|it| it != "ready").collect();
            return Err(format!("{}: {status}: {}", self.name, said.join("; ")));
        }
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}: {text}", self.name))
    }

    fn wait(&mut self, patience: Duration) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(LOOK_EVERY),
                Ok(None) => return Err(format!("{}: it does not end", self.name)),
                Err(error) => return Err(format!("{}: {error}", self.name)),
            }
        }
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // Ends the child if it has not ended; either way it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
