//! Subscribing, unsubscribing, closing and dropping, from anywhere.

use std::fs;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use mcl_testbed::tell;
use mcl_udp::{
    Broadcaster, Listener, Message, Policy, Queue, QueueOptions, RawBroadcaster, RawListener,
    RecvError, SubscriptionId,
};

use crate::support::{
    PATIENCE, connection, eventually, in_network, next, payloads, start_child, typed_listener,
};

const ROUNDS: u64 = 1000;

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_thousand_rounds_of_churn_lose_no_subscription_and_leave_nothing_behind() {
    in_network(|network| {
        let mut child = start_child(network, "churn", &[]);
        child.expect("panics: 0");
        child.expect("threads and descriptors: back");
        child.finish();
    });
}

/// A child process of its own: it counts its threads and descriptors.
pub(crate) fn churn() {
    let panics = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&panics);
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        count.fetch_add(1, Ordering::SeqCst);
        print(info);
    }));
    let broadcaster = Broadcaster::<u64>::open(&connection()).unwrap();
    // What the first use brings into being stays.
    Permanent::open().round(0, &broadcaster);
    let (threads, descriptors) = settled();

    let permanent = Permanent::open();
    (1..=ROUNDS).for_each(|round| permanent.round(round, &broadcaster));
    permanent.is_intact();
    drop(permanent);
    eventually(
        "threads and descriptors are back to where they were",
        || {
            // Callbacks that hold a handle let go of it at a message.
            broadcaster.publish(&0).unwrap();
            (entries("task"), entries("fd")) == (threads, descriptors)
        },
    );
    tell(format!("panics: {}", panics.load(Ordering::SeqCst)));
    tell("threads and descriptors: back");
}

/// How many threads and descriptors there are, once they do not change any more:
/// threads that nobody joins take a moment to end.
fn settled() -> (usize, usize) {
    let mut now = (0, 0);
    eventually("threads and descriptors settle", || {
        let before = std::mem::replace(&mut now, (entries("task"), entries("fd")));
        thread::sleep(Duration::from_millis(300));
        before == now
    });
    now
}

fn entries(of: &str) -> usize {
    fs::read_dir(format!("/proc/self/{of}")).unwrap().count()
}

/// A listener that stays while others come and go.
struct Permanent {
    listener: Listener<u64>,
    queue: Queue<u64>,
    called: Arc<AtomicU64>,
    callback: SubscriptionId,
}

impl Permanent {
    fn open() -> Self {
        let (listener, queue) = typed_listener();
        let called = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&called);
        let callback = listener.subscribe(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        Self {
            listener,
            queue,
            called,
            callback,
        }
    }

    fn round(&self, round: u64, broadcaster: &Broadcaster<u64>) {
        let fresh = Arc::new(Listener::open(&connection()).unwrap());
        hold_a_handle(round, &fresh);
        thread::scope(|scope| {
            scope.spawn(|| self.come_and_go(&fresh));
            scope.spawn(|| self.come_and_go(&fresh));
            scope.spawn(|| {
                if round.is_multiple_of(3) {
                    fresh.close();
                }
            });
            broadcaster.publish(&round).unwrap();
        });
        drop(fresh);
        assert_eq!(next(&self.queue).payload, round);
    }

    fn come_and_go(&self, fresh: &Listener<u64>) {
        for _ in 0..2 {
            let ids = [
                self.listener.subscribe(|_| {}),
                self.listener.subscribe_inline(|_| {}),
            ];
            let queue = self.listener.queue();
            for id in ids {
                assert!(self.listener.is_subscribed(id));
                assert!(self.listener.unsubscribe(id));
                assert!(!self.listener.unsubscribe(id));
            }
            // What another thread or a callback may be closing.
            let other = fresh.queue();
            let id = fresh.subscribe(|_| {});
            drop(queue);
            drop(other);
            fresh.unsubscribe(id);
        }
    }

