//! Both sides of a measurement between two machines.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::thread;
use std::time::{Duration, Instant};

use mcl_udp::{
    Connection, OpenError, Payload, PublishError, PullError, RawBroadcaster, RawListener,
    RawPullListener, StreamId,
};
use thiserror::Error;

use super::protocol::{self, CONTROL, Control, DATA, HEAD_LEN, Letter, Round, Row, Side, plan};
use crate::output::place;
use crate::signals::Stop;

/// A question is repeated so often until it is answered.
const REPEAT_EVERY: Duration = Duration::from_millis(100);

/// How long the other side may be silent within a measurement.
const SILENT_FOR: Duration = Duration::from_secs(5);

/// What is still under way when the sender says that it is done.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// How long the last answer is given again, if it is asked for again.
const LINGERS: Duration = Duration::from_secs(1);

/// The last word is said so often, because nothing answers it.
const BYES: usize = 3;

/// Why a measurement came to no end. `Display` names the remedy.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot publish: {0}")]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Receive(PullError),
    #[error(
        "no {other} on {connection} within {} s; run `mcl doctor {option}` on the other machine, with the same group, port and interface, \
         and `mcl doctor` on both (`--wait` waits longer)",
        .after.as_secs_f64()
    )]
    Nobody {
        other: &'static str,
        option: &'static str,
        connection: Connection,
        after: Duration,
    },
    #[error(
        "the peer is heard, but does not hear this machine: something drops on the way there; \
         see this machine's rules for output, the peer's for input, and switches between them"
    )]
    Unheard,
    #[error("the {0} was there and fell silent")]
    Silent(&'static str),
    #[error("of some size nothing arrives; the table says in which direction")]
    NothingArrives,
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Receive(_) | Self::Interrupted => 1,
            Self::Open(_) => 3,
            Self::Publish(_) => 4,
            Self::Nobody { .. } | Self::Unheard | Self::Silent(_) => 5,
            Self::NothingArrives => 7,
        }
    }
}

/// One side of a measurement.
pub(super) struct Peer {
    side: Side,
    wait: Duration,
    connection: Connection,
    broadcaster: RawBroadcaster,
    listener: RawPullListener,
    session: u64,
    listener_id: u64,
    /// The stream of the other side, known from its first letter.
    stream: Option<StreamId>,
    rows: Vec<Row>,
    stop: Stop,
}

/// What came from the other side.
enum Arrival {
    Control(Control),
    Data(Payload),
}

impl Peer {
    pub(super) fn open(
        side: Side,
        connection: &Connection,
        hops: u8,
        wait: Duration,
    ) -> Result<Self, Error> {
        let broadcaster = RawBroadcaster::builder(connection).hops(hops).open()?;
        let listener = RawListener::builder(connection)
            .topics([CONTROL, DATA])
            .ignore(broadcaster.stream())
            .open_pull()?;
        let (session, listener_id) = match side {
            Side::Peer => (random(), 0),
            Side::Listener => (0, random()),
        };
        Ok(Self {
            side,
            wait,
            connection: connection.clone(),
            broadcaster,
            listener,
            session,
            listener_id,
            stream: None,
            rows: Vec::new(),
            stop: Stop::on_signals().map_err(|error| Error::Receive(PullError::Receive(error)))?,
        })
    }

    /// What happens now, for who waits.
    pub(super) fn begins(&self) -> String {
        format!(
            "waiting {} s for a {} on {} over {}; measuring takes about {} s",
            self.wait.as_secs_f64(),
            self.side.other().name(),
            self.connection,
            place(self.listener.interface()),
            plan().iter().map(Round::seconds).sum::<f64>().ceil()
        )
    }

    /// What was measured so far.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Finds the other side and measures both ways; ends by itself.
    pub(super) fn measure(&mut self) -> Result<(), Error> {
        match self.side {
            Side::Peer => self.find_listener()?,
            Side::Listener => self.await_peer()?,
        }
        for (number, round) in plan().into_iter().enumerate() {
            let row = match round.sender == self.side {
                true => self.send(number, &round)?,
                false => self.count(number, &round)?,
            };
            self.rows.push(row);
        }
        match self.side {
            Side::Listener => (0..BYES).try_for_each(|_| self.say(Control::Bye)),
            Side::Peer => self.linger(),
        }
    }

