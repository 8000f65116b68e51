//! What everybody said, put together: which stream was sent by whom, and what became
//! of it at each listener. Takes room for each stream, whoever hears it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use super::account::{End, Pair, Presence, Sum};
use super::roles::{BROADCASTERS, LISTENERS};
use super::words::{Aside, Found, Sent, Visit};

/// How long after its end a stream may still be under way.
const UNDER_WAY: Duration = Duration::from_millis(200);

/// How many objections are kept in words.
const IN_WORDS: usize = 20;

#[derive(Debug, Serialize)]
pub(super) struct Stream {
    broadcaster: usize,
    life: u32,
    #[serde(skip)]
    opened: Duration,
    #[serde(skip)]
    end: Option<(End, Duration)>,
    killed: bool,
    sent: u64,
    /// Accounts that came before its end.
    #[serde(skip)]
    waiting: Vec<(Guest, Pair)>,
    sum: Sum,
}

/// Who was there, and when.
#[derive(Clone, Copy, Debug)]
struct Guest {
    listener: usize,
    opened: Duration,
    closed: Duration,
}

/// All that one broadcaster sent on all its streams.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Output {
    pub(super) streams: u64,
    pub(super) killed: u64,
    /// What the streams that were closed say; killed ones cannot.
    pub(super) sent: Sent,
    /// Messages of those that were killed, by their ledgers.
    pub(super) sent_by_killed: u64,
    pub(super) sum: Sum,
}

/// All that one listener heard, as often as it was opened.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Input {
    pub(super) visits: u64,
    pub(super) found: Found,
    pub(super) aside: Aside,
    pub(super) sum: Sum,
}

/// Things that must not be.
#[derive(Debug, Default, Serialize)]
pub(super) struct Objections {
    pub(super) count: u64,
    pub(super) examples: Vec<String>,
}

impl Objections {
    pub(super) fn add(&mut self, text: String) {
        self.count += 1;
        if self.examples.len() < IN_WORDS {
            self.examples.push(text);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) streams: HashMap<u64, Stream>,
    pub(super) outputs: [Output; BROADCASTERS.len()],
    pub(super) inputs: [Input; LISTENERS.len()],
    pub(super) objections: Objections,
}

impl Book {
    pub(super) fn stream(&mut self, id: u64, broadcaster: usize, life: u32, opened: Duration) {
        self.outputs[broadcaster].streams += 1;
        let stream = Stream {
            broadcaster,
            life,
            opened,
            end: None,
            killed: false,
            sent: 0,
            waiting: Vec::new(),
            sum: Sum::default(),
        };
        if self.streams.insert(id, stream).is_some() {
            self.objections.add(format!("stream {id:016x} twice"));
        }
    }

    /// A stream was closed.
    pub(super) fn ended(&mut self, id: u64, sent: Sent, at: Duration) {
        let Some(stream) = self.streams.get(&id) else {
            return self
                .objections
                .add(format!("stream {id:016x} ended and never began"));
        };
        self.outputs[stream.broadcaster].sent.add(&sent);
        self.end(id, End::Closed(sent.numbers), at);
    }

    /// The process of a broadcaster was killed: a stream that it had open has the
    /// numbers that its ledger says.
    pub(super) fn killed(&mut self, broadcaster: usize, ledger: (u64, u64), at: Duration) {
        let open = |(_, stream): &(&u64, &Stream)| {
            stream.broadcaster == broadcaster && stream.end.is_none()
        };
        let Some(id) = self.streams.iter().find(open).map(|(id, _)| *id) else {
            return;
        };
        self.outputs[broadcaster].killed += 1;
        self.outputs[broadcaster].sent_by_killed += ledger.0;
        self.end(id, End::Killed(ledger.0, ledger.1), at);
    }

    fn end(&mut self, id: u64, end: End, at: Duration) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.end = Some((end, at));
        stream.killed = matches!(end, End::Killed(..));
        stream.sent = end.sent();
        for (guest, pair) in std::mem::take(&mut stream.waiting) {
            self.settle(guest, &pair);
        }
    }

