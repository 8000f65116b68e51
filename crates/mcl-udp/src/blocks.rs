//! Memory for small messages: those that come together share a block, but for the smallest, which lie
//! in their payloads.
//!
//! A message copied out of its datagram needs memory of its own, since the
//! datagram's is needed for the next one. Messages that come together lie in one
//! block, so that many cost one reference count each and no allocation; a block is
//! short, so that whoever keeps one message for long keeps little else. Blocks
//! are used again when all their messages are gone.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use crate::handful::Handful;
use crate::payload::{Buffer, Payload};

/// Bytes after which a block is closed.
const BLOCK: usize = 8 << 10;

/// Up to this many bytes a train is taken for a message that came alone, whose
/// block has no company to expect.
const LONE: usize = 2 << 10;

/// How many blocks in use are looked at for one that is free again.
const LOOKS: usize = 4;

/// Blocks of payloads, being filled, in use, and free.
#[derive(Debug)]
pub(crate) struct Blocks {
    lone: Ring,
    dense: Ring,
    /// The block being filled, taken out of its shell.
    bytes: Vec<u8>,
    shell: Option<Arc<Buffer>>,
    /// Which messages lie in it, and where.
    within: Vec<(usize, Range<usize>)>,
    is_dense: bool,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            lone: Ring::new(1024, 1 << 20),
            dense: Ring::new(256, 4 << 20),
            bytes: Vec::new(),
            shell: None,
            within: Vec::new(),
            is_dense: false,
        }
    }
}

impl Blocks {
    /// Says how long the train is from which messages are copied next.
    pub(crate) fn expect(&mut self, train_len: usize) {
        if self.within.is_empty() {
            self.put_back();
            self.is_dense = train_len > LONE;
        }
    }

    /// Copies the payload of the message that will have place `index`.
    pub(crate) fn copy(&mut self, index: usize, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        if self.shell.is_none() {
            self.open();
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.within.push((index, start..self.bytes.len()));
    }

    /// Whether no more should be copied before [`seal`](Self::seal).
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= BLOCK
    }

    /// Gives the messages their payloads.
    pub(crate) fn seal(&mut self, messages: &mut Handful) {
        if self.within.is_empty() {
            return;
        }
        let Some(mut shell) = self.shell.take() else {
            return;
        };
        if let Some(unique) = Arc::get_mut(&mut shell) {
            unique.bytes = mem::take(&mut self.bytes);
        }
        for (index, range) in self.within.drain(..) {
            if let Some(message) = messages.get_mut(index) {
                message.payload = Payload::new(Arc::clone(&shell), range);
            }
        }
        self.ring().put(shell);
    }

    /// Frees all blocks that nobody uses.
    pub(crate) fn trim(&mut self) {
        self.put_back();
        self.lone.trim();
        self.dense.trim();
    }

    fn ring(&mut self) -> &mut Ring {
        if self.is_dense {
            &mut self.dense
        } else {
            &mut self.lone
        }
    }

    fn open(&mut self) {
        let mut shell = self.ring().take().unwrap_or_default();
        if let Some(unique) = Arc::get_mut(&mut shell) {
            self.bytes = mem::take(&mut unique.bytes);
            self.bytes.clear();
        }
        self.shell = Some(shell);
    }

    fn put_back(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            if let Some(unique) = Arc::get_mut(&mut shell) {
                unique.bytes = mem::take(&mut self.bytes);
            }
            self.ring().put(shell);
        }
    }
}

/// Blocks in the order in which they were filled; most become free in this order.
#[derive(Debug)]
struct Ring {
    blocks: VecDeque<Arc<Buffer>>,
    bytes: usize,
    max_blocks: usize,
    max_bytes: usize,
}

impl Ring {
    const fn new(max_blocks: usize, max_bytes: usize) -> Self {
        Self {
            blocks: VecDeque::new(),
            bytes: 0,
            max_blocks,
            max_bytes,
        }
    }

