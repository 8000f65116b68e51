//! The thread that drains a listener's socket.

use std::net::SocketAddrV6;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mcl_net::{Batch, Received as Woke, Receiver, Train, Wait};
use mcl_wire::{BodyBytes, Received, Sink, StreamId, TopicHash};

use crate::depot::Stock;
use crate::filter::Filter;
use crate::message::{Message, TopicCache};
use crate::payload::Payload;
use crate::shared::{Core, Routing, Shared};
use crate::sync::lock;

/// How long to stay away from a socket that gave an error.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// Receives datagrams, puts messages together and hands them to the routes.
pub(crate) struct Drain {
    receiver: Receiver,
    shared: Arc<Shared>,
    filter: Filter,
    interface: NonZeroU32,
    topics: TopicCache,
    stock: Stock,
    /// Messages that came out of one train, on their way to the routes.
    ready: Vec<Message<Payload>>,
    started: Instant,
}

impl Drain {
    pub(crate) fn new(
        receiver: Receiver,
        shared: Arc<Shared>,
        filter: Filter,
        interface: NonZeroU32,
    ) -> Self {
        Self {
            receiver,
            shared,
            filter,
            interface,
            topics: TopicCache::default(),
            stock: Stock::default(),
            ready: Vec::new(),
            started: Instant::now(),
        }
    }

    /// Works until the listener closes. Sleeps in the kernel while nothing
    /// arrives and no incomplete message waits for its end.
    pub(crate) fn run(mut self) {
        let _close = CloseAtEnd(Arc::clone(&self.shared));
        let mut batch = Batch::default();
        while self.shared.is_open() {
            match self.receiver.recv(&mut batch, self.patience()) {
                Ok(Woke::Datagrams) => self.take_in(&batch),
                Ok(_) => self.keep_time(),
                Err(_) => {
                    lock(self.shared.core()).receive_errors += 1;
                    thread::sleep(AFTER_ERROR);
                }
            }
        }
        self.shared.keep_kernel_drops();
    }

    fn patience(&self) -> Wait {
        let expiry = lock(self.shared.core()).demux.next_expiry();
        let at = expiry.and_then(|at| self.started.checked_add(at));
        at.map_or(Wait::Forever, Wait::Until)
    }

    /// What is due whatever arrived, were it nothing of ours.
    fn keep_time(&self) {
        let mut core = lock(self.shared.core());
        core.foreign = self.receiver.foreign();
        core.demux.expire(self.started.elapsed());
    }

    fn take_in(&mut self, batch: &Batch) {
        self.keep_time();
        for train in batch.trains() {
            // Taken after the train has arrived: who subscribed before a message
            // was published gets it.
            let routing = self.shared.routing();
            self.decode(&train, &routing);
            // The lock on the core is not held any more: callbacks may look at
            // the statistics.
            for message in self.ready.drain(..) {
                routing
                    .routes
                    .iter()
                    .for_each(|route| route.deliver(&message));
            }
        }
    }

    fn decode(&mut self, train: &Train<'_>, routing: &Routing) {
        let now = self.started.elapsed();
        let mut core = lock(self.shared.core());
        let Core {
            demux,
            crc_mismatch,
            unclaimed,
            ..
        } = &mut *core;
        self.stock.collect(|buffer| demux.recycle(buffer));
        let mut collector = Collector {
            filter: &self.filter,
            routing,
            topics: &mut self.topics,
            stock: &mut self.stock,
            ready: &mut self.ready,
            crc_mismatch,
            unclaimed,
            sender: train.source(),
            interface: self.interface,
            received: train.arrived().unwrap_or_else(SystemTime::now),
        };
        for datagram in train.datagrams() {
            demux.datagram(now, datagram, &mut collector);
        }
    }
}

/// Closes the listener when its receiving thread ends, whatever ended it: nobody
/// shall wait for messages that cannot come.
struct CloseAtEnd(Arc<Shared>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Takes messages out of the demultiplexer.
struct Collector<'a> {
    filter: &'a Filter,
    routing: &'a Routing,
    topics: &'a mut TopicCache,
    stock: &'a mut Stock,
    ready: &'a mut Vec<Message<Payload>>,
    crc_mismatch: &'a mut u64,
    unclaimed: &'a mut u64,
    sender: SocketAddrV6,
    interface: NonZeroU32,
    received: SystemTime,
}

impl Sink for Collector<'_> {
    fn wants_stream(&mut self, stream: StreamId) -> bool {
        !self.routing.ignored.contains(&stream)
    }

    fn wants_hash(&mut self, hash: TopicHash) -> bool {
        self.filter.wants_hash(hash)
    }

    fn wants_topic(&mut self, topic: Option<&str>) -> bool {
        self.filter.wants(topic)
    }

    fn message(&mut self, received: Received<'_>) {
        if !crc_matches(&received) {
            *self.crc_mismatch += 1;
        } else if self.routing.routes.is_empty() {
            *self.unclaimed += 1;
        } else {
            let message = self.message_of(received);
            self.ready.push(message);
        }
    }
}

impl Collector<'_> {
    /// A message that was put together keeps its buffer; a small one is copied
    /// out of the datagram, so that it does not pin a whole batch.
    fn payload_of(&mut self, received: Received<'_>) -> Payload {
        let range = received.payload_range();
        match received.into_bytes() {
            BodyBytes::Owned(body) => self.stock.adopt(body, range.start),
            bytes => self
                .stock
                .copy(bytes.as_ref().get(range).unwrap_or_default()),
        }
    }

    fn message_of(&mut self, received: Received<'_>) -> Message<Payload> {
        let metadata = received.metadata();
        let published = metadata.publish_time.map(Duration::from_nanos);
        Message {
            topic: received.topic().map(|topic| self.topics.intern(topic)),
            stream: received.stream,
            number: received.number,
            sender: self.sender,
            interface: self.interface,
            published: published.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)),
            received: self.received,
            encoding: metadata.encoding,
            schema: metadata.schema,
            payload: self.payload_of(received),
        }
    }
}

fn crc_matches(received: &Received<'_>) -> bool {
    let Some(expected) = received.metadata().crc32c else {
        return true;
    };
    let body = received.body();
    let (head, payload) = body.crc_covered();
    crc32c::crc32c_append(crc32c::crc32c(head), payload) == expected
}
