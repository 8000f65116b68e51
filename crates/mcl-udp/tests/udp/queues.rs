//! Bounds and policies, and what the counters say.

use std::time::Duration;

use mcl_udp::{
    Broadcaster, Listener, Payload, Policy, Queue, QueueOptions, RawBroadcaster, RawListener,
    SubscriptionStatistics, TryRecvError,
};

use crate::support::{PATIENCE, connection, eventually, in_network, payloads};

fn bounded(policy: Policy, messages: usize, bytes: usize) -> QueueOptions {
    QueueOptions::default()
        .with_policy(policy)
        .with_max_messages(messages)
        .with_max_bytes(bytes)
}

/// Publishes payloads of these lengths, the first byte of each its position.
fn publish(lens: &[usize]) {
    let broadcaster = RawBroadcaster::open(&connection()).unwrap();
    for (position, len) in lens.iter().enumerate() {
        let mut payload = vec![0; *len];
        payload[0] = u8::try_from(position).unwrap();
        broadcaster.publish(&payload).unwrap();
    }
}

/// Whether each message offered is in one place.
#[track_caller]
fn adds_up(of: &SubscriptionStatistics) {
    assert_eq!(
        of.offered,
        of.delivered + of.dropped_newest + of.discarded,
        "{of:?}"
    );
    let queued = of.queued_messages as u64;
    assert_eq!(
        of.delivered,
        of.taken + of.dropped_oldest + queued,
        "{of:?}"
    );
}

/// Waits until `offered` messages were put in or dropped.
fn settled(queue: &Queue<Payload, mcl_udp::Raw>, offered: u64) -> SubscriptionStatistics {
    eventually("all were offered", || {
        let of = queue.statistics();
        of.delivered + of.dropped_newest == offered
    });
    let of = queue.statistics();
    assert_eq!(of.offered, offered);
    adds_up(&of);
    of
}