    fn find_listener(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + self.wait;
        let welcome = |control: Control| (control == Control::Welcome).then_some(());
        match self.ask(&Control::Hello, deadline, welcome)? {
            Some(()) => Ok(()),
            None => Err(self.nobody("--peer-listen")),
        }
    }

    /// Waits for a peer, and until it has heard the answer.
    fn await_peer(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + self.wait;
        while self.session == 0 {
            if Instant::now() >= deadline {
                return Err(self.nobody("--peer"));
            }
            self.receive(REPEAT_EVERY)?;
        }
        Ok(())
    }

    fn nobody(&self, option: &'static str) -> Error {
        Error::Nobody {
            other: self.side.other().name(),
            option,
            connection: self.connection.clone(),
            after: self.wait,
        }
    }

    /// Repeats a question until `answer` finds one, or `None` at the deadline.
    fn ask<T>(
        &mut self,
        question: &Control,
        deadline: Instant,
        answer: impl Fn(Control) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        while Instant::now() < deadline {
            self.say(question.clone())?;
            let again = Instant::now() + REPEAT_EVERY;
            while let Some(left) = again.checked_duration_since(Instant::now()) {
                if let Some(Arrival::Control(control)) = self.receive(left)?
                    && let Some(found) = answer(control)
                {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    fn say(&self, control: Control) -> Result<(), Error> {
        let letter = Letter {
            session: self.session,
            listener: self.listener_id,
            from: self.side,
            control,
        };
        let text = serde_json::to_vec(&letter).expect("numbers and names are JSON");
        self.broadcaster.publish_to(CONTROL, &text)?;
        Ok(())
    }

    /// What comes next from the other side, if anything comes in time. What it asks
    /// again is answered again on the way.
    fn receive(&mut self, wait: Duration) -> Result<Option<Arrival>, Error> {
        if self.stop.is_set() {
            return Err(Error::Interrupted);
        }
        let Some(message) = self.listener.recv_timeout(wait).map_err(Error::Receive)? else {
            return Ok(None);
        };
        if message.topic.as_ref().is_some_and(|it| it.as_str() == DATA) {
            let is_theirs = self.stream == Some(message.stream);
            return Ok(is_theirs.then_some(Arrival::Data(message.payload)));
        }
        let letter = serde_json::from_slice(&message.payload).ok();
        match letter.filter(|letter| self.accepts(letter)) {
            Some(Letter { control, .. }) => {
                self.stream = Some(message.stream);
                self.answer_again(&control)?;
                Ok(Some(Arrival::Control(control)))
            }
            None => Ok(None),
        }
    }

    /// Whether a letter is for this side of this measurement; the first one of each
    /// side decides which that is.
    fn accepts(&mut self, letter: &Letter) -> bool {
        if letter.from == self.side {
            return false;
        }
        if self.side == Side::Listener && self.session == 0 && letter.control == Control::Hello {
            self.session = letter.session;
        }
        if self.side == Side::Peer && self.listener_id == 0 && letter.session == self.session {
            self.listener_id = letter.listener;
        }
        let knows_us = [0, self.listener_id].contains(&letter.listener);
        letter.session == self.session && knows_us
    }

    fn answer_again(&self, control: &Control) -> Result<(), Error> {
        match control {
            Control::Hello => self.say(Control::Welcome),
            Control::End { round, .. } => match self.rows.get(*round) {
                Some(row) => self.say(Control::Outcome {
                    round: *round,
                    row: row.clone(),
                }),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Sends a round, and asks what became of it.
    fn send(&mut self, number: usize, round: &Round) -> Result<Row, Error> {
        let silent = Error::Silent(self.side.other().name());
        let ready = |control: Control| (control == Control::Ready { round: number }).then_some(());
        let deadline = Instant::now() + SILENT_FOR;
        if self
            .ask(&Control::Begin { round: number }, deadline, ready)?
            .is_none()
        {
            return Err(silent);
        }
        let sent = self.send_payloads(number, round)?;
        let outcome = |control| match control {
            Control::Outcome { round, row } if round == number => Some(row),
            _ => None,
        };
        let end = Control::End {
            round: number,
            sent,
        };
        let deadline = Instant::now() + SILENT_FOR;
        self.ask(&end, deadline, outcome)?.ok_or(silent)
    }

    fn send_payloads(&self, number: usize, round: &Round) -> Result<u32, Error> {
        let mut payload = vec![0; round.size.max(HEAD_LEN)];
        let begun = Instant::now();
        for index in 0..round.count {
            if self.stop.is_set() {
                return Err(Error::Interrupted);
            }
            let due = begun + Duration::from_secs_f64(f64::from(index) / round.rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            protocol::stamp(&mut payload, self.session, number, index);
            self.broadcaster.publish_to(DATA, &payload)?;
        }
        Ok(round.count)
    }

    /// Lets the other side send a round, and counts what comes.
    fn count(&mut self, number: usize, round: &Round) -> Result<Row, Error> {
        let mut tally = Tally::new(self, round);
        let sent = self.await_end(number, &mut tally)?;
        self.take_the_rest(number, &mut tally)?;
        let row = tally.row(self, sent);
        self.say(Control::Outcome {
            round: number,
            row: row.clone(),
        })?;
        Ok(row)
    }

    /// Takes payloads until the other side says how many it sent.
    fn await_end(&mut self, number: usize, tally: &mut Tally) -> Result<u32, Error> {
        let (mut heard, mut said_hello) = (Instant::now(), false);
        loop {
            let mut progress = true;
            match self.receive(REPEAT_EVERY)? {
                Some(Arrival::Data(payload)) => tally.take(self, number, &payload),
                Some(Arrival::Control(Control::Begin { round })) if round == number => {
                    self.say(Control::Ready { round })?;
                }
                Some(Arrival::Control(Control::End { round, sent })) if round == number => {
                    return Ok(sent);
                }
                // It goes on saying hello as long as it hears no answer.
                Some(Arrival::Control(Control::Hello)) => (progress, said_hello) = (false, true),
                Some(Arrival::Control(_)) => {}
                None => progress = false,
            }
            match progress {
                true => heard = Instant::now(),
                false if heard.elapsed() < SILENT_FOR => {}
                false if number == 0 && said_hello => return Err(Error::Unheard),
                false => return Err(Error::Silent(self.side.other().name())),
            }
        }
    }

    fn take_the_rest(&mut self, number: usize, tally: &mut Tally) -> Result<(), Error> {
        let deadline = Instant::now() + ON_ITS_WAY;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if let Some(Arrival::Data(payload)) = self.receive(left)? {
                tally.take(self, number, &payload);
            }
        }
        Ok(())
    }

    /// Answers once more, until the other side has all it needs.
    fn linger(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + LINGERS;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if let Some(Arrival::Control(Control::Bye)) = self.receive(left)? {
                break;
            }
        }
        Ok(())
    }

    /// Datagrams of the other side that are missing so far, and what the kernel dropped.
    fn losses(&self) -> (u64, Option<u64>) {
        let statistics = self.listener.statistics();
        let mut streams = statistics.streams.iter();
        let theirs = streams.find(|it| Some(it.id) == self.stream);
        let missing = theirs.map_or(0, |it| it.datagrams.missing);
        (missing, statistics.kernel_drops)
    }
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

/// What came of a round.
struct Tally {
    round: Round,
    seen: Vec<bool>,
    damaged: u32,
    /// Losses when it began.
    before: (u64, Option<u64>),
}

impl Tally {
    fn new(peer: &Peer, round: &Round) -> Self {
        Self {
            round: *round,
            seen: vec![false; usize::try_from(round.count).unwrap_or(0)],
            damaged: 0,
            before: peer.losses(),
        }
    }

    fn take(&mut self, peer: &Peer, number: usize, payload: &[u8]) {
        let Some((index, is_whole)) =
            protocol::read(payload, peer.session, number, self.round.size)
        else {
            return;
        };
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        match self.seen.get_mut(index) {
            Some(seen) if is_whole => *seen = true,
            _ => self.damaged += 1,
        }
    }

    fn row(&self, peer: &Peer, sent: u32) -> Row {
        let arrived = self.seen.iter().filter(|seen| **seen).count();
        let (missing, drops) = peer.losses();
        Row {
            from: self.round.sender,
            size: self.round.size,
            sent,
            arrived: u32::try_from(arrived).unwrap_or(u32::MAX),
            damaged: self.damaged,
            datagrams_lost: missing.saturating_sub(self.before.0),
            kernel_drops: drops.map(|now| now.saturating_sub(self.before.1.unwrap_or(0))),
            receive_buffer: peer.listener.statistics().receive_buffer.granted,
        }
    }
}
