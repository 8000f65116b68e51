//! Events for `tracing`: what a program sees that has a subscriber.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mcl_udp::{Connection, Pacing, RawBroadcaster, RawListener};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{alone_in_network, eventually, noise};

/// The group of this test alone: other tests tell of theirs.
const GROUP: &str = "ff15::7ace";

/// Keeps what is told of [`GROUP`], as text.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<(Level, String)>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("mcl_udp")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        if text.0.contains(GROUP) {
            let level = *event.metadata().level();
            self.0.lock().unwrap().push((level, text.0));
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Capture {
    fn find(&self, level: Level, text: &str) -> Option<String> {
        let told = self.0.lock().unwrap();
        let mut told = told.iter().filter(|it| it.0 == level);
        told.find(|it| it.1.contains(text)).map(|it| it.1.clone())
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_flood_is_told_of_in_a_few_events_with_the_remedy() {
    alone_in_network(|_| {
        let capture = Capture::default();
        tracing::subscriber::set_global_default(capture.clone()).unwrap();
        let connection = Connection::new(GROUP).unwrap();
        // More than any system grants.
        let listener = RawListener::builder(&connection).receive_buffer(1 << 30);
        let listener = listener.open().unwrap();
        listener.subscribe_inline(|_| thread::sleep(Duration::from_millis(20)));
        let broadcaster = RawBroadcaster::builder(&connection).pacing(Pacing::None);
        let broadcaster = broadcaster.open().unwrap();
        assert!(capture.find(Level::INFO, "listener opened").is_some());
        assert!(capture.find(Level::INFO, "broadcaster opened").is_some());

        let payload = noise(1, 60_000);
        for _ in 0..400 {
            broadcaster.publish(&payload).unwrap();
        }
        eventually("the kernel dropped", || {
            listener.statistics().kernel_drops > Some(0)
        });
        eventually("it is told", || {
            broadcaster.publish(b"one more").unwrap();
            thread::sleep(Duration::from_millis(50));
            capture.find(Level::WARN, "the kernel dropped").is_some()
        });
        let told = capture.find(Level::WARN, "the kernel dropped").unwrap();
        assert!(told.contains("requested=1073741824"), "{told}");
        assert!(
            told.contains("sudo sysctl -w net.core.rmem_max=1073741824"),
            "{told}"
        );
        assert!(capture.find(Level::WARN, "messages lost").is_some());
        assert!(capture.find(Level::INFO, "streams started").is_some());
        listener.close();
        assert!(capture.find(Level::INFO, "listener closed").is_some());
        let told = capture.0.lock().unwrap().len();
        assert!(told < 100, "{told} events");
    });
}
