//! What happens to a listener or a broadcaster beside messages.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use mcl_net::Interface;
use mcl_wire::StreamId;

use crate::sync::lock;

/// How many events wait for their taker.
const MOST_WAITING: usize = 256;

/// Something that happened to a [`Listener`](crate::Listener), a
/// [`PullListener`](crate::PullListener) or a [`Broadcaster`](crate::Broadcaster).
///
/// `Display` is a line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The interface went away, or cannot carry multicast any more.
    #[non_exhaustive]
    InterfaceLost {
        /// The interface: its name, or how it was chosen.
        interface: String,
        /// What was found.
        reason: String,
        /// The commands that mend it, if any do.
        remedy: Vec<String>,
    },
    /// The interface is there, again or for the first time.
    #[non_exhaustive]
    InterfaceBack {
        /// The interface as it is now.
        interface: Interface,
        /// Whether a listener had to join anew, or a broadcaster to send over
        /// another index.
        rejoined: bool,
    },
    /// A stream was heard for the first time, or was heard already when the first
    /// taker of events came. Listeners only.
    #[non_exhaustive]
    StreamStarted {
        /// The stream.
        stream: StreamId,
    },
    /// A stream was silent longer than others, and gave its place in the table of
    /// streams to another one. Listeners only.
    #[non_exhaustive]
    StreamDeparted {
        /// The stream.
        stream: StreamId,
    },
    /// The kernel dropped datagrams, for want of room in the receive buffer or because
    /// their checksums were wrong. Listeners only.
    #[non_exhaustive]
    KernelDropped {
        /// How often so far, in all
        /// ([`ListenerStatistics::kernel_drops`](crate::ListenerStatistics::kernel_drops)).
        total: u64,
        /// The command that lets the kernel grant the buffer that was asked for, if
        /// it did not.
        remedy: Option<String>,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InterfaceLost {
                interface,
                reason,
                remedy,
            } => {
                write!(f, "interface {interface} lost: {reason}")?;
                match remedy.is_empty() {
                    true => Ok(()),
                    false => write!(f, "; run `{}`", remedy.join("`, `")),
                }
            }
            Self::InterfaceBack {
                interface,
                rejoined,
            } => {
                let how = if *rejoined {
                    "in use anew"
                } else {
                    "as before"
                };
                write!(f, "interface {interface} is back: {how}")
            }
            Self::StreamStarted { stream } => write!(f, "stream {stream} started"),
            Self::StreamDeparted { stream } => write!(f, "stream {stream} departed"),
            Self::KernelDropped { total, remedy } => {
                write!(f, "the kernel dropped, {total} times so far")?;
                match remedy {
                    Some(remedy) => write!(f, "; run `{remedy}`"),
                    None => f.write_str("; ask for a larger receive buffer, or take faster"),
                }
            }
        }
    }
}

/// Takes events, each of those that happen after it was made.
///
/// Up to 256 wait; then the oldest give way, and are [`lost`](Self::lost). Whoever
/// wants a callback runs one on a thread:
///
/// ```no_run
/// # use mcl_udp::{Connection, RawListener};
/// # let listener = RawListener::open(&Connection::new("ff15::1")?)?;
/// let events = listener.events();
/// std::thread::spawn(move || {
///     for event in &events {
///         eprintln!("{event}");
///     }
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Events {
    inbox: Arc<Inbox>,
}

#[derive(Debug)]
struct Inbox {
    receiver: Receiver<Event>,
    lost: AtomicU64,
}

impl Events {
    /// The next event, waited for without end; `None` when the listener or
    /// broadcaster is closed, and no event is left.
    #[must_use]
    pub fn recv(&self) -> Option<Event> {
        self.inbox.receiver.recv().ok()
    }

    /// The next event, waited for at most `timeout`; `None` if none came.
    #[must_use]
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Event> {
        self.inbox.receiver.recv_timeout(timeout).ok()
    }

    /// The next event if there is one. Never waits.
    #[must_use]
    pub fn try_recv(&self) -> Option<Event> {
        self.inbox.receiver.try_recv().ok()
    }

    /// Events as they come, until the listener or broadcaster is closed.
    pub fn iter(&self) -> impl Iterator<Item = Event> {
        self.inbox.receiver.iter()
    }

