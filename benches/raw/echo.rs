//! `ping` and `pong`: the round trip of a message.

use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

use crate::network::{Arrival, Inlet, Outlet};
use crate::options::Options;
use crate::report::{Report, cpu_time};
use crate::subscribe::{Stop, listen};

const DEFAULT_ROUNDS: u64 = 1000;

/// Rounds before those that count.
const WARM_UP: u64 = 100;

/// After that long an echo counts as lost.
const TIMEOUT: Duration = Duration::from_secs(1);

/// So many lost in a row, and nobody is there.
const GIVE_UP: u64 = 10;

/// Longer than [`TIMEOUT`]: a lost echo must not end the one who echoes.
const LINGER: Duration = Duration::from_millis(1500);

/// Echoes every message once it is whole.
pub(crate) fn pong(
    inlet: &mut Inlet,
    outlet: &mut Outlet,
    stop: &mut Stop,
) -> Result<Report, Box<dyn Error>> {
    listen(inlet, stop, LINGER, |number| outlet.send(number, 1))
}

/// Sends one message at a time and waits for its echo.
pub(crate) fn ping(
    options: &Options,
    outlet: &mut Outlet,
    inlet: &mut Inlet,
) -> Result<Report, Box<dyn Error>> {
    let count = options.count.unwrap_or(DEFAULT_ROUNDS);
    let (mut start, mut cpu) = (Instant::now(), cpu_time()?);
    let (mut rounds, mut lost, mut lost_in_row) = (Vec::new(), 0, 0);
    for number in 0..WARM_UP + count {
        if number == WARM_UP {
            (start, cpu, lost) = (Instant::now(), cpu_time()?, 0);
            rounds.clear();
        }
        match round(number, outlet, inlet)? {
            Some(time) => {
                rounds.push(time);
                lost_in_row = 0;
            }
            None => {
                lost += 1;
                lost_in_row += 1;
            }
        }
        if lost_in_row == GIVE_UP {
            return Err(format!("{GIVE_UP} echoes in a row were lost: is pong running?").into());
        }
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_time()? - cpu);
    rounds.sort_unstable();
    Ok(Report {
        messages: rounds.len() as u64,
        bytes: rounds.len() as u64 * options.size as u64,
        lost,
        bad: inlet.tally.bad,
        seconds,
        cpu,
        rcvbuf: inlet.granted,
        rounds: Some(rounds),
    })
}

fn round(number: u64, outlet: &mut Outlet, inlet: &mut Inlet) -> io::Result<Option<Duration>> {
    let start = Instant::now();
    outlet.send(number, 1)?;
    loop {
        // A late echo of an earlier round is passed over.
        if inlet.recv()? == Arrival::Message(number) {
            return Ok(Some(start.elapsed()));
        }
        if start.elapsed() >= TIMEOUT {
            return Ok(None);
        }
    }
}
