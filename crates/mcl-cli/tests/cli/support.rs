//! Processes in namespaces.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mcl_testbed::Namespace;
use serde_json::Value;

/// The longest that a process may take to end when it should.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const GROUP: &str = "ff15::6d63:6c";

pub(crate) fn network() -> Namespace {
    let namespace = Namespace::new().unwrap();
    namespace.bridge("br0").unwrap();
    namespace
}

pub(crate) fn mcl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcl"));
    command.args(arguments).env_remove("MCL_INTERFACE");
    command.stdin(Stdio::null());
    command
}

/// What a process did until its end.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: Vec<u8>,
    pub(crate) errors: String,
}

impl Ended {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// One object a line on standard output, of a process that succeeded.
    pub(crate) fn objects(&self) -> Vec<Value> {
        assert!(self.status.success(), "{self:?}");
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The summary, the last line of standard error.
    pub(crate) fn summary(&self) -> Value {
        let last = self.errors.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// A process that is ended if the test ends first.
pub(crate) struct Running {
    child: Child,
    errors: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(namespace: &Namespace, arguments: &[&str]) -> Self {
        Self::spawn(namespace, &mut mcl(arguments))
    }

    /// With an input that is open until it is closed.
    pub(crate) fn with_input(namespace: &Namespace, arguments: &[&str]) -> Self {
        Self::spawn(namespace, mcl(arguments).stdin(Stdio::piped()))
    }

    pub(crate) fn spawn(namespace: &Namespace, command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = namespace.spawn(command).unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        Self { child, errors }
    }

    /// Waits until it says that it is ready, on the next line of standard error.
    pub(crate) fn until(mut self, sign: &str) -> Self {
        let mut line = String::new();
        self.errors.read_line(&mut line).unwrap();
        assert!(line.starts_with(sign), "{line}");
        self
    }

    /// Waits until it listens.
    pub(crate) fn listening(self) -> Self {
        self.until("mcl: listening to ")
    }

    pub(crate) fn write(&mut self, input: &[u8]) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(input).unwrap();
    }

    pub(crate) fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Reads a line of its output and then closes it.
    pub(crate) fn head(&mut self) -> String {
        let mut line = String::new();
        let mut out = BufReader::new(self.child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn close_output(&mut self) {
        drop(self.child.stdout.take());
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let (mut out, mut errors) = (Vec::new(), String::new());
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_end(&mut out).unwrap();
        }
        self.errors.read_to_string(&mut errors).unwrap();
        Ended {
            status,
            out,
            errors,
        }
    }

    /// Waits for a success and reads the one JSON object.
    pub(crate) fn json(self) -> Value {
        let mut objects = self.ended().objects();
        assert_eq!(objects.len(), 1, "{objects:?}");
        objects.remove(0)
    }

    pub(crate) fn send(&self, signal: &str) {
        // The shell's own: the program is not on every machine.
        let kill = format!("kill {signal} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it to its end, which must be a success.
pub(crate) fn run(namespace: &Namespace, arguments: &[&str]) -> Ended {
    let ended = Running::start(namespace, arguments).ended();
    assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    ended
}

pub(crate) fn number(of: &Value, name: &str) -> f64 {
    of[name].as_f64().unwrap_or_else(|| panic!("{name}: {of}"))
}
