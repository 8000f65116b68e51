//! What must become of everything, worked out without the listener: sets that
//! remember all, instead of windows and lists.

use std::collections::{BTreeSet, HashMap};

use core::time::Duration;

use mcl_wire::{Disposition, Frame, Header};

use super::broadcast::{Broadcast, Outgoing};

/// What the window of sequence numbers remembers.
const WINDOW: u64 = 1024;

/// A message of which something came.
#[derive(Default)]
struct Progress {
    fragments: usize,
    advanced: Duration,
    over: bool,
}

/// One stream as it reached the listener.
#[derive(Default)]
pub(crate) struct Witness {
    /// Sequence numbers of which a copy was accepted.
    pub(crate) accepted: BTreeSet<u64>,
    /// Those of which a copy came, but no good one or too late.
    pub(crate) refused: BTreeSet<u64>,
    /// Messages of which something came.
    pub(crate) seen: BTreeSet<u64>,
    /// Messages of which something came damaged, and was accepted.
    pub(crate) touched: BTreeSet<u64>,
    /// Messages of which all came in time.
    pub(crate) complete: BTreeSet<u64>,
    /// Sequence numbers that came after so many lost ones that nothing has confirmed
    /// them.
    pub(crate) apart: BTreeSet<u64>,
    /// The last sequence number, if it was that far ahead.
    far: Option<u64>,
    progress: HashMap<u64, Progress>,
    proven: bool,
}

impl Witness {
    /// What the listener must say to this copy of a datagram.
    pub(crate) fn judge(&mut self, bytes: &[u8]) -> Disposition {
        let header = match read(bytes) {
            Ok(header) => header,
            Err(reason) => return reason,
        };
        if header.unsequenced {
            return Disposition::Accepted;
        }
        let highest = self.accepted.last().copied().unwrap_or(header.sequence);
        if header.sequence > highest.saturating_add(WINDOW) {
            return self.judge_far(header.sequence);
        }
        self.far = None;
        if highest.saturating_sub(header.sequence) >= WINDOW {
            Disposition::Stale
        } else if self.accepted.insert(header.sequence) {
            Disposition::Accepted
        } else {
            Disposition::Duplicate
        }
    }

    /// So far ahead that the sequence goes there only with the next one.
    fn judge_far(&mut self, sequence: u64) -> Disposition {
        match self.far.take() {
            Some(far) if far == sequence => {
                self.far = Some(far);
                return Disposition::Duplicate;
            }
            Some(far) if far.abs_diff(sequence) < WINDOW => {
                self.apart.remove(&far);
                self.accepted.extend([far, sequence]);
            }
            _ => {
                self.far = Some(sequence);
                self.apart.insert(sequence);
            }
        }
        Disposition::Accepted
    }

    /// Takes note of an accepted datagram which is as it was sent.
    pub(crate) fn intact(
        &mut self,
        broadcast: &Broadcast,
        datagram: &Outgoing,
        now: Duration,
        expiry: Duration,
    ) {
        for number in &datagram.carries {
            self.seen.insert(*number);
            let needed = broadcast.message(*number).unwrap().fragments;
            let progress = self.progress.entry(*number).or_default();
            progress.expire(now, expiry);
            if progress.over {
                continue;
            }
            progress.fragments += 1;
            progress.advanced = now;
            if progress.fragments >= needed {
                progress.over = true;
                self.complete.insert(*number);
                self.prove(now, expiry);
            }
        }
    }

    /// The stream's first message renews what is under reassembly.
    fn prove(&mut self, now: Duration, expiry: Duration) {
        if core::mem::replace(&mut self.proven, true) {
            return;
        }
        for progress in self.progress.values_mut() {
            progress.expire(now, expiry);
            progress.advanced = now;
        }
    }
}

impl Progress {
    fn expire(&mut self, now: Duration, expiry: Duration) {
        self.over |= self.fragments > 0 && now - self.advanced >= expiry;
    }
}

fn read(bytes: &[u8]) -> Result<Header, Disposition> {
    let (header, frames) = Header::decode(bytes)?;
    frames.collect::<Result<Vec<Frame<'_>>, _>>()?;
    Ok(header)
}
