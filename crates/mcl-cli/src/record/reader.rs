//! MCAP files from beginning to end, whether or not they are whole.
//!
//! Files of other programs are read too. What a file claims is checked against the bytes
//! that are there before memory is taken for it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcap::records::{MessageHeader, Metadata, Record, Statistics, op};
use mcap::{MAGIC, parse_record};
use mcl_udp::Payload;

use super::error::RecordingError;
use super::unpack::{LONGEST, split, unpack};

/// Opcode and length, before each record.
const PREFIX: u64 = 9;

/// The footer and the magic at the end.
const END: u64 = PREFIX + 20 + 8;

/// The longest summary that is read; with it, some hundreds of terabytes have their index.
const LONGEST_SUMMARY: u64 = 1 << 30;

const BUFFER: usize = 256 << 10;

/// A channel of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(crate) topic: String,
    pub(crate) encoding: String,
    pub(crate) schema: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Channel {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }
}

/// What of a file is of interest.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Message {
        channel: Arc<Channel>,
        header: MessageHeader,
        data: Payload,
    },
    Metadata(Metadata),
}

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// As it should.
    Complete,
    /// In the middle, or without an end: its writer was killed, or had no more room.
    Truncated,
}

/// What the end of a file says of the rest.
#[derive(Clone, Debug, Default)]
struct Summary {
    channels: HashMap<u16, Arc<Channel>>,
    statistics: Option<Statistics>,
}

/// Records of a chunk which are not yet read.
#[derive(Debug)]
struct Chunk {
    records: Payload,
    at: usize,
}

