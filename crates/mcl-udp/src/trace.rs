//! Events for `tracing`, behind the feature of that name.
//!
//! Losses are not reported where they happen: the counters are compared with what they
//! were, at most once a second, when the thread goes by anyway. So a message costs
//! nothing, a flood of losses is one event a second, and an idle listener sleeps on.
//! Whatever else there may be many of is limited to one event a second of its kind.
//!
//! No lock is held while an event is handed over: a subscriber is user code.
//!
//! Without the feature all of this is empty.

#[cfg(not(feature = "tracing"))]
use off as which;
#[cfg(feature = "tracing")]
use on as which;

#[allow(
    unused_imports,
    reason = "`LinkTrace` is for whoever watches interfaces"
)]
pub(crate) use which::{LinkTrace, ListenerTrace, broadcaster_closing, broadcaster_opened};

#[cfg(feature = "tracing")]
mod on {
    use std::fmt::Display;
    use std::num::NonZeroU32;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use mcl_net::{Foreign, Group, Receiver};
    use mcl_wire::{Account, Counters, DatagramCounts, StreamId, StreamReport};
    use tracing::{debug, info, warn};

    use crate::display::KernelDrops;
    use crate::shared::{Core, KernelSide};
    use crate::sync::lock;

    /// The least time between two events of a kind.
    const EVERY: Duration = Duration::from_secs(1);

    /// Lets one event of a kind through in [`EVERY`], and counts the others.
    #[derive(Debug, Default)]
    struct Limit {
        last: Option<Instant>,
        suppressed: u64,
    }

    impl Limit {
        /// How many were suppressed since the last one, if this one may go.
        fn pass(&mut self, now: Instant) -> Option<u64> {
            let early = |last| now.duration_since(last) < EVERY;
            if self.last.is_some_and(early) {
                self.suppressed += 1;
                return None;
            }
            self.last = Some(now);
            Some(std::mem::take(&mut self.suppressed))
        }
    }

    pub(crate) fn broadcaster_opened(stream: StreamId, group: Group) {
        info!(%stream, %group, "broadcaster opened");
    }

    pub(crate) fn broadcaster_closing(stream: StreamId) {
        info!(%stream, "broadcaster closing");
    }

    /// Says when an interface is lost and when it is back.
    #[allow(dead_code, reason = "for whoever watches interfaces")]
    #[derive(Debug, Default)]
    pub(crate) struct LinkTrace {
        lost: Limit,
        back: Limit,
    }

    #[allow(dead_code, reason = "for whoever watches interfaces")]
    impl LinkTrace {
        /// The interface went away, or cannot be used any more, as `why` says.
        pub(crate) fn interface_lost(
            &mut self,
            now: Instant,
            interface: &dyn Display,
            why: &dyn Display,
        ) {
            if let Some(suppressed) = self.lost.pass(now) {
                warn!(%interface, %why, suppressed, "interface lost");
            }
        }

        /// It can be used again, after `gone`.
        pub(crate) fn interface_back(
            &mut self,
            now: Instant,
            interface: &dyn Display,
            gone: Duration,
        ) {
            if let Some(suppressed) = self.back.pass(now) {
                info!(%interface, ?gone, suppressed, "interface back");
            }
        }
    }

    /// What was counted at the last look.
    #[derive(Clone, Copy, Debug, Default)]
    struct Seen {
        streams: u64,
        datagrams_missing: u64,
        account: Account,
        datagrams: DatagramCounts,
        foreign: Foreign,
        receive_errors: u64,
        kernel_drops: u64,
    }

    impl Seen {
        fn now(core: &Core, kernel_drops: u64) -> Self {
            let Counters {
                departed,
                streams_started,
                datagrams,
                ..
            } = core.demux.counters();
            let mut seen = Self {
                streams: streams_started,
                datagrams_missing: departed.datagrams_missing,
                account: departed.account,
                datagrams,
                foreign: core.foreign,
                receive_errors: core.receive_errors,
                kernel_drops,
            };
            for report in core.demux.streams() {
                seen.add(&report);
            }
            seen
        }

        fn add(&mut self, report: &StreamReport) {
            self.datagrams_missing += report.datagrams.missing;
            self.account += report.account();
        }
    }

    /// Says when a listener opens and closes, and what it loses.
    #[derive(Debug)]
    pub(crate) struct ListenerTrace {
        group: Group,
        interface: NonZeroU32,
        /// What is known of the socket; tests have none.
        kernel: Option<KernelSide>,
        seen: Seen,
        next: Instant,
    }

    impl ListenerTrace {
        pub(crate) fn new(receiver: &Receiver) -> Self {
            let (group, interface) = (receiver.group(), receiver.interface());
            info!(%group, interface, "listener opened");
            Self::of(group, interface, Some(KernelSide::of(receiver)))
        }