    /// A listener was open and is closed.
    pub(super) fn visit(&mut self, listener: usize, visit: &Visit) {
        let input = &mut self.inputs[listener];
        input.visits += 1;
        input.found.add(visit.found);
        input.aside.add(&visit.aside);
        let guest = Guest {
            listener,
            opened: visit.opened,
            closed: visit.closed,
        };
        for text in objections(visit) {
            self.objections
                .add(format!("listener {listener} {:?}: {text}", visit.receiving));
        }
        for pair in &visit.pairs {
            self.hear(guest, pair);
        }
        self.note_unheard(guest, &visit.pairs);
    }

    fn hear(&mut self, guest: Guest, pair: &Pair) {
        match self.streams.get_mut(&pair.stream) {
            None => {
                let text = format!("stream {:016x}, which nobody sent: {pair:?}", pair.stream);
                self.objections.add(text);
            }
            Some(stream) if stream.end.is_none() => stream.waiting.push((guest, *pair)),
            Some(_) => self.settle(guest, pair),
        }
    }

    fn settle(&mut self, guest: Guest, pair: &Pair) {
        let Some(stream) = self.streams.get(&pair.stream) else {
            return;
        };
        let Some((end, at)) = stream.end else {
            return;
        };
        let presence = Presence {
            from_start: guest.opened < stream.opened,
            to_end: guest.closed > at + UNDER_WAY,
        };
        match Sum::of(pair, end, presence) {
            Ok(sum) => self.add(guest.listener, pair.stream, &sum),
            Err(text) => {
                let who = format!(
                    "broadcaster {} at listener {}",
                    stream.broadcaster, guest.listener
                );
                self.objections.add(format!("{who}: {text}: {pair:?}"));
            }
        }
    }

    /// Streams that began and ended while the listener was there, and of which it heard
    /// nothing at all.
    fn note_unheard(&mut self, guest: Guest, heard: &[Pair]) {
        let heard: HashSet<u64> = heard.iter().map(|pair| pair.stream).collect();
        let unheard = self.streams.iter().filter_map(|(id, stream)| {
            let (end, at) = stream.end?;
            let there = guest.opened < stream.opened && guest.closed > at + UNDER_WAY;
            (there && stream.sent > 0 && !heard.contains(id)).then_some((*id, end))
        });
        for (id, end) in unheard.collect::<Vec<_>>() {
            self.add(guest.listener, id, &Sum::of_nothing(end));
        }
    }

    fn add(&mut self, listener: usize, stream: u64, sum: &Sum) {
        self.inputs[listener].sum.add(sum);
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.sum.add(sum);
            self.outputs[stream.broadcaster].sum.add(sum);
        }
    }

    /// When all is over: what is still open has no account.
    pub(super) fn close(&mut self) {
        let open = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.end.is_none());
        let texts = open.map(|(id, stream)| {
            format!(
                "stream {id:016x} of broadcaster {} has no end",
                stream.broadcaster
            )
        });
        texts
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|text| self.objections.add(text));
        if !self.total().balances() {
            self.objections
                .add(format!("the sum does not add up: {:?}", self.total()));
        }
    }

    pub(super) fn total(&self) -> Sum {
        let mut total = Sum::default();
        self.outputs
            .iter()
            .for_each(|output| total.add(&output.sum));
        total
    }
}

