//! One MCAP file under way.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;
use mcap::records::MessageHeader;
use mcap::write::{Metadata, NoSeek};
use mcap::{McapError, WriteOptions, Writer};
use mcl_udp::{Encoding, Message, Payload, StreamId, Topic};

use super::error::RecordingError;
use super::format;
use super::sink::Sink;

/// A chunk is complete when it has so many bytes, not compressed.
const CHUNK_BYTES: usize = 4 << 20;

/// And when its first message has waited so long: more is not lost with the process.
const CHUNK_TIME: Duration = Duration::from_secs(1);

/// Channels in a file: MCAP has no room for more than 65,536.
const MAX_CHANNELS: usize = 60_000;

/// How chunks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    None,
    Lz4,
    Zstd,
}

impl Compression {
    fn options(self) -> WriteOptions {
        let (compression, level) = match self {
            Self::None => (None, 0),
            Self::Lz4 => (Some(mcap::Compression::Lz4), 0),
            // The fastest: there is one thread for all of it.
            Self::Zstd => (Some(mcap::Compression::Zstd), 1),
        };
        options()
            .compression(compression)
            .compression_level(level)
            .compression_threads(0)
    }
}

/// What all files have in common. A chunk is put together in memory and written at
/// once, with its length: whatever ends the process, readers find their way to it.
fn options() -> WriteOptions {
    WriteOptions::new()
        .library(concat!("mcl ", env!("CARGO_PKG_VERSION")))
        .chunk_size(None)
        .disable_seeking(true)
        // Each chunk has its own.
        .calculate_data_section_crc(false)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    connection: usize,
    topic: Option<Topic>,
    stream: StreamId,
    encoding: Encoding,
    schema: Option<u64>,
}

#[derive(Debug)]
struct Channel {
    id: u16,
    last_number: u64,
}

/// Messages, and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Volume {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// A chunk under way.
#[derive(Debug)]
struct Chunk {
    begun: Instant,
    size: usize,
    volume: Volume,
}

impl Default for Chunk {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            size: 0,
            volume: Volume::default(),
        }
    }
}

/// Why a file could not be gone on with, and what of it is lost.
#[derive(Debug)]
pub(crate) struct Torn {
    pub(crate) error: RecordingError,
    /// What is in the file, which has so many bytes.
    pub(crate) kept: Volume,
    pub(crate) bytes: u64,
    /// What was in the chunk that is not in the file.
    pub(crate) lost: Volume,
}

/// A file, to which messages are added.
pub(crate) struct Tape {
    writer: Writer<NoSeek<Sink>>,
    pub(crate) path: PathBuf,
    pub(crate) begun: Instant,
    pub(crate) begun_at: SystemTime,
    complete: Rc<Cell<u64>>,
    channels: HashMap<Key, Channel>,
    losses: Option<u16>,
    chunk: Option<Chunk>,
    /// What is in complete chunks.
    kept: Volume,
}

impl Tape {
    pub(crate) fn create(
        path: &Path,
        force: bool,
        compression: Compression,
    ) -> Result<Self, RecordingError> {
        let file = open(path, force)?;
        let sink = Sink::new(file);
        let complete = sink.complete();
        let begin = || {
            let mut writer = compression.options().create(NoSeek::new(sink))?;
            writer.flush()?;
            Ok(writer)
        };
        let writer = begin().map_err(|source| write_error(path, source))?;
        Ok(Self {
            writer,
            path: path.to_owned(),
            begun: Instant::now(),
            begun_at: SystemTime::now(),
            complete,
            channels: HashMap::new(),
            losses: None,
            chunk: None,
            kept: Volume::default(),
        })
    }

    /// Bytes of complete chunks in the file.
    pub(crate) fn len(&self) -> u64 {
        self.complete.get()
    }

    pub(crate) fn kept(&self) -> Volume {
        self.kept
    }

    /// What is in the chunk under way.
    pub(crate) fn unwritten(&self) -> Volume {
        self.chunk
            .as_ref()
            .map(|chunk| chunk.volume)
            .unwrap_or_default()
    }

    /// Adds a message; `false` if there are too many channels to begin another one.
    pub(crate) fn message(
        &mut self,
        (connection, name): (usize, &str),
        message: &Message<Payload>,
    ) -> Result<bool, McapError> {
        let key = Key {
            connection,
            topic: message.topic.clone(),
            stream: message.stream,
            encoding: message.encoding,
            schema: message.schema,
        };
        let full = self.channels.len() >= MAX_CHANNELS;
        let id = match self.channels.get_mut(&key) {
            Some(channel) => {
                channel.last_number = message.number;
                channel.id
            }
            None if full => return Ok(false),
            None => self.begin_channel(key, name, message)?,
        };
        let received = nanos(message.received);
        let header = MessageHeader {
            channel_id: id,
            // The low 32 bits, as documented.
            sequence: message.number as u32,
            log_time: received,
            publish_time: message.published.map_or(received, nanos),
        };
        self.write(&header, &message.payload)?;
        let chunk = self.chunk.get_or_insert_default();
        chunk.volume.add(message.payload.len());
        self.flush_if(chunk_is_full)?;
        Ok(true)
    }