        pub(super) fn of(group: Group, interface: NonZeroU32, kernel: Option<KernelSide>) -> Self {
            Self {
                group,
                interface,
                kernel,
                seen: Seen::default(),
                next: Instant::now(),
            }
        }

        /// Says what happened since the last time, unless that is just over.
        #[inline]
        pub(crate) fn look(&mut self, now: Instant, core: &Mutex<Core>) {
            if now >= self.next {
                self.next = now + EVERY;
                self.compare(core);
            }
        }

        #[cold]
        fn compare(&mut self, core: &Mutex<Core>) {
            let before = self.seen;
            let mut seen = Seen::now(&lock(core), before.kernel_drops);
            // What the kernel drops is missing by number: otherwise it is not asked.
            if seen.datagrams_missing > before.datagrams_missing {
                let drops = self.kernel.as_ref().and_then(KernelSide::drops);
                seen.kernel_drops = drops.unwrap_or(before.kernel_drops);
            }
            self.seen = seen;
            self.streams(&before);
            self.losses(&before);
            self.kernel(&before);
            self.datagrams(&before);
        }

        fn streams(&self, before: &Seen) {
            let started = self.seen.streams - before.streams;
            if started > 0 {
                let (group, interface) = (self.group, self.interface);
                info!(%group, interface, started, "streams started");
            }
        }

        fn losses(&self, before: &Seen) {
            let (is, was) = (&self.seen.account, &before.account);
            // What came late is not missing any more: then there may be less than before.
            let more = is.lost().saturating_sub(was.lost());
            if more == 0 {
                return;
            }
            warn!(
                group = %self.group,
                interface = self.interface,
                lost = more,
                missing = is.missing.saturating_sub(was.missing),
                expired = is.expired - was.expired,
                stranded = is.stranded - was.stranded,
                evicted = is.evicted - was.evicted,
                abandoned = is.abandoned - was.abandoned,
                refused = is.refused - was.refused,
                too_large = is.too_large - was.too_large,
                crc_mismatch = is.crc_mismatch - was.crc_mismatch,
                malformed = is.malformed - was.malformed,
                "messages lost"
            );
        }

        fn kernel(&self, before: &Seen) {
            let times = self.seen.kernel_drops.saturating_sub(before.kernel_drops);
            let Some(kernel) = self.kernel.as_ref().filter(|_| times > 0) else {
                return;
            };
            let buffer = kernel.receive_buffer;
            let drops = KernelDrops { times, buffer };
            warn!(
                group = %self.group,
                interface = self.interface,
                times,
                granted = buffer.granted,
                requested = buffer.requested,
                advice = drops.advice(),
                "the kernel dropped"
            );
        }

        fn datagrams(&self, before: &Seen) {
            let (is, was) = (&self.seen, before);
            let (group, interface) = (self.group, self.interface);
            for ((cause, now), (_, then)) in is
                .datagrams
                .causes()
                .into_iter()
                .zip(was.datagrams.causes())
            {
                if now > then {
                    debug!(%group, interface, cause, datagrams = now - then, "datagrams dropped");
                }
            }
            let foreign = |it: &Foreign| it.other_group + it.other_interface;
            let more = foreign(&is.foreign) - foreign(&was.foreign);
            if more > 0 {
                debug!(%group, interface, datagrams = more, "foreign datagrams");
            }
            let errors = is.receive_errors - was.receive_errors;
            if errors > 0 {
                warn!(%group, interface, errors, "cannot receive");
            }
        }
    }

    impl Drop for ListenerTrace {
        fn drop(&mut self) {
            let (group, interface) = (self.group, self.interface);
            info!(%group, interface, "listener closed");
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use std::fmt::Display;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use mcl_net::{Group, Receiver};
    use mcl_wire::StreamId;

    use crate::shared::Core;

    pub(crate) const fn broadcaster_opened(_: StreamId, _: Group) {}

    pub(crate) const fn broadcaster_closing(_: StreamId) {}

    #[allow(dead_code, reason = "for whoever watches interfaces")]
    #[derive(Debug, Default)]
    pub(crate) struct LinkTrace;

    #[allow(dead_code, reason = "for whoever watches interfaces")]
    impl LinkTrace {
        pub(crate) fn interface_lost(&mut self, _: Instant, _: &dyn Display, _: &dyn Display) {}

        pub(crate) fn interface_back(&mut self, _: Instant, _: &dyn Display, _: Duration) {}
    }

    #[derive(Debug)]
    pub(crate) struct ListenerTrace;

    impl ListenerTrace {
        pub(crate) const fn new(_: &Receiver) -> Self {
            Self
        }

        pub(crate) const fn look(&mut self, _: Instant, _: &Mutex<Core>) {}
    }
}

#[cfg(test)]
#[cfg(feature = "tracing")]
mod tests {
    use std::fmt::Debug;
    use std::num::NonZeroU32;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use mcl_wire::{Limits, Received, Sink, StreamId, whole_message_prefix};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::{LinkTrace, ListenerTrace};
    use crate::shared::Core;
    use crate::sync::lock;

