//! What a megabyte costs to encode and to decode, by type and codec, and how many
//! are delivered over a real socket, in a private network namespace, which it makes
//! itself:
//!
//! ```sh
//! cargo bench -p mcl-benches --bench typed
//! ```
#![allow(missing_docs, reason = "the macros of criterion make public items")]

mod settings;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use mcl_benches::namespace::{self, End, pin};
use mcl_benches::ratio::{self, Pairs, row};
use mcl_udp::{
    Bincode, Broadcaster, CodecError, Connection, Decoder, Encoder, Encoding, Pacing, Payload,
    PullListener, Raw,
};
use serde::{Deserialize, Serialize};
use zerocopy::little_endian::F32;
use zerocopy::{FromBytes, IntoBytes};

const BYTES: usize = 1 << 20;
const FLOATS: usize = BYTES / 4;

/// What comes with a message of a megabyte.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Header {
    time: u64,
    frame: String,
}

/// Bytes as the serializer is told to see them: one by one.
#[derive(Debug, Serialize, Deserialize)]
struct Plain {
    header: Header,
    data: Vec<u8>,
}

/// Bytes in one piece.
#[derive(Debug, Serialize, Deserialize)]
struct InOnePiece {
    header: Header,
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
}

/// Floats one by one.
#[derive(Debug, Serialize, Deserialize)]
struct Floats {
    header: Header,
    data: Vec<f32>,
}

/// Floats as the bytes that they are in memory.
#[derive(Debug, Serialize, Deserialize)]
struct FloatsInOnePiece {
    header: Header,
    #[serde(with = "as_bytes")]
    data: Vec<f32>,
}

mod as_bytes {
    use std::borrow::Cow;

    use serde::de::{Deserializer, Error};
    use serde::ser::Serializer;

    const _: () = assert!(cfg!(target_endian = "little"));

    pub(super) fn serialize<S: Serializer>(data: &[f32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytemuck::cast_slice(data))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
        let bytes: Cow<'de, [u8]> = serde_bytes::deserialize(from)?;
        super::check_len(&bytes).map_err(Error::custom)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }
}

fn check_len(bytes: &[u8]) -> Result<(), CodecError> {
    match bytes.len() % size_of::<f32>() {
        0 => Ok(()),
        _ => Err(CodecError::new("not a whole number of floats")),
    }
}

/// An encoding of one's own: 32-bit floats, little-endian, nothing else.
const F32_LE: Encoding = Encoding(200);

/// Floats without serde, cast by bytemuck: no copy to encode, one to decode.
#[derive(Default)]
struct Cast;

impl Encoder<[f32]> for Cast {
    fn encoding(&self) -> Encoding {
        F32_LE
    }

    fn encode<'a>(&self, value: &'a [f32], _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(bytemuck::cast_slice(value))
    }
}

impl Decoder<Vec<f32>> for Cast {
    fn accepts(&self, encoding: Encoding) -> bool {
        encoding == F32_LE
    }

    fn expected(&self) -> Option<Encoding> {
        Some(F32_LE)
    }

    fn decode(&self, payload: &Payload) -> Result<Vec<f32>, CodecError> {
        check_len(payload)?;
        Ok(bytemuck::pod_collect_to_vec(payload))
    }
}

/// Floats with the standard library alone: a copy each way.
#[derive(Default)]
struct Std;

impl Encoder<[f32]> for Std {
    fn encoding(&self) -> Encoding {
        F32_LE
    }

    fn encode<'a>(
        &self,
        value: &'a [f32],
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], CodecError> {
        scratch.resize(size_of_val(value), 0);
        for (bytes, float) in scratch.as_chunks_mut().0.iter_mut().zip(value) {
            *bytes = float.to_le_bytes();
        }
        Ok(scratch)
    }
}

impl Decoder<Vec<f32>> for Std {
    fn accepts(&self, encoding: Encoding) -> bool {
        encoding == F32_LE
    }

    fn expected(&self) -> Option<Encoding> {
        Some(F32_LE)
    }

    fn decode(&self, payload: &Payload) -> Result<Vec<f32>, CodecError> {
        let (floats, rest) = payload.as_chunks();
        if !rest.is_empty() {
            return Err(CodecError::new("not a whole number of floats"));
        }
        Ok(floats
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect())
    }
}

/// Floats seen by zerocopy where they were received: no copy either way.
#[derive(Default)]
struct InPlace;

/// Received bytes that are floats.
struct View(Payload);

impl View {
    fn floats(&self) -> &[F32] {
        <[F32]>::ref_from_bytes(&self.0).expect("the length was checked")
    }
}

