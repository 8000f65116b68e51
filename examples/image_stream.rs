//! Images of 6 MB, ten of them, four a second, received as bytes that all who take them share; ends
//! with the account:
//!
//! ```sh
//! cargo run --release --example image_stream
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::thread;
use std::time::{Duration, Instant};

use mcl_udp::{
    BroadcasterStatistics, Connection, Policy, QueueOptions, RawBroadcaster, RawListener,
    RecvTimeoutError,
};

/// 1920 x 1080 pixels of 24 bits.
const IMAGE: usize = 1920 * 1080 * 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connection = Connection::from_env()?;
    let listener = RawListener::builder(&connection).topic("camera").open()?;
    // A viewer wants the latest image: two may wait, the older one gives way.
    let latest = QueueOptions::default()
        .with_max_messages(2)
        .with_policy(Policy::DropOldest);
    let inbox = listener.queue_with(latest);

    let publisher = thread::spawn({
        let connection = connection.clone();
        move || publish(&connection).map_err(|error| error.to_string())
    });
    loop {
        match inbox.recv_timeout(Duration::from_secs(1)) {
            Ok(image) => println!("image {} of {} bytes", image.number, image.payload.len()),
            Err(RecvTimeoutError::Timeout) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let sent = publisher.join().map_err(|_| "the publisher panicked")??;
    let account = listener.statistics();
    println!(
        "published {} images in {} datagrams",
        sent.messages, sent.datagrams
    );
    println!(
        "lost {} images, {} datagrams",
        account.messages_lost(),
        account.datagrams_missing()
    );
    println!(
        "dropped for newer ones: {}",
        inbox.statistics().dropped_oldest
    );
    Ok(())
}

fn publish(connection: &Connection) -> Result<BroadcasterStatistics, Box<dyn std::error::Error>> {
    let broadcaster = RawBroadcaster::builder(connection).topic("camera").open()?;
    let mut image = vec![0; IMAGE];
    for step in 0..10 {
        let begun = Instant::now();
        image.fill(step);
        broadcaster.publish(&image)?;
        thread::sleep(Duration::from_millis(250).saturating_sub(begun.elapsed()));
    }
    Ok(broadcaster.statistics())
}