    /// The channel of the events, for `crossbeam_channel::select!`. It ends with this
    /// value.
    #[must_use]
    pub fn receiver(&self) -> &Receiver<Event> {
        &self.inbox.receiver
    }

    /// How many events gave way because nobody took them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inbox.lost.load(Ordering::Relaxed)
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = Event;
    type IntoIter = crossbeam_channel::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.inbox.receiver.iter()
    }
}

/// Gives events to all who take them.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Whether anyone does; to be asked without the lock.
    wanted: AtomicBool,
    /// None once closed.
    outlets: Mutex<Option<Vec<Outlet>>>,
}

#[derive(Debug)]
struct Outlet {
    sender: Sender<Event>,
    inbox: Weak<Inbox>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            wanted: AtomicBool::new(false),
            outlets: Mutex::new(Some(Vec::new())),
        }
    }
}

impl Hub {
    pub(crate) fn events(&self) -> Events {
        let (sender, receiver) = crossbeam_channel::bounded(MOST_WAITING);
        let lost = AtomicU64::new(0);
        let inbox = Arc::new(Inbox { receiver, lost });
        // If closed, the sender ends here, and so do the events.
        if let Some(outlets) = &mut *lock(&self.outlets) {
            let inbox = Arc::downgrade(&inbox);
            outlets.push(Outlet { sender, inbox });
            self.wanted.store(true, Ordering::Release);
        }
        Events { inbox }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Gives what `event` makes to all who want it. Never waits for them.
    pub(crate) fn post(&self, event: impl FnOnce() -> Event) {
        if !self.is_wanted() {
            return;
        }
        let mut outlets = lock(&self.outlets);
        let Some(outlets) = &mut *outlets else { return };
        let event = event();
        outlets.retain(|outlet| outlet.put(event.clone()));
        self.wanted.store(!outlets.is_empty(), Ordering::Release);
    }

    pub(crate) fn close(&self) {
        lock(&self.outlets).take();
        self.wanted.store(false, Ordering::Release);
    }
}

impl Outlet {
    /// `false` if there is no taker any more.
    fn put(&self, event: Event) -> bool {
        let Some(inbox) = self.inbox.upgrade() else {
            return false;
        };
        if let Err(TrySendError::Full(event)) = self.sender.try_send(event) {
            // The taker may just have made room: then there is room for two.
            let gave_way = inbox.receiver.try_recv().is_ok();
            inbox.lost.fetch_add(gave_way.into(), Ordering::Relaxed);
            let _ = self.sender.try_send(event);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(stream: u64) -> Event {
        let stream = StreamId(stream);
        Event::StreamStarted { stream }
    }

    #[test]
    fn each_taker_gets_all_and_the_oldest_give_way() {
        let hub = Hub::default();
        let unwanted = || -> Event { panic!("nobody wants it") };
        hub.post(unwanted);
        let (fast, slow) = (hub.events(), hub.events());
        for stream in 0..MOST_WAITING as u64 + 3 {
            hub.post(|| started(stream));
            assert_eq!(fast.try_recv(), Some(started(stream)));
        }
        assert_eq!((fast.lost(), slow.lost()), (0, 3));
        assert_eq!(slow.recv(), Some(started(3)));
        hub.close();
        assert_eq!(slow.iter().count(), MOST_WAITING - 1);
        assert_eq!((fast.recv(), hub.events().recv()), (None, None));
    }

    #[test]
    fn who_is_gone_costs_nothing() {
        let hub = Hub::default();
        drop(hub.events());
        hub.post(|| started(1));
        assert!(!hub.is_wanted());
    }

    #[test]
    fn an_event_reads_as_a_line() {
        let lost = Event::InterfaceLost {
            interface: "eth0".into(),
            reason: "it cannot carry IPv6 multicast: down".into(),
            remedy: vec!["ip link set dev eth0 up".into()],
        };
        let line = "interface eth0 lost: it cannot carry IPv6 multicast: down; \
                    run `ip link set dev eth0 up`";
        assert_eq!(lost.to_string(), line);
        let dropped = |remedy| Event::KernelDropped { total: 7, remedy };
        let text = dropped(Some("sysctl".into())).to_string();
        assert_eq!(text, "the kernel dropped, 7 times so far; run `sysctl`");
        assert!(dropped(None).to_string().contains("larger receive buffer"));
    }
}