    /// Keeps an eye on a block, unless there are too many: then its users free it.
    fn put(&mut self, block: Arc<Buffer>) {
        let bytes = block.bytes.capacity();
        if self.blocks.len() < self.max_blocks && self.bytes + bytes <= self.max_bytes {
            self.bytes += bytes;
            self.blocks.push_back(block);
        }
    }

    /// A block that nobody uses any more.
    fn take(&mut self) -> Option<Arc<Buffer>> {
        for _ in 0..LOOKS.min(self.blocks.len()) {
            let mut block = self.blocks.pop_front()?;
            if Arc::get_mut(&mut block).is_some() {
                self.bytes -= block.bytes.capacity();
                return Some(block);
            }
            self.blocks.push_back(block);
        }
        None
    }

    fn trim(&mut self) {
        self.blocks
            .retain_mut(|block| Arc::get_mut(block).is_none());
        self.bytes = self.blocks.iter().map(|it| it.bytes.capacity()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    /// Messages of these payloads that come in one train.
    fn together(blocks: &mut Blocks, payloads: &[&[u8]]) -> VecDeque<Message<Payload>> {
        blocks.expect(payloads.iter().map(|it| it.len()).sum());
        let mut messages = Handful::default();
        for payload in payloads {
            blocks.copy(messages.len(), payload);
            messages.add();
        }
        blocks.seal(&mut messages);
        let mut taken = VecDeque::new();
        while let Some(message) = messages.next() {
            taken.push_back(message.take());
        }
        taken
    }

    #[test]
    fn what_comes_together_shares_a_block() {
        let mut blocks = Blocks::default();
        let messages = together(&mut blocks, &[b"first", b"", b"second"]);
        assert_eq!(messages[0].payload, "first");
        assert_eq!(messages[1].payload, "");
        assert_eq!(messages[2].payload, "second");
        let expected = messages[0].payload.as_ptr().wrapping_add(5);
        assert_eq!(messages[2].payload.as_ptr(), expected);
    }

    #[test]
    fn a_block_is_used_again_when_all_its_messages_are_gone() {
        let mut blocks = Blocks::default();
        let mut messages = together(&mut blocks, &[b"one", b"two"]);
        let address = messages[0].payload.as_ptr();
        messages.pop_front();
        let others = together(&mut blocks, &[b"three"]);
        assert_ne!(others[0].payload.as_ptr(), address);
        assert_eq!(messages[0].payload, "two");
        messages.clear();
        let again = together(&mut blocks, &[b"four"]);
        assert_eq!(again[0].payload.as_ptr(), address);
        assert_eq!(
            (&*again[0].payload, &*others[0].payload),
            (&b"four"[..], &b"three"[..])
        );
    }

    #[test]
    fn one_that_is_kept_does_not_hold_up_the_others() {
        let mut blocks = Blocks::default();
        let kept = together(&mut blocks, &[b"kept"]);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            let messages = together(&mut blocks, &[b"gone"]);
            seen.insert(messages[0].payload.as_ptr());
        }
        assert!(seen.len() <= 2, "{} blocks", seen.len());
        assert_eq!(kept[0].payload, "kept");
    }

    #[test]
    fn what_is_kept_of_blocks_is_bounded_and_can_be_freed() {
        let mut blocks = Blocks::default();
        let long = vec![7; 60_000];
        let kept: Vec<_> = (0..200)
            .flat_map(|_| together(&mut blocks, &[&long]))
            .collect();
        assert!(blocks.dense.bytes <= blocks.dense.max_bytes);
        assert!(kept.iter().all(|message| message.payload == long));
        drop(kept);
        blocks.trim();
        assert_eq!((blocks.dense.bytes, blocks.dense.blocks.len()), (0, 0));
    }

    #[test]
    fn a_payload_may_outlive_its_listener_and_be_taken_apart() {
        let mut blocks = Blocks::default();
        let mut messages = together(&mut blocks, &[b"kept", b"taken"]);
        assert_eq!(messages.pop_back().unwrap().payload.into_vec(), b"taken");
        drop(blocks);
        assert_eq!(messages[0].payload, "kept");
    }
}
