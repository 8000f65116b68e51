//! How bytes reach the disk without being in the way of the thread that receives.
//!
//! Two things in a large `write` hold a processor for milliseconds, in the kernel, where
//! no other thread takes its place: copying much at once, and memory that the page cache
//! has not used before (in a virtual machine, which must get it from its host first).
//! So pieces are small, and the pages of what is on the disk are given back for what
//! comes next. Programs beside this one keep what they have in the page cache, too.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// The longest single write: 20 us of copying where it was measured, and ten times that
/// into memory which must be got from a host first.
const PIECE: usize = 128 << 10;

/// After so many bytes the kernel is asked to write, and to give pages back.
const STEP: u64 = 4 << 20;

/// How far back it is asked: what was asked for first has long been written by then.
const WINDOW: u64 = 64 << 20;

/// Asking takes at most one part in so many of the time. It waits for a disk that has
/// enough to do, and the page cache should then take what the disk does not.
const SELDOM: u32 = 10;

/// A file that is written from beginning to end.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    /// Where the next byte goes.
    end: u64,
    asking: Asking,
}

impl Spool {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            end: 0,
            asking: Asking::from(0),
        }
    }

    /// Cuts the file off at `len` and goes on there.
    pub(super) fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.seek(SeekFrom::Start(len))?;
        self.end = len;
        self.asking = Asking::from(len);
        Ok(())
    }

    /// Begins to write to the disk what has not been, without waiting for the end of it,
    /// and gives back the pages of what has.
    fn release(&self) {
        let from = self.end.saturating_sub(WINDOW);
        let dispensable = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        if let (Ok(from), Ok(len)) = (from.try_into(), (self.end - from).try_into()) {
            // Advice: a pipe or a device takes none.
            let _ = posix_fadvise(&self.file, from, len, dispensable);
        }
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(&bytes[..bytes.len().min(PIECE)])?;
        self.end += written as u64;
        let now = Instant::now();
        if self.asking.is_due(self.end, now) {
            self.release();
            self.asking.done(self.end, now, now.elapsed());
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// When the kernel is asked.
#[derive(Debug)]
struct Asking {
    /// The length of the file when it last was.
    at: u64,
    again: Instant,
}

impl Asking {
    fn from(at: u64) -> Self {
        let again = Instant::now();
        Self { at, again }
    }

    fn is_due(&self, end: u64, now: Instant) -> bool {
        end - self.at >= STEP && now >= self.again
    }

    fn done(&mut self, at: u64, begun: Instant, took: Duration) {
        (self.at, self.again) = (at, begun + SELDOM * took);
    }
}

#[cfg(test)]
mod tests {
    use std::env::temp_dir;
    use std::{fs, process};

    use super::*;

    #[test]
    fn all_that_is_written_is_there_also_after_a_cut() {
        let path = temp_dir().join(format!("mcl-spool-{}", process::id()));
        let mut spool = Spool::new(File::create_new(&path).unwrap());
        let bytes: Vec<u8> = (0..3 * STEP).map(|it| (it % 251) as u8).collect();
        let asked = spool.asking.at;
        spool.write_all(&bytes[..2 * PIECE + 7]).unwrap();
        assert_eq!(spool.asking.at, asked);
        spool.write_all(&bytes[2 * PIECE + 7..]).unwrap();
        assert!(spool.asking.at >= STEP);
        assert!(fs::read(&path).unwrap() == bytes);
        spool.cut(STEP + 1).unwrap();
        spool.write_all(b"the end").unwrap();
        let kept = [&bytes[..STEP as usize + 1], b"the end"].concat();
        assert!(fs::read(&path).unwrap() == kept);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_disk_that_keeps_who_asks_waiting_is_asked_seldom() {
        let mut asking = Asking::from(0);
        let now = Instant::now();
        assert!(!asking.is_due(STEP - 1, now));
        assert!(asking.is_due(STEP, now));
        asking.done(STEP, now, Duration::from_millis(50));
        let [early, late] = [499, 500].map(|it| now + Duration::from_millis(it));
        assert!(!asking.is_due(100 * STEP, early));
        assert!(asking.is_due(100 * STEP, late));
        assert!(!asking.is_due(2 * STEP - 1, late));
    }

    #[test]
    fn a_pipe_takes_no_advice_and_all_the_bytes() {
        let (mut reader, writer) = io::pipe().unwrap();
        let writing = std::thread::spawn(move || {
            let mut spool = Spool::new(File::from(std::os::fd::OwnedFd::from(writer)));
            spool.write_all(&vec![7; 2 * STEP as usize]).unwrap();
        });
        assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), 2 * STEP);
        writing.join().unwrap();
    }
}