/// The first bytes of what is queued; checks that the counters add up before and
/// after.
fn drain(queue: &Queue<Payload, mcl_udp::Raw>) -> Vec<u8> {
    let before = queue.statistics();
    assert_eq!(before.queued_messages, queue.len());
    let queued = before.queued_messages as u64;
    let left: Vec<Payload> = payloads(queue, queue.len());
    assert_eq!(
        before.queued_bytes,
        left.iter().map(|it| it.len()).sum::<usize>()
    );
    let after = queue.statistics();
    assert_eq!((after.queued_messages, after.queued_bytes), (0, 0));
    assert_eq!(after.delivered, before.delivered);
    assert_eq!(after.delivered - after.dropped_oldest, queued);
    assert_eq!(after.taken, before.taken + queued);
    adds_up(&after);
    left.iter().map(|it| it[0]).collect()
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn drop_oldest_keeps_the_latest() {
    in_network(|_| {
        let listener = RawListener::open(&connection()).unwrap();
        let queue = listener.queue_with(bounded(Policy::DropOldest, 3, usize::MAX));
        publish(&[100; 10]);
        let counts = settled(&queue, 10);
        assert_eq!((counts.delivered, counts.dropped_oldest), (10, 7));
        assert_eq!(counts.dropped_newest, 0);
        assert_eq!((counts.queued_messages, counts.queued_bytes), (3, 300));
        assert_eq!(drain(&queue), [7, 8, 9]);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn drop_newest_keeps_the_first() {
    in_network(|_| {
        let listener = RawListener::open(&connection()).unwrap();
        let queue = listener.queue_with(bounded(Policy::DropNewest, 3, usize::MAX));
        publish(&[100; 10]);
        let counts = settled(&queue, 10);
        assert_eq!((counts.delivered, counts.dropped_newest), (3, 7));
        assert_eq!(counts.dropped_oldest, 0);
        assert_eq!(drain(&queue), [0, 1, 2]);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn bytes_are_bounded_as_well() {
    in_network(|_| {
        let listener = RawListener::open(&connection()).unwrap();
        let oldest = listener.queue_with(bounded(Policy::DropOldest, 100, 1000));
        let newest = listener.queue_with(bounded(Policy::DropNewest, 100, 1000));
        publish(&[400, 400, 200, 1, 600, 399]);
        let counts = settled(&oldest, 6);
        assert_eq!((counts.delivered, counts.dropped_oldest), (6, 3));
        assert_eq!(drain(&oldest), [3, 4, 5]);
        // Exactly the bound fits, one byte more does not.
        let counts = settled(&newest, 6);
        assert_eq!((counts.delivered, counts.dropped_newest), (3, 3));
        assert_eq!(drain(&newest), [0, 1, 2]);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_message_above_the_byte_bound_is_taken_while_the_queue_is_empty() {
    in_network(|_| {
        let listener = RawListener::open(&connection()).unwrap();
        let oldest = listener.queue_with(bounded(Policy::DropOldest, 10, 50));
        let newest = listener.queue_with(bounded(Policy::DropNewest, 10, 50));
        publish(&[100_000, 20, 100_000]);
        assert_eq!(settled(&oldest, 3).dropped_oldest, 2);
        assert_eq!(drain(&oldest), [2]);
        assert_eq!(settled(&newest, 3).dropped_newest, 2);
        assert_eq!(drain(&newest), [0]);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn block_loses_nothing_while_the_kernel_has_room() {
    in_network(|_| {
        let listener = Listener::<u32>::open(&connection()).unwrap();
        let queue = listener.queue_with(bounded(Policy::Block, 2, usize::MAX));
        let other = listener.queue();
        let broadcaster = Broadcaster::<u32>::open(&connection()).unwrap();
        for number in 0..50 {
            broadcaster.publish(&number).unwrap();
        }
        eventually("the queue is full", || queue.len() == 2);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(queue.len(), 2);
        assert!(other.len() < 50, "the listener stands still");
        let all: Vec<u32> = (0..50).collect();
        assert_eq!(payloads(&queue, 50), all);
        assert_eq!(payloads(&other, 50), all);
        let counts = queue.statistics();
        assert_eq!((counts.delivered, counts.dropped_oldest), (50, 0));
        assert_eq!(counts.dropped_newest, 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_an_iterator_has_taken_is_not_in_the_queue_and_comes_in_order() {
    in_network(|_| {
        let listener = RawListener::open(&connection()).unwrap();
        let queue = listener.queue_with(bounded(Policy::DropOldest, 4, usize::MAX));
        publish(&[10; 4]);
        settled(&queue, 4);
        let mut messages = queue.iter();
        let mut next = || messages.next().unwrap().unwrap().number;
        assert_eq!(next(), 0);
        // Half of those that waited were taken at once.
        assert_eq!((queue.len(), queue.statistics().queued_messages), (2, 2));
        assert_eq!([(); 3].map(|()| next()), [1, 2, 3]);
        assert_eq!(queue.len(), 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn there_is_a_token_as_long_as_messages_wait() {
    in_network(|_| {
        let listener = RawListener::open(&connection()).unwrap();
        let queue = listener.queue();
        publish(&[10; 3]);
        settled(&queue, 3);
        // Asked for only now, it tells of what waits already.
        for _ in 0..3 {
            queue.ready().recv_timeout(PATIENCE).unwrap();
            queue.try_recv().unwrap();
        }
        assert!(queue.ready().try_recv().is_err());
        publish(&[10; 2]);
        settled(&queue, 5);
        queue.ready().recv_timeout(PATIENCE).unwrap();
        listener.close();
        // What waited can be taken after the channel has ended.
        while queue.ready().recv_timeout(PATIENCE).is_ok() {}
        assert!(queue.try_recv().is_ok() && queue.try_recv().is_ok());
        assert!(matches!(queue.try_recv(), Err(TryRecvError::Closed)));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn each_subscription_has_its_own_bound_and_its_own_account() {
    in_network(|_| {
        let listener = RawListener::open(&connection()).unwrap();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let options = bounded(Policy::DropOldest, 4, usize::MAX);
        let slow = move |_: mcl_udp::Message<Payload>| {
            let _ = held.recv();
        };
        let slow = listener.try_subscribe(options, slow).unwrap();
        let roomy = listener.queue();
        publish(&[1; 20]);
        settled(&roomy, 20);
        assert_eq!(roomy.len(), 20);
        eventually("the callback's account is complete", || {
            let counts = listener.subscription_statistics(slow).unwrap();
            // One or two are in the hands of the callback's thread: half of those
            // that waited, rounded up.
            let held = counts.delivered - counts.dropped_oldest - counts.queued_messages as u64;
            counts.delivered == 20
                && (2..=4).contains(&counts.queued_messages)
                && (1..=2).contains(&held)
        });
        drop(hold);
        eventually("the callback worked off what was left", || {
            listener
                .subscription_statistics(slow)
                .unwrap()
                .queued_messages
                == 0
        });
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_bound_of_no_messages_is_one_message() {
    in_network(|_| {
        let listener = RawListener::open(&connection()).unwrap();
        let queue = listener.queue_with(bounded(Policy::DropOldest, 0, 0));
        publish(&[10; 5]);
        assert_eq!(settled(&queue, 5).dropped_oldest, 4);
        assert_eq!(drain(&queue), [4]);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_a_queue_was_offered_when_it_closed_is_accounted_for() {
    in_network(|_| {
        let listener = Listener::<u32>::open(&connection()).unwrap();
        let queue = listener.queue_with(bounded(Policy::Block, 2, usize::MAX));
        let raw = RawBroadcaster::open(&connection()).unwrap();
        raw.publish(b"no value of type u32").unwrap();
        eventually("it is queued", || queue.len() == 1);
        assert!(matches!(
            queue.try_recv(),
            Err(TryRecvError::Undecodable(_))
        ));
        let of = queue.statistics();
        assert_eq!((of.offered, of.taken, of.undecodable), (1, 1, 1));
        adds_up(&of);

        // One batch: they are handed over together, and the third finds no room.
        let broadcaster = Broadcaster::<u32>::open(&connection()).unwrap();
        broadcaster.publish_batch([1, 2, 3, 4]).unwrap();
        eventually("the queue is full", || queue.len() == 2);
        listener.close();
        let of = queue.statistics();
        assert_eq!((of.offered, of.delivered, of.queued_messages), (5, 3, 2));
        assert_eq!(of.discarded, 2);
        adds_up(&of);
        assert_eq!(payloads(&queue, 2), [1, 2]);
        adds_up(&queue.statistics());
    });
}