    fn is_intact(&self) {
        assert_eq!(self.listener.num_subscriptions(), 2);
        assert!(self.listener.is_subscribed(self.queue.id()));
        assert!(self.listener.is_subscribed(self.callback));
        eventually("the callback ran as often as the queue received", || {
            self.called.load(Ordering::SeqCst) == ROUNDS
        });
        assert_eq!(self.queue.statistics().delivered, ROUNDS);
        assert_eq!(self.listener.statistics().messages_lost(), 0);
    }
}

/// Subscribes a callback that owns a handle of its listener and lets go of it, in
/// one of several ways, when it is called: often it is the last one.
fn hold_a_handle(round: u64, listener: &Arc<Listener<u64>>) {
    let own = Arc::new(OnceLock::new());
    let mut held = Some(Arc::clone(listener));
    let id = Arc::clone(&own);
    let callback = move |_: Message<u64>| match round % 4 {
        0 => drop(held.take()),
        1 => {
            if let Some(listener) = held.take() {
                listener.subscribe(|_| {});
                listener.close();
            }
        }
        // Keeps the handle until it is dropped itself.
        _ => {
            if let (Some(listener), Some(id)) = (&held, id.get()) {
                listener.subscribe_inline(|_| {});
                listener.unsubscribe(*id);
            }
        }
    };
    let id = if round % 8 < 4 {
        listener.subscribe(callback)
    } else {
        listener.subscribe_inline(callback)
    };
    own.set(id).unwrap();
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn unsubscribe_from_another_thread_returns_when_the_callback_has_ended() {
    in_network(|_| {
        let listener = Listener::<u8>::open(&connection()).unwrap();
        let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
        for inline in [false, true] {
            let (entered, has_entered) = mpsc::channel();
            let running = Arc::new(AtomicBool::new(false));
            let runs = Arc::clone(&running);
            let callback = move |_: Message<u8>| {
                runs.store(true, Ordering::SeqCst);
                entered.send(()).unwrap();
                thread::sleep(Duration::from_millis(200));
                runs.store(false, Ordering::SeqCst);
            };
            let id = if inline {
                listener.subscribe_inline(callback)
            } else {
                listener.subscribe(callback)
            };
            for value in 0..5 {
                broadcaster.publish(&value).unwrap();
            }
            has_entered.recv_timeout(PATIENCE).unwrap();
            assert!(listener.unsubscribe(id));
            assert!(!running.load(Ordering::SeqCst), "still running");
            // It is dropped, and so will not run again.
            eventually("the callback is gone", || {
                has_entered.try_recv() == Err(mpsc::TryRecvError::Disconnected)
            });
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_callback_that_unsubscribes_itself_goes_on_to_its_end_and_does_not_run_again() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<u8>();
        let listener = Arc::new(listener);
        let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
        for inline in [false, true] {
            let own = Arc::new(OnceLock::new());
            let (ended, has_ended) = mpsc::channel();
            let (inner, id) = (Arc::downgrade(&listener), Arc::clone(&own));
            let callback = move |message: Message<u8>| {
                let listener = inner.upgrade().unwrap();
                let id = *id.wait();
                let results = (listener.unsubscribe(id), listener.unsubscribe(id));
                assert!(!listener.is_subscribed(id));
                ended.send((message.payload, results)).unwrap();
            };
            let id = if inline {
                listener.subscribe_inline(callback)
            } else {
                listener.subscribe(callback)
            };
            own.set(id).unwrap();
            for value in 0..5 {
                broadcaster.publish(&value).unwrap();
            }
            assert_eq!(payloads(&queue, 5), [0, 1, 2, 3, 4]);
            let all: Vec<_> = has_ended.iter().collect();
            assert_eq!(all, [(0, (true, false))]);
            assert_eq!(listener.num_subscriptions(), 1);
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn two_callbacks_that_unsubscribe_each_other_do_not_wait_for_each_other() {
    in_network(|_| {
        let listener = Arc::new(Listener::<u8>::open(&connection()).unwrap());
        let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
        let both_run = Arc::new(Barrier::new(2));
        let ids = Arc::new(OnceLock::<[SubscriptionId; 2]>::new());
        let (tell_result, results) = mpsc::channel();
        let ending = |other: usize| {
            let (listener, ids) = (Arc::downgrade(&listener), Arc::clone(&ids));
            let (both_run, tell_result) = (Arc::clone(&both_run), tell_result.clone());
            move |_: Message<u8>| {
                both_run.wait();
                let ended = listener.upgrade().unwrap().unsubscribe(ids.wait()[other]);
                tell_result.send(ended).unwrap();
            }
        };
        let (first, second) = (ending(1), ending(0));
        ids.set([listener.subscribe(first), listener.subscribe(second)])
            .unwrap();
        broadcaster.publish(&1).unwrap();
        for _ in 0..2 {
            assert!(results.recv_timeout(PATIENCE).unwrap());
        }
        assert_eq!(listener.num_subscriptions(), 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_callback_subscribes_another_one_that_gets_what_is_published_after() {
    in_network(|_| {
        for inline in [false, true] {
            let (listener, queue) = typed_listener::<u8>();
            let listener = Arc::new(listener);
            let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
            let (outer, from_outer) = mpsc::channel();
            let (inner, from_inner) = mpsc::channel();
            let weak = Arc::downgrade(&listener);
            let callback = move |message: Message<u8>| {
                let inner = inner.clone();
                let own = message.payload;
                weak.upgrade().unwrap().subscribe(move |message| {
                    inner.send((own, message.payload)).unwrap();
                });
                outer.send(()).unwrap();
            };
            if inline {
                listener.subscribe_inline(callback);
            } else {
                listener.subscribe(callback);
            }
            broadcaster.publish(&1).unwrap();
            from_outer.recv_timeout(PATIENCE).unwrap();
            broadcaster.publish(&2).unwrap();
            assert_eq!(from_inner.recv_timeout(PATIENCE).unwrap(), (1, 2));
            from_outer.recv_timeout(PATIENCE).unwrap();
            assert_eq!(listener.num_subscriptions(), 4);
            assert_eq!(payloads(&queue, 2), [1, 2]);
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_panic_in_one_callback_is_counted_and_the_others_run_on() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<u8>();
        let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
        let called = Arc::new(Mutex::new(Vec::new()));
        let failing = |calls: &Arc<Mutex<Vec<u8>>>| {
            let calls = Arc::clone(calls);
            move |message: Message<u8>| {
                calls.lock().unwrap().push(message.payload);
                if message.payload.is_multiple_of(2) {
                    // As `panic!`, without the noise.
                    panic::resume_unwind(Box::new("even"));
                }
            }
        };
        let (inline_called, quiet_called) = (Arc::default(), Arc::new(AtomicU64::new(0)));
        let bad = listener.subscribe(failing(&called));
        let bad_inline = listener.subscribe_inline(failing(&inline_called));
        let count = Arc::clone(&quiet_called);
        let good = listener.subscribe(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        for value in 0..10 {
            broadcaster.publish(&value).unwrap();
        }
        let all: Vec<u8> = (0..10).collect();
        assert_eq!(payloads(&queue, 10), all);
        for (id, panics) in [(bad, 5), (bad_inline, 5), (good, 0)] {
            eventually("its panics are counted", || {
                let of = listener.subscription_statistics(id).unwrap();
                (of.panics, of.delivered) == (panics, 10)
            });
        }
        eventually("all ran to the end", || {
            called.lock().unwrap().len() == 10 && quiet_called.load(Ordering::SeqCst) == 10
        });
        assert_eq!(*called.lock().unwrap(), all);
        assert_eq!(*inline_called.lock().unwrap(), all);
        assert!(listener.close());
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn close_inside_a_callback_ends_everything() {
    in_network(|_| {
        for inline in [false, true] {
            let (listener, queue) = typed_listener::<u8>();
            let listener = Arc::new(listener);
            let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
            let (closed, has_closed) = mpsc::channel();
            let weak = Arc::downgrade(&listener);
            let callback = move |_: Message<u8>| {
                let listener = weak.upgrade().unwrap();
                closed.send((listener.close(), listener.close())).unwrap();
            };
            if inline {
                listener.subscribe_inline(callback);
            } else {
                listener.subscribe(callback);
            }
            broadcaster.publish(&7).unwrap();
            let results = has_closed.recv_timeout(PATIENCE).unwrap();
            assert_eq!(results, (true, false));
            assert!(!listener.is_open());
            assert_eq!(listener.num_subscriptions(), 0);
            assert!(!listener.close());
            assert_eq!(next(&queue).payload, 7);
            assert!(matches!(queue.recv(), Err(RecvError::Closed)));
            // The callback's thread ends without being joined.
            eventually("the callback is gone", || {
                has_closed.try_recv() == Err(mpsc::TryRecvError::Disconnected)
            });
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn close_waits_for_a_running_callback_and_discards_what_is_queued_for_it() {
    in_network(|_| {
        let listener = Listener::<u8>::open(&connection()).unwrap();
        let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
        let (entered, has_entered) = mpsc::channel();
        let ended = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&ended);
        listener.subscribe(move |_| {
            entered.send(()).unwrap();
            thread::sleep(Duration::from_millis(200));
            count.fetch_add(1, Ordering::SeqCst);
        });
        for value in 0..100 {
            broadcaster.publish(&value).unwrap();
        }
        has_entered.recv_timeout(PATIENCE).unwrap();
        assert!(listener.close());
        // Disconnected: the callback is gone, and its thread with it.
        let begun = 1 + has_entered.iter().count() as u64;
        assert_eq!(ended.load(Ordering::SeqCst), begun);
        assert!(begun < 100, "the queue was worked off");
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn close_drop_and_unsubscribe_wake_a_listener_that_waits_for_room() {
    in_network(|_| {
        let end: [fn(Listener<u8>, Queue<u8>); 3] = [
            |listener, queue| {
                assert!(listener.close());
                assert_eq!(queue.recv().unwrap().payload, 0);
                assert!(matches!(queue.recv(), Err(RecvError::Closed)));
            },
            |listener, queue| {
                drop(listener);
                assert_eq!(queue.recv().unwrap().payload, 0);
                assert!(matches!(queue.recv(), Err(RecvError::Closed)));
            },
            |listener, queue| {
                // Another queue stood still meanwhile, and goes on.
                let other = listener.queue();
                assert!(listener.unsubscribe(queue.id()));
                assert_eq!(*payloads(&other, 8).last().unwrap(), 9);
                assert_eq!(queue.recv().unwrap().payload, 0);
                assert!(matches!(queue.recv(), Err(RecvError::Closed)));
            },
        ];
        for end in end {
            let listener = Listener::<u8>::open(&connection()).unwrap();
            let options = QueueOptions::default().with_policy(Policy::Block);
            let queue = listener.queue_with(options.with_max_messages(1));
            let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
            for value in 0..2 {
                broadcaster.publish(&value).unwrap();
            }
            eventually("the queue is full", || {
                let delivered = listener.statistics().wire.messages.delivered;
                queue.len() == 1 && delivered >= 2
            });
            for value in 2..10 {
                broadcaster.publish(&value).unwrap();
            }
            end(listener, queue);
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_is_queued_at_closing_can_be_read_and_then_it_is_closed() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<u8>();
        let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
        for value in 0..5 {
            broadcaster.publish(&value).unwrap();
        }
        eventually("all are queued", || queue.len() == 5);
        drop(listener);
        let read: Vec<u8> = queue.iter().map(|it| it.unwrap().payload).collect();
        assert_eq!(read, [0, 1, 2, 3, 4]);
        assert!(matches!(queue.recv(), Err(RecvError::Closed)));
        assert!(crossbeam_channel::Receiver::recv(queue.ready()).is_err());
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn closing_wakes_a_queue_that_waits() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<u8>();
        let waiting = thread::spawn(move || queue.recv());
        thread::sleep(Duration::from_millis(50));
        listener.close();
        assert!(matches!(waiting.join().unwrap(), Err(RecvError::Closed)));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_subscription_on_a_closed_listener_is_over_from_the_start() {
    in_network(|_| {
        let listener = Listener::<u8>::open(&connection()).unwrap();
        assert!(listener.close());
        let queue = listener.queue();
        assert!(matches!(queue.recv(), Err(RecvError::Closed)));
        let (held, dropped) = mpsc::channel::<()>();
        let other = held.clone();
        let ids = [
            listener.subscribe(move |_| drop(held.clone())),
            listener.subscribe_inline(move |_| drop(other.clone())),
        ];
        for id in ids {
            assert!(!listener.is_subscribed(id));
            assert!(!listener.unsubscribe(id));
            assert_eq!(listener.subscription_statistics(id), None);
        }
        // Both callbacks are dropped, uncalled.
        assert!(dropped.recv_timeout(PATIENCE).is_err());
        assert_eq!(listener.num_subscriptions(), 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn several_threads_close_one_listener_and_one_of_them_is_told_so() {
    in_network(|_| {
        for _ in 0..20 {
            let (listener, queue) = typed_listener::<u8>();
            listener.subscribe(|_| {});
            let together = Barrier::new(4);
            let close = || {
                together.wait();
                listener.close()
            };
            let first: usize = thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(close));
                threads
                    .map(|it| usize::from(it.join().unwrap()))
                    .iter()
                    .sum()
            });
            assert_eq!(first, 1);
            assert!(matches!(queue.recv(), Err(RecvError::Closed)));
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn dropping_a_queue_ends_its_subscription() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<u8>();
        let id = queue.id();
        assert!(listener.is_subscribed(id));
        assert_eq!(listener.num_subscriptions(), 1);
        drop(queue);
        assert!(!listener.is_subscribed(id));
        assert!(!listener.unsubscribe(id));
        assert_eq!(listener.num_subscriptions(), 0);
    });
}

/// A callback that ends its own subscription and then works on for a moment.
fn leaving_slowly(listener: &Arc<Listener<u8>>, ended: &Arc<AtomicBool>, close: bool) {
    let (own, ended) = (Arc::downgrade(listener), Arc::clone(ended));
    let (tell, id) = mpsc::channel();
    let subscription = listener.subscribe(move |_| {
        let listener = own.upgrade().unwrap();
        if close {
            assert!(listener.close());
        } else if let Ok(id) = id.try_recv() {
            assert!(listener.unsubscribe(id));
        }
        drop(listener);
        thread::sleep(Duration::from_millis(500));
        ended.store(true, Ordering::SeqCst);
    });
    tell.send(subscription).unwrap();
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn close_waits_for_a_callback_that_left_or_closed_by_itself() {
    in_network(|_| {
        for close in [false, true] {
            let (listener, _queue) = typed_listener::<u8>();
            let listener = Arc::new(listener);
            let ended = Arc::new(AtomicBool::new(false));
            leaving_slowly(&listener, &ended, close);
            let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
            broadcaster.publish(&1).unwrap();
            eventually("the callback left", || {
                listener.num_subscriptions() < 2 || !listener.is_open()
            });
            assert_eq!(listener.close(), !close);
            assert!(ended.load(Ordering::SeqCst), "it is running still");
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_expiry_without_end_is_no_end_of_the_listener() {
    in_network(|_| {
        let listener = RawListener::builder(&connection());
        let listener = listener.expiry(Duration::MAX).open().unwrap();
        let queue = listener.queue();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        // The pacing lets the listener wait with a message that might expire.
        for _ in 0..20 {
            broadcaster.publish(&[7; 200_000]).unwrap();
            assert_eq!(next(&queue).payload.len(), 200_000);
        }
        assert!(listener.is_open());
    });
}