#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    /// Bytes of the file, and how far they are read.
    len: u64,
    at: u64,
    chunk: Option<Chunk>,
    schemas: HashMap<u16, String>,
    channels: HashMap<u16, Arc<Channel>>,
    /// What is before or after is left out, if the file says where that is.
    window: RangeInclusive<u64>,
    /// Whether all channels are known from the beginning, so that chunks may be passed over.
    indexed: bool,
    pub(crate) statistics: Option<Statistics>,
    /// `None` until its end.
    pub(crate) tail: Option<Tail>,
    pub(crate) compression: Option<String>,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, RecordingError> {
        let failed = |source| RecordingError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let summary = summary(&mut file, len).unwrap_or_default();
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut reader = Self {
            path: path.to_owned(),
            input: BufReader::with_capacity(BUFFER, file),
            len,
            at: 0,
            chunk: None,
            schemas: HashMap::new(),
            indexed: !summary.channels.is_empty(),
            channels: summary.channels,
            window: 0..=u64::MAX,
            statistics: summary.statistics,
            tail: None,
            compression: None,
        };
        let magic = reader.read(MAGIC.len() as u64).map_err(failed)?;
        match magic.as_deref() == Some(MAGIC) {
            true => Ok(reader),
            false => Err(RecordingError::NotMcap(path.to_owned())),
        }
    }

    /// Passes over what was received at other times, as far as the file says where that
    /// is: some of it may still come.
    pub(crate) fn within(mut self, window: RangeInclusive<u64>) -> Self {
        self.window = window;
        self
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The channels that are known so far; from the beginning if the file is whole.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.channels.values()
    }

    /// The next message or metadata record, `None` at the end.
    ///
    /// After [`RecordingError::Damaged`] what comes after it can be read.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, RecordingError> {
        while self.tail.is_none() {
            let entry = match self.chunk.take() {
                Some(chunk) => self.in_chunk(chunk)?,
                None => self.in_file()?,
            };
            if entry.is_some() {
                return Ok(entry);
            }
        }
        Ok(None)
    }

    fn in_chunk(&mut self, mut chunk: Chunk) -> Result<Option<Entry>, RecordingError> {
        if chunk.at == chunk.records.len() {
            return Ok(None);
        }
        let Some((opcode, range)) = split(&chunk.records, chunk.at) else {
            return Err(self.damaged("a record reaches beyond its chunk"));
        };
        chunk.at = range.end;
        let records = chunk.records.clone();
        self.chunk = Some(chunk);
        self.record(opcode, &records, range)
    }

    fn in_file(&mut self) -> Result<Option<Entry>, RecordingError> {
        let Some((opcode, len)) = self.prefix()? else {
            self.tail = Some(Tail::Truncated);
            return Ok(None);
        };
        if len > LONGEST {
            self.tail = Some(Tail::Truncated);
            return Err(self.damaged(format!("a record claims to have {len} bytes")));
        }
        match opcode {
            op::DATA_END => self.tail = Some(self.look_at_end()),
            op::CHUNK => return self.begin_chunk(len),
            op::SCHEMA | op::CHANNEL | op::MESSAGE | op::METADATA => {
                let content = Payload::from(self.content(len)?);
                let range = 0..content.len();
                return self.record(opcode, &content, range);
            }
            _ => self.skip(len)?,
        }
        Ok(None)
    }

    /// Opcode and length of the next record, if it is all there.
    fn prefix(&mut self) -> Result<Option<(u8, u64)>, RecordingError> {
        let prefix = self.read(PREFIX).map_err(|source| self.failed(source))?;
        let Some((&opcode, len)) = prefix.as_deref().and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let len = <[u8; 8]>::try_from(len).map_or(u64::MAX, u64::from_le_bytes);
        // Where the length itself is wrong, it is damaged: that is for the caller to say.
        let is_there = len <= self.len - self.at || len > LONGEST;
        Ok(is_there.then_some((opcode, len)))
    }

    fn begin_chunk(&mut self, len: u64) -> Result<Option<Entry>, RecordingError> {
        let begun = self.at;
        if self.is_outside(len)? {
            self.skip(len)?;
            return Ok(None);
        }
        let content = self.content(len)?;
        let unpacked = match parse_record(op::CHUNK, &content) {
            Ok(Record::Chunk { header, data }) => {
                let unpacked = unpack(&header, &data);
                self.compression = Some(header.compression);
                unpacked
            }
            Ok(_) => Err("not a chunk".into()),
            Err(error) => Err(error.to_string()),
        };
        let unpacked = unpacked.map_err(|what| self.damaged_at(begun, what))?;
        self.chunk = Some(Chunk {
            records: unpacked.into(),
            at: 0,
        });
        Ok(None)
    }

    /// Whether a chunk, of which nothing is read yet, has no message within the window.
    fn is_outside(&mut self, len: u64) -> Result<bool, RecordingError> {
        if !self.indexed || self.window == (0..=u64::MAX) || len < 16 {
            return Ok(false);
        }
        let times = self.content(16)?;
        self.input
            .seek_relative(-16)
            .map_err(|source| self.failed(source))?;
        self.at -= 16;
        let time = |range: Range<usize>| {
            let bytes = times.get(range).and_then(|it| it.try_into().ok());
            bytes.map_or(0, u64::from_le_bytes)
        };
        Ok(time(0..8) > *self.window.end() || time(8..16) < *self.window.start())
    }

    fn record(
        &mut self,
        opcode: u8,
        content: &Payload,
        range: Range<usize>,
    ) -> Result<Option<Entry>, RecordingError> {
        if !matches!(
            opcode,
            op::SCHEMA | op::CHANNEL | op::MESSAGE | op::METADATA
        ) {
            return Ok(None);
        }
        let parsed = parse_record(opcode, &content[range.clone()]);
        Ok(match parsed.map_err(|error| self.damaged(error))? {
            Record::Schema { header, .. } => {
                self.schemas.insert(header.id, header.name);
                None
            }
            Record::Channel(channel) => {
                let schema = self.schemas.get(&channel.schema_id).cloned();
                let known = Arc::new(known(&channel, schema));
                self.channels.entry(channel.id).or_insert(known);
                None
            }
            Record::Message { header, data } => {
                let channel = self.channels.get(&header.channel_id).cloned();
                let channel = channel.ok_or_else(|| self.damaged("a message has no channel"))?;
                let data = content.slice(range.end - data.len()..range.end);
                Some(Entry::Message {
                    channel,
                    header,
                    data,
                })
            }
            Record::Metadata(metadata) => Some(Entry::Metadata(metadata)),
            _ => None,
        })
    }

    /// Whether what follows the last record of data is a footer and nothing more.
    fn look_at_end(&mut self) -> Tail {
        let mut end = Vec::new();
        let at = self.len.saturating_sub(END).max(self.at);
        let read = self.input.seek(SeekFrom::Start(at));
        let read = read.and_then(|_| self.input.by_ref().take(END).read_to_end(&mut end));
        match read.is_ok() && end.first() == Some(&op::FOOTER) && end.ends_with(MAGIC) {
            true => Tail::Complete,
            false => Tail::Truncated,
        }
    }

    /// So many bytes; `None` if there are not as many.
    fn read(&mut self, len: u64) -> io::Result<Option<Vec<u8>>> {
        if len > self.len - self.at {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
        let read = self.input.by_ref().take(len).read_to_end(&mut bytes)? as u64;
        self.at += read;
        Ok((read == len).then_some(bytes))
    }

    fn content(&mut self, len: u64) -> Result<Vec<u8>, RecordingError> {
        let content = self.read(len).map_err(|source| self.failed(source))?;
        content.ok_or_else(|| {
            self.tail = Some(Tail::Truncated);
            self.damaged("it became shorter while it was read")
        })
    }

    fn skip(&mut self, len: u64) -> Result<(), RecordingError> {
        let offset = i64::try_from(len).unwrap_or(i64::MAX);
        let skipped = self.input.seek_relative(offset);
        self.at += len;
        skipped.map_err(|source| self.failed(source))
    }

    fn failed(&mut self, source: io::Error) -> RecordingError {
        self.tail = Some(Tail::Truncated);
        RecordingError::Read {
            path: self.path.clone(),
            source,
        }
    }

    fn damaged(&self, what: impl ToString) -> RecordingError {
        self.damaged_at(self.at, what)
    }

    fn damaged_at(&self, at: u64, what: impl ToString) -> RecordingError {
        RecordingError::Damaged {
            path: self.path.clone(),
            at,
            what: what.to_string(),
        }
    }
}

