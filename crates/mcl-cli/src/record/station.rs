//! A connection that is recorded: its listener, and what the recorder itself lost of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mcl_udp::{Connection, Message, Payload, RawListener, StreamId};

use super::inbox::Inbox;
use crate::arguments::{Link, Reception};
use crate::failure::Failure;

/// A message, and which connection it came by.
pub(crate) type Arrival = (usize, Message<Payload>);

/// Streams whose drops are counted one by one; all are counted altogether.
const MAX_STREAMS: usize = 4096;

/// Messages that arrived and are not in the file, although there was one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// There was no room in the inbox: the disk was too slow.
    pub(crate) queue: u64,
    /// They would have been the first of another channel, and there are too many.
    pub(crate) channels: u64,
}

#[derive(Debug, Default)]
struct Drops {
    all: Dropped,
    streams: HashMap<StreamId, Dropped>,
}

#[derive(Debug)]
pub(crate) struct Station {
    /// Its group and port.
    pub(crate) name: String,
    pub(crate) listener: RawListener,
    drops: Arc<Mutex<Drops>>,
}

impl Station {
    /// Listens; what arrives goes into the inbox on the thread that receives.
    pub(crate) fn open(
        index: usize,
        connection: &Connection,
        (reception, link): (&Reception, &Link),
        inbox: &Arc<Inbox<Arrival>>,
    ) -> Result<Self, Failure> {
        let listener = reception.listener(connection, link).open()?;
        let drops = Arc::<Mutex<Drops>>::default();
        let (inbox, counted) = (Arc::clone(inbox), Arc::clone(&drops));
        listener.subscribe_inline(move |message| {
            let bytes = message.payload.len();
            if let Err((_, message)) = inbox.offer((index, message), bytes) {
                count(&counted, message.stream, |it| &mut it.queue);
            }
        });
        Ok(Self {
            name: format!("[{}]:{}", connection.address(), connection.port()),
            listener,
            drops,
        })
    }

    /// Counts a message for which there was no channel.
    pub(crate) fn without_channel(&self, stream: StreamId) {
        count(&self.drops, stream, |it| &mut it.channels);
    }

    /// What was dropped of all streams.
    pub(crate) fn dropped(&self) -> Dropped {
        lock(&self.drops).all
    }

    /// What was dropped of one stream.
    pub(crate) fn dropped_of(&self, stream: StreamId) -> Dropped {
        let drops = lock(&self.drops);
        drops.streams.get(&stream).copied().unwrap_or_default()
    }
}

fn count(drops: &Mutex<Drops>, stream: StreamId, which: fn(&mut Dropped) -> &mut u64) {
    let mut drops = lock(drops);
    *which(&mut drops.all) += 1;
    if drops.streams.len() < MAX_STREAMS || drops.streams.contains_key(&stream) {
        *which(drops.streams.entry(stream).or_default()) += 1;
    }
}

fn lock(drops: &Mutex<Drops>) -> MutexGuard<'_, Drops> {
    drops.lock().unwrap_or_else(PoisonError::into_inner)
}
