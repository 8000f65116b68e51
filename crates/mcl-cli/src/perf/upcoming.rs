//! What the library is still to get: coalescing, spinning, direct pull. Until it
//! has them these say so; nothing else here knows.

use std::time::Duration;

use mcl_udp::{ListenerStatistics, Message, Payload, RawBroadcaster};

use super::tuning::{BroadcasterSetup, ListenerSetup};
use crate::failure::Failure;

fn not_built_in(option: &str) -> Failure {
    Failure::Usage(format!(
        "`{option}` is not built in yet; measure without it"
    ))
}

pub(super) fn coalesce(_: BroadcasterSetup, _: Duration) -> Result<BroadcasterSetup, Failure> {
    Err(not_built_in("--coalesce"))
}

/// Sends what coalescing holds back.
pub(super) fn flush(_: &RawBroadcaster) -> Result<(), Failure> {
    Ok(())
}

pub(super) fn spin(_: ListenerSetup, _: Duration) -> Result<ListenerSetup, Failure> {
    Err(not_built_in("--spin"))
}

/// A listener that receives on the calling thread. There is none yet.
#[derive(Debug)]
pub(super) enum Pull {}

pub(super) fn open_pull(_: ListenerSetup) -> Result<Pull, Failure> {
    Err(not_built_in("--pull"))
}

impl Pull {
    pub(super) fn recv_timeout(&mut self, _: Duration) -> Option<Message<Payload>> {
        match *self {}
    }

    pub(super) fn try_recv(&mut self) -> Option<Message<Payload>> {
        match *self {}
    }

    pub(super) fn statistics(&self) -> ListenerStatistics {
        match *self {}
    }
}
