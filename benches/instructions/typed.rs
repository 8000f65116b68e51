//! Values as payloads, by the default codec.

use std::fmt::Debug;
use std::hint::black_box;

use mcl_udp::{Bincode, Decoder, Encoder, Payload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Benchmark, LARGE, MESSAGE, Work, repeat};

pub(crate) fn benchmarks() -> Vec<Benchmark> {
    vec![
        Benchmark::new("bincode-encode-pose", MESSAGE, 256, 1, |_| encode(pose())),
        Benchmark::new("bincode-decode-pose", MESSAGE, 256, 1, |_| decode(&pose())),
        Benchmark::new("bincode-encode-64-kib", MESSAGE, 16, 1, |_| encode(image())),
        Benchmark::new(
            "bincode-decode-64-kib",
            MESSAGE,
            16,
            1,
            |_| decode(&image()),
        ),
    ]
}

/// A small value, as robots exchange many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pose {
    time: u64,
    frame: String,
    position: [f64; 3],
    orientation: [f64; 4],
    covariance: Option<Vec<f32>>,
}

fn pose() -> Pose {
    Pose {
        time: 1_700_000_000_000_000_000,
        frame: "base_link".to_owned(),
        position: [47.4, 8.5, 0.2],
        orientation: [0.0, 0.0, 0.1, 0.99],
        covariance: Some(vec![0.1; 6]),
    }
}

/// A large one, whose bytes go in one piece.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Image {
    time: u64,
    width: u32,
    #[serde(with = "serde_bytes")]
    pixels: Vec<u8>,
}

fn image() -> Image {
    Image {
        time: 1_700_000_000_000_000_000,
        width: 256,
        pixels: vec![7; LARGE],
    }
}

fn encode<T: Serialize + Send + Sync + 'static>(value: T) -> Box<dyn Work> {
    let mut scratch = Vec::new();
    repeat(move |_| {
        let encoded = Encoder::encode(&Bincode, black_box(&value), &mut scratch);
        u64::from(black_box(encoded).is_ok())
    })
}

fn decode<T>(value: &T) -> Box<dyn Work>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    let mut scratch = Vec::new();
    let encoded = Encoder::encode(&Bincode, value, &mut scratch).expect("it has a form");
    let payload = Payload::from(encoded.to_vec());
    let decoded: T = Decoder::decode(&Bincode, &payload).expect("it was encoded");
    assert_eq!(decoded, *value);
    repeat(move |_| {
        let decoded = Decoder::<T>::decode(&Bincode, black_box(&payload));
        u64::from(black_box(decoded).is_ok())
    })
}
