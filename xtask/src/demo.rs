//! `cargo xtask demo`: one publisher and two listeners, each a process of its own,
//! exchange a text, a typed struct and an 8 MiB message.
//!
//! The parent starts the three (each is this program again, under a hidden
//! command), reads one line of words from them for each thing that happens, and
//! tells the story.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use mcl_udp::{
    Broadcaster, Connection, Interface, InterfaceChoice, Listener, Message, RawBroadcaster,
    RawListener, RecvTimeoutError as NoMessage,
};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::test::{exit_code, itself, prepare, way_inside};
use mcl_setup::command::{Mode, Shell};

/// The hidden commands of the child processes, and of the parent in a namespace.
pub(crate) const LISTENER: &str = "demo-listener";
pub(crate) const PUBLISHER: &str = "demo-publisher";
pub(crate) const INSIDE: &str = "demo-inside";

/// Bytes of the large message.
const IMAGE: usize = 8 << 20;

/// The longest that any step may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A typed message.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Pose {
    x: f64,
    y: f64,
    heading: f32,
    sensors: Vec<u16>,
}

impl Pose {
    fn sample() -> Self {
        Self {
            x: 47.376,
            y: 8.541,
            heading: 1.57,
            sensors: vec![3, 1, 4, 1, 5],
        }
    }
}

/// Every byte depends on where it is, so that nothing can be mixed up unseen.
fn image() -> Vec<u8> {
    let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 13) as u8;
    (0..IMAGE).map(byte).collect()
}

pub(crate) fn main(_arguments: &[String]) -> Outcome {
    let connection = private_group()?;
    let choice = InterfaceChoice::System;
    match mcl_net::choose(&choice, &connection.group()) {
        Ok(interface) => show(&connection, &interface),
        Err(error) => in_namespace(&error),
    }
}

