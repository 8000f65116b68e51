//! Point clouds of 2.4 MB, ten of them, whose numbers travel as the bytes that they
//! are in memory: a plain `Vec<f32>` is taken apart and put together number by
//! number, which takes many times as long. Ends with how long this took:
//!
//! ```sh
//! cargo run --release --example point_cloud
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use mcl_udp::{Bincode, Broadcaster, Codec, CodecError, Connection, Listener, RecvTimeoutError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const POINTS: usize = 150_000;

/// One turn of a laser scanner.
#[derive(Debug, Serialize, Deserialize)]
struct PointCloud {
    turn: u32,
    frame: String,
    /// x, y, z in metres.
    #[serde(with = "as_bytes")]
    points: Vec<[f32; 3]>,
    /// How much light came back, for each point.
    #[serde(with = "as_bytes")]
    intensities: Vec<f32>,
}

/// For fields that are vectors of plain numbers, or of arrays of them. No `unsafe` is
/// needed on this side of `bytemuck`, whose trait `Pod` says for which types any bytes
/// are a value.
mod as_bytes {
    use std::borrow::Cow;

    use bytemuck::Pod;
    use serde::de::{Deserializer, Error};
    use serde::ser::Serializer;

    // The bytes go as they are in memory. Machines of both kinds in one system need
    // `from_le_bytes` and `to_le_bytes` on those that are the other way round.
    const _: () = assert!(cfg!(target_endian = "little"));

    pub(super) fn serialize<T: Pod, S: Serializer>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytemuck::cast_slice(values))
    }

    pub(super) fn deserialize<'de, T: Pod, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        // The bytes are nowhere aligned for numbers: they are copied once, all together.
        let bytes: Cow<'de, [u8]> = serde_bytes::deserialize(from)?;
        if !bytes.len().is_multiple_of(size_of::<T>()) {
            return Err(Error::invalid_length(
                bytes.len(),
                &"a whole number of values",
            ));
        }
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connection = Connection::from_env()?;
    let listener = Listener::<PointCloud>::builder(&connection)
        .topic("lidar")
        .open()?;
    let inbox = listener.queue();
    let broadcaster = Broadcaster::<PointCloud>::builder(&connection)
        .topic("lidar")
        .open()?;
    let publisher = thread::spawn(move || -> Result<(), mcl_udp::PublishError> {
        for turn in 0..10 {
            broadcaster.publish(&scan(turn))?;
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    });
    loop {
        match inbox.recv_timeout(Duration::from_secs(1)) {
            Ok(message) => show(&message.payload),
            Err(RecvTimeoutError::Timeout) => break,
            Err(error) => return Err(error.into()),
        }
    }
    publisher.join().map_err(|_| "the publisher panicked")??;
    compare(&scan(10))
}

fn show(cloud: &PointCloud) {
    let (number, last) = (cloud.points.len(), cloud.points.last());
    println!(
        "turn {} of {}: {number} points, the last at {last:?}",
        cloud.turn, cloud.frame
    );
}

fn scan(turn: u32) -> PointCloud {
    let angle = |at: usize| at as f32 * (std::f32::consts::TAU / POINTS as f32);
    let distance = 10.0 + turn as f32;
    let point = |at| [distance * angle(at).cos(), distance * angle(at).sin(), 0.5];
    PointCloud {
        turn,
        frame: "lidar/front".to_owned(),
        points: (0..POINTS).map(point).collect(),
        intensities: (0..POINTS).map(|at| at as f32 / POINTS as f32).collect(),
    }
}

/// Shows how long the default codec takes for the numbers of a cloud, in one piece and
/// one by one.
fn compare(cloud: &PointCloud) -> Result<(), Box<dyn std::error::Error>> {
    let in_one_piece = fastest(cloud)?;
    let one_by_one = fastest(&(cloud.points.clone(), cloud.intensities.clone()))?;
    println!("to encode and decode: {in_one_piece:?} in one piece, {one_by_one:?} one by one");
    Ok(())
}

/// The shortest of ten ways there and back.
fn fastest<T: Serialize + DeserializeOwned>(value: &T) -> Result<Duration, CodecError> {
    let (mut encoded, mut shortest) = (Vec::new(), Duration::MAX);
    for _ in 0..10 {
        encoded.clear();
        let begun = Instant::now();
        Bincode.encode(value, &mut encoded)?;
        black_box(Bincode.decode::<T>(&encoded)?);
        shortest = shortest.min(begun.elapsed());
    }
    Ok(shortest)
}
