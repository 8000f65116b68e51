//! Child processes of a test: its own binary, started again with a role.
//!
//! Parent and child talk in lines, over the child's standard input and output.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{self, Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::Namespace;

/// The environment variable that tells a child process what it is for.
const ROLE: &str = "MCL_TEST_ROLE";

/// What lines meant for the parent begin with; the test harness prints as well.
const MARK: &str = "mcl-test> ";

/// What this process is for, if a [`Peer`] started it.
#[must_use]
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Tells the parent a line.
///
/// # Panics
/// If the parent is gone.
pub fn tell(line: impl AsRef<str>) {
    let mut out = io::stdout();
    let told = writeln!(out, "{MARK}{}", line.as_ref()).and_then(|()| out.flush());
    told.expect("the parent process listens");
}

/// What the parent says next.
///
/// # Panics
/// If the parent is gone.
#[must_use]
pub fn ask() -> String {
    let mut line = String::new();
    let len = io::stdin().read_line(&mut line);
    let len = len.expect("standard input can be read");
    assert!(len > 0, "the parent process is gone");
    line.trim_end().to_owned()
}

/// A child process, as its parent sees it. Killed when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts this test binary again inside `network`, where it runs the test
    /// `entry` with these environment variables; [`role`] tells that test what it
    /// is to do.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        network: &Namespace,
        entry: &str,
        role: &str,
        variables: &[(&str, &str)],
    ) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command
            .args([entry, "--exact", "--include-ignored"])
            .args(["--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = network.spawn(&mut command)?;
        let gone = || io::Error::other("a child process without pipes");
        let input = child.stdin.take().ok_or_else(gone)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(gone)?);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    /// The process's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Says a line to the child.
    ///
    /// # Panics
    /// If the child is gone.
    pub fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the child process listens");
    }

    /// The next line that the child tells.
    ///
    /// # Panics
    /// If the child ends instead.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let len = self.output.read_line(&mut line);
            let len = len.expect("the child's output can be read");
            assert!(len > 0, "the child process ended early");
            if let Some((_, told)) = line.split_once(MARK) {
                return told.trim_end().to_owned();
            }
        }
    }

    /// Waits for the child to say this.
    ///
    /// # Panics
    /// If it says anything else.
    #[track_caller]
    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.hear(), line);
    }

    /// Kills the child on the spot (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// As [`Child::kill`] and [`Child::wait`].
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Waits for the child to end well.
    ///
    /// # Panics
    /// If it fails: then the panic shows what it still said.
    #[track_caller]
    pub fn finish(mut self) {
        let mut rest = String::new();
        let read = self.output.read_to_string(&mut rest);
        read.expect("the child's output can be read");
        let status = self.child.wait().expect("the child can be waited for");
        assert!(status.success(), "{status}: {rest}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Aborts the process unless dropped in time: a deadlock must fail, not hang.
#[derive(Debug)]
pub struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    /// Starts to wait for `bound`.
    #[must_use]
    pub fn start(bound: Duration) -> Self {
        let (alive, gone) = mpsc::channel();
        let name = thread::current().name().map(str::to_owned);
        thread::spawn(move || {
            if gone.recv_timeout(bound) == Err(RecvTimeoutError::Timeout) {
                // Nothing is left to be done if standard error is closed too.
                let _ = writeln!(io::stderr(), "{name:?} hangs");
                process::abort();
            }
        });
        Self { _alive: alive }
    }
}
