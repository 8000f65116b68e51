//! What the library is still to get: coalescing. Until it has it these say so;
//! nothing else here knows.

use std::time::Duration;

use mcl_udp::RawBroadcaster;

use super::tuning::BroadcasterSetup;
use crate::failure::Failure;

pub(super) fn coalesce(_: BroadcasterSetup, _: Duration) -> Result<BroadcasterSetup, Failure> {
    Err(Failure::Usage(
        "`--coalesce` is not built in yet; measure without it".into(),
    ))
}

/// Sends what coalescing holds back.
pub(super) fn flush(_: &RawBroadcaster) -> Result<(), Failure> {
    Ok(())
}