impl Encoder<[f32]> for InPlace {
    fn encoding(&self) -> Encoding {
        F32_LE
    }

    fn encode<'a>(&self, value: &'a [f32], _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(value.as_bytes())
    }
}

impl Decoder<View> for InPlace {
    fn accepts(&self, encoding: Encoding) -> bool {
        encoding == F32_LE
    }

    fn expected(&self) -> Option<Encoding> {
        Some(F32_LE)
    }

    fn decode(&self, payload: &Payload) -> Result<View, CodecError> {
        check_len(payload)?;
        Ok(View(payload.clone()))
    }
}

fn header() -> Header {
    Header {
        time: 1_700_000_000_000_000_000,
        frame: "lidar/front".to_owned(),
    }
}

/// Floats of which no two bytes are alike.
fn floats() -> Vec<f32> {
    (0..FLOATS).map(|it| it as f32 * 0.37 - 1000.0).collect()
}

fn bytes() -> Vec<u8> {
    floats().as_bytes().to_vec()
}

/// Times `codec` there and back.
fn there_and_back<T, V: ?Sized, C>(criterion: &mut Criterion, name: &str, codec: C, value: &V)
where
    C: Encoder<V> + Decoder<T>,
{
    let mut group = criterion.benchmark_group("1 MiB");
    group.throughput(Throughput::Bytes(BYTES as u64));
    let mut scratch = Vec::new();
    group.bench_function(BenchmarkId::new("encode", name), |bencher| {
        bencher.iter(|| {
            let encoded = Encoder::encode(&codec, black_box(value), &mut scratch);
            encoded.expect("it has a form").len()
        });
    });
    let encoded = Encoder::encode(&codec, value, &mut scratch).expect("it has a form");
    let payload = Payload::from(encoded.to_vec());
    group.bench_function(BenchmarkId::new("decode", name), |bencher| {
        bencher.iter(|| Decoder::<T>::decode(&codec, black_box(&payload)).expect("decodable"));
    });
}

fn codecs(criterion: &mut Criterion) {
    let (header, data, of_floats) = (header(), bytes(), floats());
    there_and_back::<Payload, [u8], _>(criterion, "raw bytes", Raw, &data);
    let value = InOnePiece {
        header: header.clone(),
        data: data.clone(),
    };
    there_and_back::<InOnePiece, _, _>(criterion, "Vec<u8> by serde_bytes", Bincode, &value);
    let value = Plain {
        header: header.clone(),
        data,
    };
    there_and_back::<Plain, _, _>(criterion, "Vec<u8>", Bincode, &value);
    let value = Floats {
        header: header.clone(),
        data: of_floats.clone(),
    };
    there_and_back::<Floats, _, _>(criterion, "Vec<f32>", Bincode, &value);
    let value = FloatsInOnePiece {
        header,
        data: of_floats.clone(),
    };
    let name = "Vec<f32> as bytes";
    there_and_back::<FloatsInOnePiece, _, _>(criterion, name, Bincode, &value);
    let floats = of_floats.as_slice();
    there_and_back::<Vec<f32>, _, _>(criterion, "floats by std", Std, floats);
    there_and_back::<Vec<f32>, _, _>(criterion, "floats by bytemuck", Cast, floats);
    there_and_back::<View, _, _>(criterion, "floats by zerocopy in place", InPlace, floats);
    sums(criterion, floats);
}

/// What it costs to read floats that were left where they are: nothing more.
fn sums(criterion: &mut Criterion, floats: &[f32]) {
    let mut group = criterion.benchmark_group("sum of 1 MiB");
    group.throughput(Throughput::Bytes(BYTES as u64));
    // As a message has them: not at a multiple of four.
    let payload = Payload::from([&[0; 3], floats.as_bytes()].concat()).slice(3..);
    let view = InPlace.decode(&payload).expect("floats");
    group.bench_function("&[F32] in place", |bencher| {
        bencher.iter(|| {
            black_box(&view)
                .floats()
                .iter()
                .map(|it| it.get())
                .sum::<f32>()
        });
    });
    group.bench_function("&[f32]", |bencher| {
        bencher.iter(|| black_box(floats).iter().sum::<f32>());
    });
}

/// What became of the messages of a run.
#[derive(Clone, Copy, Debug, Default)]
struct Delivery {
    /// Messages a second, from the first to the last.
    rate: f64,
    /// The share of what was published that was lost.
    lost: f64,
}