fn known(channel: &mcap::records::Channel, schema: Option<String>) -> Channel {
    Channel {
        topic: channel.topic.clone(),
        encoding: channel.message_encoding.clone(),
        schema: schema.unwrap_or_default(),
        metadata: channel.metadata.clone(),
    }
}

/// What the end of a file says, if it has one that can be read.
fn summary(file: &mut File, len: u64) -> Option<Summary> {
    let at = len.checked_sub(END)?;
    let end = part(file, at..len)?;
    let start = end.get(9..17)?.try_into().map(u64::from_le_bytes).ok()?;
    if end.first() != Some(&op::FOOTER) || !end.ends_with(MAGIC) || !(1..at).contains(&start) {
        return None;
    }
    if at - start > LONGEST_SUMMARY {
        return None;
    }
    let records = part(file, start..at)?;
    let (mut summary, mut schemas, mut at) = (Summary::default(), HashMap::new(), 0);
    while let Some((opcode, range)) = split(&records, at) {
        at = range.end;
        if !matches!(opcode, op::SCHEMA | op::CHANNEL | op::STATISTICS) {
            continue;
        }
        match parse_record(opcode, &records[range]).ok()? {
            Record::Schema { header, .. } => _ = schemas.insert(header.id, header.name),
            Record::Channel(channel) => {
                let schema = schemas.get(&channel.schema_id).cloned();
                let known = Arc::new(known(&channel, schema));
                summary.channels.insert(channel.id, known);
            }
            Record::Statistics(statistics) => summary.statistics = Some(statistics),
            _ => {}
        }
    }
    Some(summary)
}