    /// Keeps what it is told, as text.
    #[derive(Clone, Default)]
    struct Capture(Arc<Mutex<Vec<(Level, String)>>>);

    impl Capture {
        fn take(&self) -> Vec<(Level, String)> {
            std::mem::take(&mut *lock(&self.0))
        }
    }

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0 += &match field.name() {
                "message" => format!("{value:?};"),
                name => format!(" {name}={value:?}"),
            };
        }
    }

    impl Subscriber for Capture {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut text = Text(String::new());
            event.record(&mut text);
            lock(&self.0).push((*event.metadata().level(), text.0));
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    struct Nowhere;

    impl Sink for Nowhere {
        fn message(&mut self, _: Received<'_>) {}
    }

    fn hear(core: &Mutex<Core>, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let body = [0; 4];
            let prefix = whole_message_prefix(StreamId(9), number, number, body.len()).unwrap();
            let datagram = [&prefix[..], &body].concat();
            let demux = &mut lock(core).demux;
            demux.datagram(Duration::ZERO, &datagram, &mut Nowhere);
        }
    }

    /// With a subscriber, a core, and what looks at it.
    fn tracing(test: impl FnOnce(&Capture, &Mutex<Core>, &mut ListenerTrace, Instant)) {
        let capture = Capture::default();
        tracing::subscriber::with_default(capture.clone(), || {
            let core = Mutex::new(Core::new(Limits::default()));
            let group = mcl_net::Group::new("ff15::1".parse().unwrap(), 9000).unwrap();
            let interface = NonZeroU32::new(7).unwrap();
            let mut trace = ListenerTrace::of(group, interface, None);
            test(&capture, &core, &mut trace, Instant::now());
        });
    }

    #[test]
    fn losses_are_told_once_a_second_and_not_at_all_if_there_are_none() {
        tracing(|capture, core, trace, now| {
            hear(core, [0, 1, 5]);
            trace.look(now, core);
            let told = capture.take();
            assert_eq!(told.len(), 2, "{told:?}");
            assert_eq!(told[0].0, Level::INFO);
            assert!(told[0].1.starts_with("streams started;"), "{told:?}");
            assert!(told[0].1.ends_with("interface=7 started=1"), "{told:?}");
            assert_eq!(told[1].0, Level::WARN);
            let lost = "messages lost; group=[ff15::1]:9000 interface=7 lost=3 missing=3 \
                        expired=0 stranded=0 evicted=0 abandoned=0 refused=0 too_large=0 \
                        crc_mismatch=0 malformed=0";
            assert_eq!(told[1].1, lost);

            // Within the second nothing is told, and nothing is forgotten.
            hear(core, [7]);
            trace.look(now + Duration::from_millis(400), core);
            hear(core, [9, 9]);
            trace.look(now + Duration::from_millis(999), core);
            assert_eq!(capture.take(), []);
            trace.look(now + Duration::from_secs(1), core);
            let told = capture.take();
            assert!(told[0].1.contains("lost=2 missing=2"), "{told:?}");
            assert_eq!(told[1].0, Level::DEBUG);
            assert!(
                told[1].1.ends_with("cause=\"duplicate\" datagrams=1"),
                "{told:?}"
            );
            assert_eq!(told.len(), 2, "{told:?}");

            hear(core, [10, 11]);
            trace.look(now + Duration::from_secs(2), core);
            assert_eq!(capture.take(), [], "all is well");
        });
    }

    #[test]
    fn what_comes_late_is_not_told_a_second_time() {
        tracing(|capture, core, trace, now| {
            hear(core, [0, 3]);
            trace.look(now, core);
            capture.take();
            hear(core, [1, 2]);
            trace.look(now + Duration::from_secs(1), core);
            assert_eq!(capture.take(), []);
            hear(core, [5]);
            trace.look(now + Duration::from_secs(2), core);
            let told = capture.take();
            assert!(told[0].1.contains("lost=1 missing=1"), "{told:?}");
        });
    }

    #[test]
    fn an_interface_that_comes_and_goes_is_told_of_once_a_second() {
        tracing(|capture, _, _, now| {
            let mut link = LinkTrace::default();
            for at in 0..25 {
                let now = now + Duration::from_millis(100) * at;
                link.interface_lost(now, &"eth0", &"it is down");
                link.interface_back(now, &"eth0", Duration::from_millis(50));
            }
            let told = capture.take();
            assert_eq!(told.len(), 6, "{told:?}");
            let lost = |suppressed| {
                let text = format!(
                    "interface lost; interface=eth0 why=it is down suppressed={suppressed}"
                );
                (Level::WARN, text)
            };
            assert_eq!(told[0], lost(0));
            assert_eq!(
                told[1].1,
                "interface back; interface=eth0 gone=50ms suppressed=0"
            );
            assert_eq!([&told[2], &told[4]], [&lost(9), &lost(9)]);
        });
    }
}
