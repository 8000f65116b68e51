//! `mcl play`: what was recorded, published again.
//!
//! One thread reads (`source`, with `order`), the other publishes when it is time
//! (`player`, with `clock`). What is to go where, `choice` says.

mod choice;
mod clock;
mod order;
mod player;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use clap::Args;
use mcl_udp::Connection;

pub(crate) use self::choice::is_of_losses;
use self::choice::{Choice, Moment, Rename};
use self::player::Player;
use self::source::Source;
use crate::arguments::{Format, Link};
use crate::failure::Failure;
use crate::output;
use crate::record::inbox::Inbox;
use crate::signals::Stop;

/// Shown below the long help.
pub(crate) const NOTES: &str = "\
Messages go out at the times at which they were received, to the connections by which they came, with
their topics and encodings. There is one stream per connection, encoding and schema; publish times are
those of playing. Files of other programs are played with `--to`. Several files are played one after the
other, as the parts of one recording.";

/// How much is read ahead.
const AHEAD: usize = 64 << 20;

#[derive(Args, Clone, Debug)]
pub(crate) struct Play {
    /// MCAP files
    #[arg(value_name = "FILE.mcap", required = true)]
    files: Vec<PathBuf>,
    /// Publish all of it to another connection
    #[arg(long, value_name = "CONN")]
    to: Option<Connection>,
    /// Publish a topic under another name (repeatable)
    #[arg(long, value_name = "OLD=NEW")]
    rename: Vec<Rename>,
    /// How many times as fast
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Begin again at the end, until ended
    #[arg(long = "loop")]
    again: bool,
    /// Leave away what was received before: seconds from the beginning, or a time (RFC 3339)
    #[arg(long, value_name = "S")]
    start: Option<Moment>,
    /// Leave away what was received after: seconds from the beginning, or a time (RFC 3339)
    #[arg(long, value_name = "S")]
    end: Option<Moment>,
    #[command(flatten)]
    link: Link,
    #[command(flatten)]
    format: Format,
}

impl Play {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let stop = Stop::on_signals()?;
        let choice = Choice {
            to: self.to.clone(),
            topics: self.link.topics.clone(),
            renames: self.rename.clone(),
        };
        let source = Source::open(&self.files, choice, (self.start, self.end), self.again)?;
        let mut player = Player::new(self.speed, &self.link, self.format, source.span());
        player.prepare(source.routes())?;
        let inbox = Arc::new(Inbox::new(AHEAD));
        let filled = Arc::clone(&inbox);
        let reader = thread::Builder::new().spawn(move || source.run(&filled))?;
        let played = player.run(&inbox, &stop);
        inbox.close();
        // It ends as soon as nobody takes what it has.
        let read = reader.join();
        let summary = player.summary();
        match self.format {
            Format { json: true, .. } => output::json(&summary)?,
            Format { quiet: false, .. } => output::line(summary.to_string())?,
            _ => {}
        }
        played?;
        match read {
            Ok(read) => read?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        player.verdict()
    }
}

/// Reads a factor, for `value_parser`.
fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (0.001..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("from 0.001 to 1000 are possible".into()),
    }
}