/// Where no interface of the machine is usable, a namespace has one.
fn in_namespace(error: &dyn Error) -> Outcome {
    let mut out = io::stdout();
    writeln!(
        out,
        "No interface of this machine carries IPv6 multicast yet:\n{error}\n"
    )?;
    match way_inside() {
        Ok(mut way) => {
            writeln!(
                out,
                "The demo makes an interface in a private network namespace instead."
            )?;
            let status = way.arg(itself()?).arg(INSIDE).status()?;
            writeln!(
                out,
                "\nTo make this machine itself ready: cargo xtask netsetup"
            )?;
            Ok(exit_code(status))
        }
        Err(why) => {
            writeln!(
                out,
                "Nor does the system allow a private network namespace: {why}"
            )?;
            writeln!(
                out,
                "This makes the machine ready, then try again: cargo xtask netsetup"
            )?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The parent in the namespace that it made.
pub(crate) fn inside() -> Outcome {
    prepare(&mut Shell::new(&mut io::stdout(), Mode::Run))?;
    writeln!(io::stdout())?;
    let connection = private_group()?;
    let interface = mcl_net::choose(&InterfaceChoice::System, &connection.group())?;
    show(&connection, &interface)
}

/// An interface-local group of this run alone.
fn private_group() -> Result<Connection, Box<dyn Error>> {
    let id = std::process::id();
    Ok(Connection::new(&format!(
        "ff11::6d63:6c:{:x}:{:x}",
        id >> 16,
        id & 0xffff
    ))?)
}

fn show(connection: &Connection, interface: &Interface) -> Outcome {
    let mut out = io::stdout();
    writeln!(
        out,
        "One publisher and two listeners, three processes, over IPv6 multicast."
    )?;
    writeln!(
        out,
        "  group      {connection} (interface-local: nothing leaves this machine)"
    )?;
    writeln!(out, "  interface  {interface}, MTU {}\n", interface.mtu())?;

    let named = InterfaceChoice::Index(interface.index());
    let connection = connection.clone().with_interface(named).to_string();
    let mut listeners = Vec::new();
    for name in ["listener 1", "listener 2"] {
        let mut listener = Party::start(name, LISTENER, &connection)?;
        listener.expect("ready")?;
        listeners.push(listener);
    }
    let mut publisher = Party::start("publisher", PUBLISHER, &connection)?;
    publisher.tell(&mut out, "done")?;
    let mut ok = true;
    for listener in &mut listeners {
        writeln!(out)?;
        ok &= listener.tell(&mut out, "done")? == ["whole"];
    }
    let verdict = match ok {
        true => "Everything arrived at both listeners; nothing was lost.",
        false => "Not everything arrived; the lines above say what was lost, and why.",
    };
    writeln!(out, "\n{verdict}")?;
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A child process that says what happens, a line each.
struct Party {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Party {
    fn start(name: &'static str, command: &str, connection: &str) -> io::Result<Self> {
        let mut child = Command::new(itself()?)
            .args([command, connection])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = read_lines(child.stdout.take());
        Ok(Self { name, child, lines })
    }

    fn next(&self) -> Result<String, Box<dyn Error>> {
        self.lines
            .recv_timeout(PATIENCE)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => format!("{} says nothing any more", self.name).into(),
                RecvTimeoutError::Disconnected => format!("{} ended early", self.name).into(),
            })
    }

    fn expect(&mut self, word: &str) -> Result<(), Box<dyn Error>> {
        let line = self.next()?;
        if line == word {
            Ok(())
        } else {
            Err(format!("{} said {line:?}", self.name).into())
        }
    }

    /// Passes its lines on until one begins with `last`; returns the rest of that.
    fn tell(&mut self, out: &mut dyn Write, last: &str) -> Result<Vec<String>, Box<dyn Error>> {
        loop {
            let line = self.next()?;
            if let Some(rest) = line.strip_prefix(last) {
                return Ok(rest.split_whitespace().map(str::to_owned).collect());
            }
            writeln!(out, "{:<11}{line}", self.name)?;
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

/// Lines by a thread of their own, so that waiting for one can have a bound.
fn read_lines(from: Option<ChildStdout>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(from) = from {
        thread::spawn(move || {
            let lines = BufReader::new(from).lines().map_while(Result::ok);
            lines
                .map(|line| sender.send(line))
                .take_while(Result::is_ok)
                .for_each(drop);
        });
    }
    receiver
}

/// The publisher's process.
pub(crate) fn publisher(arguments: &[String]) -> Outcome {
    let connection = connection_of(arguments)?;
    let text = Broadcaster::<str>::builder(&connection)
        .topic("text")
        .open()?;
    let pose = Broadcaster::<Pose>::builder(&connection)
        .topic("pose")
        .open()?;
    let camera = RawBroadcaster::builder(&connection).topic("image").open()?;
    let image = image();

    text.publish("hello world")?;
    say("published \"hello world\" on topic text")?;
    pose.publish(&Pose::sample())?;
    say("published a struct on topic pose")?;
    let begun = Instant::now();
    camera.publish(&image)?;
    let took = begun.elapsed();
    let statistics = camera.statistics();
    say(format!(
        "published {} MiB on topic image: {} datagrams in {}, {:.0} MB/s as paced, {}",
        IMAGE >> 20,
        statistics.datagrams,
        millis(took),
        IMAGE as f64 / took.as_secs_f64() / 1e6,
        match camera.offload() {
            Some(true) => "in trains",
            _ => "one by one: no segmentation offload",
        }
    ))?;
    say("done")?;
    Ok(ExitCode::SUCCESS)
}

/// A listener's process.
pub(crate) fn listener(arguments: &[String]) -> Outcome {
    let connection = connection_of(arguments)?;
    let texts = Listener::<String>::builder(&connection)
        .topic("text")
        .open()?;
    let poses = Listener::<Pose>::builder(&connection)
        .topic("pose")
        .open()?;
    let images = RawListener::builder(&connection).topic("image").open()?;
    let (text, pose, large) = (texts.queue(), poses.queue(), images.queue());
    say("ready")?;

    let mut whole = true;
    whole &= report("text ", text.recv_timeout(PATIENCE / 2), |text| {
        (text == "hello world", format!("{text:?}"))
    })?;
    whole &= report("pose ", pose.recv_timeout(PATIENCE / 2), |pose| {
        (
            *pose == Pose::sample(),
            format!(
                "x {} y {} and {} sensors",
                pose.x,
                pose.y,
                pose.sensors.len()
            ),
        )
    })?;
    let sent = image();
    whole &= report("image", large.recv_timeout(PATIENCE / 2), |bytes| {
        let equal = *bytes == sent;
        (
            equal,
            format!(
                "{} bytes, {}",
                bytes.len(),
                if equal { "equal" } else { "NOT EQUAL" }
            ),
        )
    })?;

    let account = images.statistics();
    let (missing, lost) = (account.datagrams_missing(), account.messages_lost());
    say(format!("lost: {lost} messages, {missing} datagrams"))?;
    if let Some(remedy) = account.receive_buffer.remedy().filter(|_| missing > 0) {
        say(format!(
            "the kernel's receive buffer is small; `{remedy}` mends it"
        ))?;
    }
    say(if whole && lost == 0 && missing == 0 {
        "done whole"
    } else {
        "done"
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Says what arrived and how fast; whether it is what was sent.
fn report<T>(
    topic: &str,
    message: Result<Message<T>, NoMessage>,
    check: impl FnOnce(&T) -> (bool, String),
) -> io::Result<bool> {
    let message = match message {
        Ok(message) => message,
        Err(error) => {
            say(format!("{topic}  nothing: {error}"))?;
            return Ok(false);
        }
    };
    let (equal, what) = check(&message.payload);
    let took = message
        .published
        .and_then(|at| message.received.duration_since(at).ok());
    let took = took.map_or_else(|| "?".to_owned(), millis);
    say(format!("{topic}  {what}; {took} after it was published"))?;
    Ok(equal)
}

fn connection_of(arguments: &[String]) -> Result<Connection, Box<dyn Error>> {
    let text = arguments.first().ok_or("a connection is missing")?;
    Ok(Connection::new(text)?)
}

/// A line, seen by the parent at once.
fn say(line: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{}", line.as_ref())?;
    out.flush()
}

fn millis(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}
