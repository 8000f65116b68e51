//! The thread that reads.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use mcl_udp::{Payload, Topic};

use super::choice::{Choice, Moment, Route, window};
use super::order::Order;
use crate::record::RecordingError;
use crate::record::inbox::Inbox;
use crate::record::reader::{Channel, Entry, Reader, Tail};

/// What is to be played.
#[derive(Debug)]
pub(super) enum Item {
    Message {
        received: u64,
        route: Arc<Route>,
        topic: Option<Topic>,
        data: Payload,
    },
    /// It begins again.
    Again,
    /// Something for people to know.
    Note(String),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Message { data, .. } => data.len(),
            _ => 0,
        }
    }
}

/// From the first to the last message, as far as is known.
pub(super) type Span = Option<RangeInclusive<u64>>;

#[derive(Debug)]
pub(super) struct Source {
    files: Vec<PathBuf>,
    choice: Choice,
    window: RangeInclusive<u64>,
    span: Span,
    again: bool,
    routes: HashSet<Route>,
}

/// What became of the messages of a channel.
type Known = HashMap<*const Channel, (Arc<Channel>, Option<(Arc<Route>, Option<Topic>)>)>;

impl Source {
    /// Looks at all files, so that what cannot be played is known before it begins.
    pub(super) fn open(
        files: &[PathBuf],
        choice: Choice,
        moments: (Option<Moment>, Option<Moment>),
        again: bool,
    ) -> Result<Self, RecordingError> {
        let (mut beginning, mut routes) = (None, HashSet::new());
        // None of a file without an end, and then none at all.
        let mut spans = Vec::new();
        for path in files {
            let mut reader = Reader::open(path)?;
            for channel in reader.channels() {
                routes.extend(choice.route(channel, path)?.map(|(route, _)| route));
            }
            let statistics = reader.statistics.take().filter(|it| it.message_count > 0);
            let times = statistics.map(|it| it.message_start_time..=it.message_end_time);
            spans.push(times.clone());
            if beginning.is_none() {
                beginning = times.map(|it| *it.start()).or(first(&mut reader));
            }
        }
        let window = window(moments, beginning.unwrap_or_default());
        let within = |it: RangeInclusive<u64>| {
            (*it.start()).max(*window.start())..=(*it.end()).min(*window.end())
        };
        Ok(Self {
            files: files.to_vec(),
            choice,
            span: whole(spans).map(within).filter(|it| !it.is_empty()),
            window,
            again,
            routes,
        })
    }

    /// Where messages will go, as far as files say that at their ends.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Reads all files, over and over if that is wanted, until nobody takes what it reads.
    pub(super) fn run(&self, inbox: &Inbox<Item>) -> Result<(), RecordingError> {
        let (mut rounds, mut result) = (0, Ok(()));
        while (rounds == 0 || self.again) && result.is_ok() {
            let mut round = Round {
                source: self,
                inbox,
                order: Order::default(),
                known: HashMap::new(),
                messages: 0,
                first: rounds == 0,
            };
            let wanted = match round.run() {
                Ok(wanted) => wanted,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            // What has no message would begin again without end.
            if !wanted || round.messages == 0 || !self.again || !inbox.put(Item::Again, 0) {
                break;
            }
            rounds += 1;
        }
        inbox.close();
        result
    }
}

/// Once through all files.
struct Round<'a> {
    source: &'a Source,
    inbox: &'a Inbox<Item>,
    order: Order<Item>,
    known: Known,
    messages: u64,
    /// What is wrong is told once.
    first: bool,
}

impl Round<'_> {
    /// Whether it came to the end: `false` if nobody wants more.
    fn run(&mut self) -> Result<bool, RecordingError> {
        let mut damage = None;
        for path in &self.source.files {
            let mut reader = Reader::open(path)?.within(self.source.window.clone());
            let (wanted, parts) = self.file(&mut reader)?;
            if parts > 0 {
                damage = Some(RecordingError::Partial {
                    path: path.clone(),
                    parts,
                });
            }
            if !wanted {
                return Ok(false);
            }
            if reader.tail == Some(Tail::Truncated) && self.first {
                let what = "has no end: its writer was killed, or had no more room";
                self.note(format!("{} {what}", path.display()));
            }
        }
        while let Some(item) = self.order.take() {
            if !self.put(item) {
                return Ok(false);
            }
        }
        damage.map_or(Ok(true), Err)
    }

    /// Whether more is wanted, and how much of the file is damaged.
    fn file(&mut self, reader: &mut Reader) -> Result<(bool, u64), RecordingError> {
        let mut damaged = 0;
        loop {
            match reader.next() {
                Ok(Some(Entry::Message {
                    channel,
                    header,
                    data,
                })) => {
                    if self.source.window.contains(&header.log_time)
                        && !self.message(&channel, reader, header.log_time, data)?
                    {
                        return Ok((false, damaged));
                    }
                }
                Ok(Some(Entry::Metadata(_))) => {}
                Ok(None) => return Ok((true, damaged)),
                Err(error @ RecordingError::Damaged { .. }) => {
                    damaged += 1;
                    if damaged == 1 && self.first {
                        self.note(format!("{error}; going on after it"));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn message(
        &mut self,
        channel: &Arc<Channel>,
        reader: &Reader,
        received: u64,
        data: Payload,
    ) -> Result<bool, RecordingError> {
        let key = Arc::as_ptr(channel);
        if !self.known.contains_key(&key) {
            let route = self.source.choice.route(channel, reader.path())?;
            let route = route.map(|(route, topic)| (Arc::new(route), topic));
            // The channel is kept too: its address is not another's meanwhile.
            self.known.insert(key, (Arc::clone(channel), route));
        }
        let Some((_, Some((route, topic)))) = self.known.get(&key) else {
            return Ok(true);
        };
        self.messages += 1;
        let item = Item::Message {
            received,
            route: Arc::clone(route),
            topic: topic.clone(),
            data,
        };
        self.order.push(received, item.bytes(), item);
        while let Some(item) = self.order.pop() {
            if !self.put(item) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn note(&self, text: String) {
        self.inbox.put(Item::Note(text), 0);
    }

    fn put(&self, item: Item) -> bool {
        let bytes = item.bytes();
        self.inbox.put(item, bytes)
    }
}

/// From the earliest to the latest time, if all are known.
fn whole(spans: Vec<Span>) -> Span {
    let all = spans.into_iter().collect::<Option<Vec<_>>>()?;
    let start = all.iter().map(|it| *it.start()).min()?;
    let end = all.iter().map(|it| *it.end()).max()?;
    Some(start..=end)
}

/// When the first message of a file without an end was received.
fn first(reader: &mut Reader) -> Option<u64> {
    loop {
        match reader.next() {
            Ok(Some(Entry::Message { header, .. })) => return Some(header.log_time),
            Ok(None) => return None,
            Ok(Some(_)) | Err(RecordingError::Damaged { .. }) => {}
            Err(_) => return None,
        }
    }
}
