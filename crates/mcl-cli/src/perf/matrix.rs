//! `mcl perf run`: a table of sizes, each measured by child processes.

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::available_parallelism;

use clap::Args;
use mcl_udp::Connection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::failure::Failure;
use crate::output;
use crate::signals::Stop;

#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    /// Group, port and interface; the next port is used for echoes
    #[arg(value_name = "CONN")]
    connection: Connection,
    /// Sizes in bytes
    #[arg(long, value_name = "BYTES,..", value_delimiter = ',',
          default_values_t = [64, 1024, 65_536, 1_048_576, 8_388_608])]
    sizes: Vec<usize>,
    /// Time to publish each size for; half of it goes to round trips
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
    /// Print one JSON object for each size
    #[arg(long)]
    json: bool,
    /// Options for the measuring processes, as `mcl perf pub --help` lists them
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

/// Seconds that a measuring process waits for the other one: starting it takes long
/// where there is much else to do.
const PATIENCE: &str = "10";

/// However long they take: where there is much else to do, or messages are very long, the
/// time may be over after the first.
const ROUND_TRIPS: &str = "20";

const HEAD: &str =
    "   size B    msgs/s     MB/s     lost  ns/msg pub  ns/msg sub   p50 us   p99 us";

impl Run {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let stop = Stop::on_signals()?;
        let pinning = Pinning::find();
        if !self.json {
            output::line(pinning.describe())?;
            output::line(HEAD)?;
        }
        for &size in &self.sizes {
            if stop.is_set() {
                break;
            }
            let [sub, publisher] = self.pair(&pinning, ["sub", "pub"], size, self.seconds)?;
            let [_, ping] = self.pair(&pinning, ["pong", "ping"], size, self.seconds / 2.0)?;
            self.show(size, [&sub, &publisher, &ping])?;
        }
        Ok(())
    }

    /// Runs the receiving side and then the sending side; both results.
    fn pair(
        &self,
        pinning: &Pinning,
        roles: [&str; 2],
        size: usize,
        seconds: f64,
    ) -> Result<[Value; 2], Failure> {
        let (size, seconds) = (size.to_string(), seconds.to_string());
        let common = |role: &str, core| {
            let mut command = pinning.command(core)?;
            command.args(["perf", role, &self.connection.to_string(), "--json"]);
            command.args(["--size", &size]).args(&self.options);
            Ok::<_, Failure>(command)
        };
        let mut receiver = common(roles[0], 0)?;
        receiver.args(["--idle", PATIENCE]);
        let receiver = Party::start(receiver)?.ready()?;
        let mut sender = common(roles[1], 1)?;
        sender.args(["--seconds", &seconds]);
        if roles[1] == "ping" {
            sender.args(["--at-least", ROUND_TRIPS, "--idle", PATIENCE]);
        }
        let sent = Party::start(sender)?.result()?;
        if roles[0] == "pong" {
            // It cannot know when the last ping has come.
            receiver.terminate()?;
        }
        Ok([receiver.result()?, sent])
    }

    fn show(&self, size: usize, [sub, publisher, ping]: [&Value; 3]) -> Result<(), Failure> {
        if self.json {
            let all =
                serde_json::json!({ "size": size, "sub": sub, "pub": publisher, "ping": ping });
            return Ok(output::json(&all)?);
        }
        let number = |of: &Value, name: &str| of[name].as_f64().unwrap_or(f64::NAN);
        let lost = number(publisher, "msgs") - number(sub, "msgs");
        Ok(output::line(format!(
            "{size:>9} {:>9.0} {:>8.1} {lost:>8.0} {:>11.0} {:>11.0} {:>8.1} {:>8.1}",
            number(sub, "msgs_per_s"),
            number(sub, "mb_per_s"),
            number(publisher, "cpu_ns_per_msg"),
            number(sub, "cpu_ns_per_msg"),
            number(ping, "p50_us"),
            number(ping, "p99_us"),
        ))?)
    }
}

/// Whether the two processes can be kept on cores of their own.
struct Pinning {
    possible: bool,
}

impl Pinning {
    fn find() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let probe = Command::new("taskset").arg("--version").output();
        let possible = cores > 1 && probe.is_ok_and(|output| output.status.success());
        Self { possible }
    }

    fn describe(&self) -> &'static str {
        match self.possible {
            true => "Publisher and subscriber are two processes, each on a core of its own.",
            false => {
                "Publisher and subscriber are two processes, not pinned (no `taskset`, or one core)."
            }
        }
    }

    /// This program again, on the given core.
    fn command(&self, core: usize) -> io::Result<Command> {
        let own = env::current_exe()?;
        if !self.possible {
            return Ok(Command::new(own));
        }
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(own);
        Ok(command)
    }
}

/// A child process; ended when dropped.
struct Party {
    child: Child,
    errors: BufReader<ChildStderr>,
}

impl Party {
    fn start(mut command: Command) -> Result<Self, Failure> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let errors = child.stderr.take().map(BufReader::new);
        let errors = errors.ok_or_else(|| Failure::Child("a child has no output".into()))?;
        Ok(Self { child, errors })
    }

    /// Waits until it has subscribed.
    fn ready(mut self) -> Result<Self, Failure> {
        let mut line = String::new();
        self.errors.read_line(&mut line)?;
        match line.trim_end() {
            "ready" => Ok(self),
            _ => Err(self.complaint(line)),
        }
    }

    /// Tells it to end, with its result.
    fn terminate(&self) -> io::Result<()> {
        let id = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(id), Signal::SIGTERM)?)
    }

    /// Waits for its end and reads its JSON.
    fn result(mut self) -> Result<Value, Failure> {
        let mut text = String::new();
        if let Some(mut out) = self.child.stdout.take() {
            out.read_to_string(&mut text)?;
        }
        match serde_json::from_str(&text) {
            Ok(value) => Ok(value),
            Err(_) => Err(self.complaint(String::new())),
        }
    }

    fn complaint(&mut self, mut said: String) -> Failure {
        match self.errors.read_to_string(&mut said) {
            Ok(_) => Failure::Child(said.trim().trim_start_matches("mcl: ").to_owned()),
            Err(error) => error.into(),
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