    fn begin_channel(
        &mut self,
        key: Key,
        connection: &str,
        message: &Message<Payload>,
    ) -> Result<u16, McapError> {
        // Foxglove takes JSON with a JSON schema, or with none at all.
        let schema = match message.schema {
            Some(schema) if message.encoding != Encoding::JSON => {
                self.writer
                    .add_schema(&format::schema_name(schema), "", &[])?
            }
            _ => 0,
        };
        // Programs want a name for what has no topic.
        let topic = message.topic.as_deref().unwrap_or(connection);
        let encoding = format::encoding_name(message.encoding);
        let metadata = format::channel_metadata(connection, message);
        let id = self
            .writer
            .add_channel(schema, topic, &encoding, &metadata)?;
        let last_number = message.number;
        self.channels.insert(key, Channel { id, last_number });
        Ok(id)
    }

    /// Adds a message to the channel of the losses.
    pub(crate) fn losses(&mut self, json: &[u8], at: SystemTime) -> Result<(), McapError> {
        let channel_id = match self.losses {
            Some(id) => id,
            None => {
                let data = format::LOSSES_JSON_SCHEMA.as_bytes();
                let schema = self
                    .writer
                    .add_schema(format::LOSSES_SCHEMA, "jsonschema", data)?;
                self.writer
                    .add_channel(schema, format::LOSSES_TOPIC, "json", &BTreeMap::new())?
            }
        };
        self.losses = Some(channel_id);
        let (log_time, publish_time) = (nanos(at), nanos(at));
        let header = MessageHeader {
            channel_id,
            sequence: 0,
            log_time,
            publish_time,
        };
        self.write(&header, json)
    }

    /// The number of the last message of a stream that was added.
    pub(crate) fn last_number(&self, connection: usize, stream: StreamId) -> Option<u64> {
        let of = |(key, channel): (&Key, &Channel)| {
            (key.connection == connection && key.stream == stream).then_some(channel.last_number)
        };
        self.channels.iter().filter_map(of).max()
    }

    fn write(&mut self, header: &MessageHeader, data: &[u8]) -> Result<(), McapError> {
        self.chunk.get_or_insert_default().size += data.len() + 31;
        self.writer.write_to_known_channel(header, data)
    }

    /// Completes a chunk that has become old.
    pub(crate) fn tick(&mut self) -> Result<(), McapError> {
        self.flush_if(|chunk| chunk.begun.elapsed() >= CHUNK_TIME)
    }

    fn flush_if(&mut self, due: impl Fn(&Chunk) -> bool) -> Result<(), McapError> {
        match self.chunk.as_ref().is_some_and(due) {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), McapError> {
        self.writer.flush()?;
        // Not before: what could not be written is not kept.
        if let Some(chunk) = self.chunk.take() {
            self.kept.extend(chunk.volume);
        }
        Ok(())
    }

    /// Completes the file; `account` says of what it holds, and of what it has no
    /// room for, what is written at its end.
    pub(crate) fn finish(
        mut self,
        account: impl Fn(Volume, Option<Volume>) -> Vec<Metadata>,
    ) -> Result<(Volume, u64), Torn> {
        match self.complete_with(&account) {
            Ok(()) => Ok((self.kept, self.complete.get())),
            Err(error) => {
                let account = account(self.kept, Some(self.unwritten()));
                Err(self.tear(error, &account))
            }
        }
    }

    fn complete_with(
        &mut self,
        account: impl Fn(Volume, Option<Volume>) -> Vec<Metadata>,
    ) -> Result<(), McapError> {
        self.flush()?;
        for metadata in &account(self.kept, None) {
            self.writer.write_metadata(metadata)?;
        }
        self.writer.finish().map(|_| ())
    }

    /// Leaves what is complete, and the account after it if there is room.
    pub(crate) fn tear(self, error: McapError, account: &[Metadata]) -> Torn {
        let lost = self.unwritten();
        let tail = tail(account).unwrap_or_default();
        // Without the account the file is as one whose writer was killed.
        let room = self.writer.into_inner().into_inner().cut(&tail);
        Torn {
            error: write_error(&self.path, error),
            kept: self.kept,
            bytes: self.complete.get() + if room { tail.len() as u64 } else { 0 },
            lost,
        }
    }
}

/// The end of a file without a summary, for where there is no room for one.
fn tail(account: &[Metadata]) -> Result<Vec<u8>, McapError> {
    let options = options()
        .use_chunks(false)
        .disable_seeking(false)
        .emit_summary_records(false)
        .emit_summary_offsets(false);
    let begin = || options.clone().create(Cursor::new(Vec::new()));
    let head = begin()?.into_inner().into_inner().len();
    let mut writer = begin()?;
    account
        .iter()
        .try_for_each(|it| writer.write_metadata(it))?;
    writer.finish()?;
    let mut bytes = writer.into_inner().into_inner();
    bytes.drain(..head);
    Ok(bytes)
}

fn chunk_is_full(chunk: &Chunk) -> bool {
    chunk.size >= CHUNK_BYTES
}

fn open(path: &Path, force: bool) -> Result<File, RecordingError> {
    let mut options = OpenOptions::new();
    options.write(true);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    options.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => RecordingError::Exists(path.to_owned()),
        _ => RecordingError::Create {
            path: path.to_owned(),
            source,
        },
    })
}

fn write_error(path: &Path, source: McapError) -> RecordingError {
    RecordingError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Nanoseconds since the Unix epoch, as MCAP counts.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}