/// Publishes `value` for a while on another processor than it is received on.
fn delivered<T, V, C>(value: &V, pacing: Pacing, time: Duration) -> Delivery
where
    T: 'static,
    V: Sync + ?Sized,
    C: Encoder<V> + Decoder<T> + Default,
{
    let connection = Connection::new("ff15::6d63:6c").expect("a group");
    let mut listener = PullListener::<T, C>::open(&connection).expect("a listener");
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            pin(End::Far);
            let builder = Broadcaster::<V, C>::builder(&connection).pacing(pacing);
            let broadcaster = builder.open().expect("a broadcaster");
            let until = Instant::now() + time;
            while Instant::now() < until {
                broadcaster.publish(value).expect("sent");
            }
            ended.store(true, Ordering::Release);
            broadcaster.statistics().messages
        });
        let (mut first, mut last, mut received) = (None, Instant::now(), 0_u64);
        loop {
            let was_over = ended.load(Ordering::Acquire);
            match listener
                .recv_timeout(Duration::from_millis(50))
                .expect("it decodes")
            {
                Some(message) => {
                    black_box(message.payload);
                    last = Instant::now();
                    first.get_or_insert(last);
                    received += 1;
                }
                None if was_over => break,
                None => {}
            }
        }
        let published = publisher.join().expect("it did not panic");
        let elapsed = last
            .duration_since(first.expect("something came"))
            .as_secs_f64();
        Delivery {
            rate: (received - 1) as f64 / elapsed,
            lost: 1.0 - received as f64 / published as f64,
        }
    })
}

/// A type and a codec, end to end.
type Run<'a> = &'a dyn Fn(Pacing, Duration) -> Delivery;

/// How many messages are delivered with and without serialization, in alternating
/// runs.
fn end_to_end() {
    if !ratio::wanted("end to end") {
        return;
    }
    let (header, data, of_floats) = (header(), bytes(), floats());
    let in_one_piece = InOnePiece {
        header: header.clone(),
        data: data.clone(),
    };
    let plain = Plain {
        header: header.clone(),
        data: data.clone(),
    };
    let one_by_one = Floats {
        header: header.clone(),
        data: of_floats.clone(),
    };
    let as_bytes = FloatsInOnePiece {
        header,
        data: of_floats.clone(),
    };
    let (data, floats) = (data.as_slice(), of_floats.as_slice());

    let raw: Run<'_> = &|pacing, time| delivered::<Payload, [u8], Raw>(data, pacing, time);
    let contenders: [(&str, Run<'_>); 7] = [
        ("Vec<u8> by serde_bytes", &|pacing, time| {
            delivered::<InOnePiece, _, Bincode>(&in_one_piece, pacing, time)
        }),
        ("Vec<u8>", &|pacing, time| {
            delivered::<Plain, _, Bincode>(&plain, pacing, time)
        }),
        ("Vec<f32>", &|pacing, time| {
            delivered::<Floats, _, Bincode>(&one_by_one, pacing, time)
        }),
        ("Vec<f32> as bytes", &|pacing, time| {
            delivered::<FloatsInOnePiece, _, Bincode>(&as_bytes, pacing, time)
        }),
        ("floats by std", &|pacing, time| {
            delivered::<Vec<f32>, _, Std>(floats, pacing, time)
        }),
        ("floats by bytemuck", &|pacing, time| {
            delivered::<Vec<f32>, _, Cast>(floats, pacing, time)
        }),
        ("floats by zerocopy in place", &|pacing, time| {
            delivered::<View, _, InPlace>(floats, pacing, time)
        }),
    ];
    row(&[
        &"1 MiB messages",
        &"pacing",
        &"raw bytes /s (lost)",
        &"these /s (lost)",
        &"raw bytes in these (all pairs)",
    ]);
    row(&[&"---", &"---", &"---", &"---", &"---"]);
    let pacings = [
        ("none", Pacing::None, 9, Duration::from_millis(300)),
        ("default", Pacing::Auto, 3, Duration::from_millis(500)),
    ];
    for (pacing_name, pacing, pairs, time) in pacings {
        for (name, contender) in contenders {
            let mut lost = (0.0, 0.0);
            let pairs = Pairs::of(pairs, |_| {
                let (raw, contender) = (raw(pacing, time), contender(pacing, time));
                lost.0 += raw.lost / pairs as f64 * 100.0;
                lost.1 += contender.lost / pairs as f64 * 100.0;
                (raw.rate, contender.rate)
            });
            row(&[
                &name,
                &pacing_name,
                &format_args!("{:.0} ({:.0} %)", pairs.dividend(), lost.0),
                &format_args!("{:.0} ({:.0} %)", pairs.divisor(), lost.1),
                &pairs,
            ]);
        }
    }
}

fn main() -> ExitCode {
    namespace::run(|| {
        let mut criterion = settings::criterion().configure_from_args();
        codecs(&mut criterion);
        criterion.final_summary();
        end_to_end();
    })
}
