//! Where the bytes of a file go, and up to where they are a whole.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::rc::Rc;

use super::spool::Spool;

/// A chunk is given to the spool at once, what stands around it in small pieces.
const BUFFER: usize = 256 << 10;

/// A file, which knows up to where the chunks in it are complete.
#[derive(Debug)]
pub(crate) struct Sink {
    out: BufWriter<Spool>,
    /// Bytes given to it.
    written: u64,
    /// Of these, to the end of the last flush, which comes after a chunk.
    complete: Rc<Cell<u64>>,
}

impl Sink {
    pub(crate) fn new(file: File) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER, Spool::new(file)),
            written: 0,
            complete: Rc::default(),
        }
    }

    /// Up to where it is complete, for who has given the sink away.
    pub(crate) fn complete(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.complete)
    }

    /// Takes away what came after the last complete chunk, and writes `tail` in its
    /// place if there is room. Says whether there was.
    pub(crate) fn cut(self, tail: &[u8]) -> bool {
        let complete = self.complete.get();
        // What did not fit the disk does not now.
        let (mut spool, _) = self.out.into_parts();
        let added = spool.cut(complete).and_then(|()| spool.write_all(tail));
        if added.is_err() {
            // A device has no length to set, and is as it is.
            let _ = spool.cut(complete);
        }
        added.is_ok()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.complete.set(self.written);
        Ok(())
    }
}
