//! Another serializer: JSON instead of bincode, readable by anything:
//!
//! ```sh
//! cargo run --example custom_codec
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use mcl_udp::{Broadcaster, Codec, CodecError, Connection, Encoding, Listener};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[derive(Clone, Copy, Debug, Default)]
struct Json;

impl Codec for Json {
    fn encoding(&self) -> Encoding {
        Encoding::JSON
    }

    fn encode<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        serde_json::to_writer(out, value).map_err(CodecError::new)
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(CodecError::new)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connection = Connection::from_env()?;
    let listener = Listener::<(String, u32), Json>::open(&connection)?;
    let bincode_listener = Listener::<(String, u32)>::open(&connection)?;
    let (inbox, other) = (listener.queue(), bincode_listener.queue());

    let broadcaster = Broadcaster::<(String, u32), Json>::open(&connection)?;
    broadcaster.publish(&("answer".to_owned(), 42))?;

    println!("{:?}", inbox.recv()?.payload);
    if let Err(error) = other.recv() {
        println!("the listener with the default codec: {error}");
    }
    Ok(())
}
