//! The processes of a soak, as the one that started them sees them.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;

use mcl_testbed::Namespace;

use super::resources::Resources;
use super::words::Word;
use crate::test::itself;

/// Something that a process said, or that it has ended.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) slot: usize,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Said(Word),
    /// A line that is none of ours.
    Babbled(String),
    /// It says nothing any more.
    Silent,
}

#[derive(Debug)]
pub(super) struct Party {
    child: Child,
    /// What it held before it opened anything.
    pub(super) ready: Option<Resources>,
}

impl Party {
    /// Starts this program again on a host, under a hidden command.
    pub(super) fn start(
        host: &Namespace,
        command: &str,
        task: &str,
        slot: usize,
        events: &SyncSender<Event>,
    ) -> io::Result<Self> {
        let mut program = Command::new(itself()?);
        program
            .args([command, task])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // An interrupt from the keyboard is for the one that started it.
            .process_group(0);
        let mut child = host.spawn(&mut program)?;
        let lines = child.stdout.take();
        let events = events.clone();
        thread::Builder::new().spawn(move || pass_on(lines, slot, &events))?;
        Ok(Self { child, ready: None })
    }

    /// Tells it to end.
    pub(super) fn end(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Stops it, or lets it go on.
    pub(super) fn signal(&self, signal: &str) -> io::Result<()> {
        let kill = format!("kill -{signal} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(kill))
        }
    }

    pub(super) fn resources(&self) -> io::Result<Resources> {
        Resources::of(&self.child.id().to_string())
    }

    /// How it has ended; it has, or will at once.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // Ends it if it has not ended, stopped or not; either way it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pass_on(lines: Option<ChildStdout>, slot: usize, events: &SyncSender<Event>) {
    let lines = lines.into_iter().flat_map(|it| BufReader::new(it).lines());
    for line in lines.map_while(Result::ok) {
        let what = match serde_json::from_str(&line) {
            Ok(word) => What::Said(word),
            Err(_) => What::Babbled(line),
        };
        if events.send(Event { slot, what }).is_err() {
            return;
        }
    }
    // Nobody may listen any more.
    let _ = events.send(Event {
        slot,
        what: What::Silent,
    });
}
