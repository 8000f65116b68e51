//! `cargo xtask loss`: what pacing is for, shown by measuring what is lost with
//! and without it.
//!
//! In a private network namespace, a publisher process sends series of twenty
//! 8 MiB messages to a listener process whose receive buffer is that of an
//! ordinary machine, or 4 MiB. Reports; asserts nothing.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mcl_udp::{Connection, Pacing, RawBroadcaster, RawListener};

use crate::Outcome;
use crate::test::{exit_code, itself, prepare, way_inside};
use mcl_setup::command::{Mode, Shell};

/// The hidden commands: the parent in its namespace, and the listener's process.
pub(crate) const INSIDE: &str = "loss-inside";
pub(crate) const LISTENER: &str = "loss-listener";

const MESSAGE: usize = 8 << 20;
const MESSAGES: usize = 20;
const ORDINARY: usize = 212_992;
const LARGE: usize = 4 << 20;
const GROUP: &str = "ff15::6d63:6c";

/// After the last message of a series, until its listener is asked.
const SETTLE: Duration = Duration::from_millis(100);

pub(crate) fn main(arguments: &[String]) -> Outcome {
    let series = match arguments.first() {
        Some(number) => number
            .parse::<usize>()
            .map_err(|_| "usage: cargo xtask loss [series]")?,
        None => 10,
    };
    let series = series.clamp(1, 1000).to_string();
    let mut way = way_inside()?;
    let status = way.arg(itself()?).args([INSIDE, &series]).status()?;
    Ok(exit_code(status))
}

pub(crate) fn inside(arguments: &[String]) -> Outcome {
    let series: usize = arguments
        .first()
        .ok_or("the number of series is missing")?
        .parse()?;
    prepare(&mut Shell::new(&mut io::stdout(), Mode::Run))?;
    let mut out = io::stdout();
    writeln!(
        out,
        "\n{series} series of {MESSAGES} messages of 8 MiB, one publisher and one listener process, unpinned\n"
    )?;
    writeln!(
        out,
        "| receive buffer | pacing | series with loss | messages lost | datagrams lost | rate |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for buffer in [ORDINARY, LARGE] {
        for pacing in [Pacing::Auto, Pacing::ForReceiveBuffer(buffer), Pacing::None] {
            measure(&mut out, series, buffer, pacing)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The loss of one listener, in messages and in datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Loss {
    messages: u64,
    datagrams: u64,
}

fn measure(
    out: &mut dyn Write,
    series: usize,
    buffer: usize,
    pacing: Pacing,
) -> Result<(), Box<dyn std::error::Error>> {
    let payload = vec![0x5a; MESSAGE];
    let (mut lossy, mut total, mut busy) = (0, Loss::default(), Duration::ZERO);
    for _ in 0..series {
        let mut listener = Command::new(itself()?)
            .args([LISTENER, &buffer.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut answers = BufReader::new(listener.stdout.take().ok_or("no output")?).lines();
        answers.next().ok_or("the listener did not open")??;
        let broadcaster = RawBroadcaster::builder(&Connection::new(GROUP)?)
            .pacing(pacing)
            .open()?;
        let begun = Instant::now();
        for _ in 0..MESSAGES {
            broadcaster.publish(&payload)?;
        }
        busy += begun.elapsed();
        thread::sleep(SETTLE);
        // The end of its input asks the listener for its account.
        drop(listener.stdin.take());
        let received = answers.next().ok_or("the listener gave no account")??;
        listener.wait()?;
        let loss = loss_of(&received, broadcaster.statistics().datagrams)?;
        lossy += u32::from(loss != Loss::default());
        total.messages += loss.messages;
        total.datagrams += loss.datagrams;
    }
    let rate = (series * MESSAGES * MESSAGE) as f64 / busy.as_secs_f64() / 1e6;
    writeln!(
        out,
        "| {buffer} B | {} | {lossy} of {series} | {} of {} | {} | {rate:.0} MB/s |",
        name(pacing),
        total.messages,
        series * MESSAGES,
        total.datagrams,
    )?;
    out.flush()?;
    Ok(())
}

fn loss_of(received: &str, datagrams_sent: u64) -> Result<Loss, Box<dyn std::error::Error>> {
    let (messages, datagrams) = received
        .split_once(' ')
        .ok_or("an account of two numbers was expected")?;
    Ok(Loss {
        messages: MESSAGES as u64 - messages.parse::<u64>()?,
        datagrams: datagrams_sent - datagrams.parse::<u64>()?,
    })
}

fn name(pacing: Pacing) -> String {
    match pacing {
        Pacing::Auto => "default".into(),
        Pacing::None => "none".into(),
        Pacing::ForReceiveBuffer(bytes) => format!("for receivers with {bytes} B"),
        other => format!("{other:?}"),
    }
}

/// The listener's process: counts until its input ends.
pub(crate) fn listener(arguments: &[String]) -> Outcome {
    let buffer = arguments
        .first()
        .ok_or("the receive buffer is missing")?
        .parse()?;
    let listener = RawListener::builder(&Connection::new(GROUP)?)
        .receive_buffer(buffer)
        .open()?;
    let granted = listener.statistics().receive_buffer.granted;
    let id = listener.subscribe(|message| drop(message.payload));
    writeln!(io::stdout(), "{granted}")?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    let delivered = listener
        .subscription_statistics(id)
        .map_or(0, |it| it.delivered);
    let account = listener.statistics();
    writeln!(
        io::stdout(),
        "{delivered} {}",
        account.wire.datagrams.accepted
    )?;
    Ok(ExitCode::SUCCESS)
}
