//! Where payloads come from.

use std::fs;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;

use clap::Args;

use super::encode::Encode;
use crate::failure::Failure;
use crate::signals::{LONGEST_WAIT, Stop};

/// How many lines are read ahead.
const AHEAD: usize = 64;

#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Source {
    /// Publish this
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Publish the content of a file, read once
    #[arg(long, value_name = "F")]
    file: Option<PathBuf>,
    /// Publish all of standard input as one message, read to its end once
    #[arg(long)]
    stdin: bool,
    /// Publish each line of standard input, without its end, as it comes
    #[arg(long)]
    stdin_lines: bool,
    /// Publish so many random bytes, others each time
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32))]
    size: Option<u32>,
}

impl Source {
    /// Reads what is read once; encoded already, so that nothing is sent if it cannot be.
    pub(super) fn open(&self, encode: Encode, stop: &Stop) -> Result<Feed, Failure> {
        if let Some(size) = self.size {
            if encode != Encode::Raw {
                return Err(Failure::Usage(
                    "`--size` makes random bytes, which are raw: leave `--encode` away".into(),
                ));
            }
            return Ok(Feed::Random(vec![0; size as usize]));
        }
        if self.stdin_lines {
            let lines = read_ahead(read_lines);
            return Ok(Feed::Lines(Lines {
                lines,
                encode,
                current: Vec::new(),
                number: 0,
            }));
        }
        let bytes = match (&self.text, &self.file) {
            (Some(text), _) => Some(text.clone().into_bytes()),
            (None, Some(path)) => Some(read_file(path)?),
            (None, None) => receive(&read_ahead(read_all), stop)?,
        };
        let payload = bytes.map(|bytes| encode.payload(bytes)).transpose()?;
        Ok(Feed::Fixed(payload))
    }
}

/// Payloads, one after the other.
#[derive(Debug)]
pub(super) enum Feed {
    /// The same again and again; none if a signal came before it was read.
    Fixed(Option<Vec<u8>>),
    Random(Vec<u8>),
    Lines(Lines),
}

impl Feed {
    /// How many bytes a payload has, if that is known.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Fixed(payload) => payload.as_ref().map_or(0, Vec::len),
            Self::Random(payload) => payload.len(),
            Self::Lines(_) => 0,
        }
    }

    /// The next payload; none at the end of the input, or if a signal came first.
    pub(super) fn next(&mut self, stop: &Stop) -> Result<Option<&[u8]>, Failure> {
        match self {
            Self::Fixed(payload) => Ok(payload.as_deref()),
            Self::Random(payload) => {
                rand::fill(payload.as_mut_slice());
                Ok(Some(payload))
            }
            Self::Lines(lines) => lines.next(stop),
        }
    }
}

/// Lines of standard input, as they come.
#[derive(Debug)]
pub(super) struct Lines {
    lines: Receiver<io::Result<Vec<u8>>>,
    encode: Encode,
    current: Vec<u8>,
    number: u64,
}

impl Lines {
    fn next(&mut self, stop: &Stop) -> Result<Option<&[u8]>, Failure> {
        let Some(line) = receive(&self.lines, stop)? else {
            return Ok(None);
        };
        self.number += 1;
        self.current = self.encode.payload(line).map_err(|error| match error {
            Failure::Encode(why) => Failure::Encode(format!("line {}: {why}", self.number)),
            other => other,
        })?;
        Ok(Some(&self.current))
    }
}

fn read_file(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|source| Failure::Input {
        what: path.display().to_string(),
        source,
    })
}

type Send<'a> = &'a mut dyn FnMut(io::Result<Vec<u8>>) -> bool;

/// Reads standard input on a thread of its own, which nobody waits for: a signal does
/// not end a read.
fn read_ahead(read: fn(Send<'_>)) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(AHEAD);
    thread::spawn(move || read(&mut |piece| sender.send(piece).is_ok()));
    receiver
}

fn read_all(send: Send<'_>) {
    let mut all = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut all);
    send(read.map(|_| all));
}

fn read_lines(send: Send<'_>) {
    let mut input = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = input.read_until(b'\n', &mut line);
        let line = match read {
            Ok(0) => return,
            Ok(_) => Ok(without_end(line)),
            Err(error) => Err(error),
        };
        let failed = line.is_err();
        if !send(line) || failed {
            return;
        }
    }
}

fn without_end(mut line: Vec<u8>) -> Vec<u8> {
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    line
}

/// The next piece of standard input; none at its end, or if a signal came first.
fn receive(
    pieces: &Receiver<io::Result<Vec<u8>>>,
    stop: &Stop,
) -> Result<Option<Vec<u8>>, Failure> {
    while !stop.is_set() {
        match pieces.recv_timeout(LONGEST_WAIT) {
            Ok(Ok(piece)) => return Ok(Some(piece)),
            Ok(Err(source)) => {
                let what = "standard input".to_owned();
                return Err(Failure::Input { what, source });
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_line_is_no_part_of_it() {
        for (line, content) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a", "a"),
            ("a\r", "a\r"),
            ("\n", ""),
        ] {
            assert_eq!(without_end(line.into()), content.as_bytes());
        }
    }

    #[test]
    fn random_payloads_differ() {
        let mut feed = Feed::Random(vec![0; 64]);
        let stop = Stop::default();
        let one = feed.next(&stop).unwrap().unwrap().to_vec();
        let two = feed.next(&stop).unwrap().unwrap();
        assert_eq!(two.len(), 64);
        assert_ne!(one, two);
    }
}
