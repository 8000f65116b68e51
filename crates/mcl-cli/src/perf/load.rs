//! What a sending side sends, and for how long.

use std::time::Duration;

use clap::Args;

use crate::arguments::{interval, seconds};
use crate::failure::Failure;

#[derive(Args, Clone, Debug)]
pub(super) struct Load {
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub(super) size: usize,
    /// Time to publish for
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// Messages a second; 0 as fast as it goes
    #[arg(long, value_name = "R", default_value_t = 0.0)]
    rate: f64,
    /// Messages to publish, if that is sooner
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Load {
    /// Seconds from one message to the next; `None` for as fast as it goes.
    pub(super) fn interval(&self) -> Result<Option<f64>, Failure> {
        interval(self.rate)
    }

    pub(super) fn time(&self) -> Result<Duration, Failure> {
        seconds(self.seconds)
    }

    /// How many messages at the most.
    pub(super) fn count(&self) -> u64 {
        self.count.unwrap_or(u64::MAX)
    }
}