/// What is wrong with the account of a listener beyond its streams one by one.
fn objections(visit: &Visit) -> Vec<String> {
    let (found, aside) = (&visit.found, &visit.aside);
    let delivered: u64 = visit.pairs.iter().map(|pair| pair.fates.delivered).sum();
    let incomplete: u64 = visit.pairs.iter().map(|pair| pair.fates.incomplete).sum();
    let taken = found.verified + found.wrong + found.repeated + aside.undecodable;
    let known = taken + aside.dropped_oldest + aside.dropped_newest + aside.discarded;
    let mut texts = Vec::new();
    if delivered != known && aside.departed == 0 {
        texts.push(format!(
            "{delivered} messages were delivered, {known} are known of: {visit:?}"
        ));
    }
    if visit.at_rest && (aside.discarded > 0 || incomplete > 0) {
        texts.push(format!(
            "{} were waiting and {incomplete} incomplete at rest",
            aside.discarded
        ));
    }
    if found.wrong > 0 || found.repeated > 0 {
        texts.push(format!(
            "{} payloads were wrong, {} came twice",
            found.wrong, found.repeated
        ));
    }
    if aside.panics > 0 || aside.departed > 0 {
        texts.push(format!(
            "{} panics, {} streams departed",
            aside.panics, aside.departed
        ));
    }
    texts
}

#[cfg(test)]
mod tests {
    use mcl_udp::Account;

    use super::super::roles::Receiving;
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pair(stream: u64, delivered: u64) -> Pair {
        let mut fates = Account::default();
        fates.delivered = delivered;
        Pair {
            stream,
            highest: delivered - 1,
            spanned: delivered,
            fates,
            verified: delivered,
            ..Pair::default()
        }
    }

    fn visit(from: u64, to: u64, pairs: Vec<Pair>) -> Visit {
        let verified = pairs.iter().map(|pair| pair.verified).sum();
        Visit {
            receiving: Receiving::Queue,
            opened: seconds(from),
            closed: seconds(to),
            at_rest: true,
            pairs,
            found: Found {
                verified,
                ..Found::default()
            },
            aside: Aside::default(),
        }
    }

    fn numbers(numbers: u64) -> Sent {
        Sent {
            numbers,
            ..Sent::default()
        }
    }

    #[test]
    fn an_account_waits_for_the_end_of_its_stream() {
        let mut book = Book::default();
        book.stream(7, 2, 0, seconds(10));
        book.visit(1, &visit(5, 20, vec![pair(7, 8)]));
        assert_eq!(book.total().pairs, 0);
        book.ended(7, numbers(10), seconds(30));
        let sum = book.inputs[1].sum;
        assert_eq!((sum.sent, sum.not_there, sum.fates.delivered), (10, 2, 8));
        assert_eq!(book.outputs[2].sum, sum);
        book.close();
        assert_eq!(book.objections.count, 0, "{:?}", book.objections);
    }

    #[test]
    fn what_nobody_heard_is_lost_and_what_nobody_sent_is_an_error() {
        let mut book = Book::default();
        book.stream(7, 2, 0, seconds(10));
        book.ended(7, numbers(10), seconds(20));
        book.visit(0, &visit(5, 30, vec![]));
        book.visit(1, &visit(11, 30, vec![]));
        assert_eq!((book.total().pairs, book.total().unheard), (1, 10));
        book.visit(0, &visit(5, 30, vec![pair(8, 1)]));
        assert!(book.objections.examples[0].contains("nobody sent"));
    }

    #[test]
    fn a_killed_broadcaster_leaves_its_ledger() {
        let mut book = Book::default();
        book.stream(7, 2, 0, seconds(10));
        book.stream(8, 3, 0, seconds(10));
        book.killed(2, (5, 6), seconds(20));
        book.visit(1, &visit(5, 30, vec![pair(7, 6)]));
        assert_eq!((book.total().sent, book.outputs[2].killed), (6, 1));
        assert_eq!(book.objections.count, 0);
        book.close();
        assert!(book.objections.examples[0].contains("0000000000000008"));
    }

    #[test]
    fn a_listener_whose_messages_went_nowhere_is_an_error() {
        let mut book = Book::default();
        book.stream(7, 2, 0, seconds(10));
        book.ended(7, numbers(8), seconds(20));
        let mut lossy = visit(5, 30, vec![pair(7, 8)]);
        lossy.found.verified = 7;
        book.visit(1, &lossy);
        assert!(book.objections.examples[0].contains("8 messages were delivered, 7 are known of"));
        lossy.aside.discarded = 1;
        book.visit(1, &lossy);
        assert!(book.objections.examples[1].contains("1 were waiting"));
    }
}