fn part(file: &mut File, range: Range<u64>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(range.start)).ok()?;
    let len = range.end - range.start;
    file.take(len).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == len).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use mcap::{Compression, WriteOptions};

    use super::*;

    const MESSAGES: u64 = 12;

    /// A file with four chunks, and one with none.
    fn file(compression: Option<Compression>, chunks: bool) -> Vec<u8> {
        let options = WriteOptions::new()
            .compression(compression)
            .use_chunks(chunks);
        let mut writer = options.create(Cursor::new(Vec::new())).unwrap();
        let schema = writer.add_schema("s", "", b"").unwrap();
        let channel = writer
            .add_channel(schema, "t", "json", &BTreeMap::new())
            .unwrap();
        for number in 0..MESSAGES {
            let header = MessageHeader {
                channel_id: channel,
                sequence: number as u32,
                log_time: number * 10,
                publish_time: number,
            };
            writer.write_to_known_channel(&header, b"[1,2]").unwrap();
            if number % 3 == 2 {
                writer.flush().unwrap();
            }
        }
        writer.finish().unwrap();
        writer.into_inner().into_inner()
    }

    struct Case(PathBuf);

    impl Case {
        fn new(name: &str) -> Self {
            let name = format!("mcl-reader-{name}-{}.mcap", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn reader(&self, bytes: &[u8]) -> Result<Reader, RecordingError> {
            fs::write(&self.0, bytes).unwrap();
            Reader::open(&self.0)
        }
    }

    impl Drop for Case {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// The numbers of all messages, and how many errors there were between them.
    fn numbers(reader: &mut Reader) -> (Vec<u32>, u64) {
        let (mut numbers, mut errors) = (Vec::new(), 0);
        loop {
            match reader.next() {
                Ok(Some(Entry::Message { header, data, .. })) => {
                    assert_eq!(data, b"[1,2]");
                    numbers.push(header.sequence);
                }
                Ok(Some(Entry::Metadata(_))) => {}
                Ok(None) => return (numbers, errors),
                Err(_) => errors += 1,
            }
            assert!(errors < 100_000, "it does not come to an end");
        }
    }

    fn kinds() -> [Vec<u8>; 4] {
        [
            file(None, true),
            file(Some(Compression::Lz4), true),
            file(Some(Compression::Zstd), true),
            file(None, false),
        ]
    }

    #[test]
    fn whole_files_are_read_with_and_without_chunks() {
        let case = Case::new("whole");
        for bytes in kinds() {
            let mut reader = case.reader(&bytes).unwrap();
            assert_eq!(reader.statistics.as_ref().unwrap().message_count, MESSAGES);
            assert_eq!(reader.channels().next().unwrap().schema, "s");
            let (numbers, errors) = numbers(&mut reader);
            assert!(numbers.into_iter().eq(0..MESSAGES as u32));
            assert_eq!((errors, reader.tail), (0, Some(Tail::Complete)));
        }
    }

    #[test]
    fn a_file_that_ends_anywhere_is_read_up_to_there() {
        let case = Case::new("cut");
        for bytes in kinds() {
            let mut most = 0;
            for end in 0..bytes.len() {
                let Ok(mut reader) = case.reader(&bytes[..end]) else {
                    assert!(end < MAGIC.len());
                    continue;
                };
                let (numbers, errors) = numbers(&mut reader);
                assert_eq!((errors, reader.tail), (0, Some(Tail::Truncated)), "{end}");
                assert!(numbers.len() >= most, "{end}");
                most = numbers.len();
                assert!(numbers.into_iter().eq(0..most as u32), "{end}");
            }
            assert_eq!(most as u64, MESSAGES);
        }
    }

    #[test]
    fn a_file_with_any_byte_changed_comes_to_an_end_without_a_panic() {
        let case = Case::new("changed");
        for bytes in kinds() {
            for at in 0..bytes.len() {
                for change in [0x01, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] ^= change;
                    if let Ok(mut reader) = case.reader(&changed) {
                        // Content that no checksum covers may be anything.
                        while !matches!(reader.next(), Ok(None)) {}
                        assert!(reader.tail.is_some());
                    }
                }
            }
        }
    }

    #[test]
    fn chunks_of_other_times_are_passed_over() {
        let case = Case::new("window");
        let reader = case.reader(&file(None, true)).unwrap();
        let (numbers, errors) = numbers(&mut reader.within(35..=60));
        // By chunks, not by messages.
        assert_eq!((numbers, errors), ((3..9).collect(), 0));
    }
}
