//! `mcl spy`: topics and streams on a full screen.
//!
//! `model` is all that is shown and what keys do to it, `draw` makes a frame of it (with
//! `columns`, `detail`, `figures`); neither knows a terminal, a socket or a clock. `sources`
//! are the listeners, `terminal` is the terminal, and the loop is here.

mod columns;
mod detail;
mod draw;
mod figures;
mod model;
#[cfg(test)]
mod samples;
mod sources;
mod terminal;

use std::time::{Duration, Instant};

use clap::Args;

use self::model::{Action, Model};
use self::sources::{Payloads, Sources};
use self::terminal::Screen;
use crate::arguments::{Networks, Reception, period};
use crate::failure::Failure;
use crate::output::note;
use crate::signals::Stop;

/// Shown below the long help.
pub(crate) const NOTES: &str = "\
Keys: q quits, ? shows all others.
Latency is from publishing to receiving by the clocks of two machines: their difference is in it,
and below zero the sender's clock is ahead. Losses are those of the whole stream.";

/// The longest wait without a look at the signals.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

#[derive(Args, Clone, Debug)]
pub(crate) struct Spy {
    #[command(flatten)]
    network: Networks,
    /// Time over which rates, sizes and latencies are taken
    #[arg(long, value_name = "S", default_value = "5", value_parser = period)]
    window: Duration,
    /// How often a second the figures change, 1 to 30
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=30))]
    fps: u32,
    #[command(flatten)]
    reception: Reception,
    /// Print no summary at the end
    #[arg(long, short)]
    quiet: bool,
}

impl Spy {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        terminal::check()?;
        let stop = Stop::on_signals()?;
        let mut sources = Sources::open(&self.network, &self.reception, self.window)?;
        let mut screen = Screen::open()?;
        let ended = self.watch(&mut sources, &mut screen, &stop);
        // The summary belongs below the shell's prompt, not on the screen that goes away.
        drop(screen);
        ended?;
        if !self.quiet {
            for summary in sources.summaries() {
                note(&format!("mcl: {summary}"));
            }
        }
        Ok(())
    }

    fn watch(
        &self,
        sources: &mut Sources,
        screen: &mut Screen,
        stop: &Stop,
    ) -> Result<(), Failure> {
        let mut model = Model::default();
        let (period, mut due) = (Duration::from_secs(1) / self.fps, Instant::now());
        while !stop.is_set() {
            let now = Instant::now();
            if now >= due {
                due = now + period;
                refresh(&mut model, sources);
                screen.draw(&mut model)?;
            }
            for event in screen.events((due - now).min(LONGEST_WAIT))? {
                match model.event(&event) {
                    Action::Quit => return Ok(()),
                    Action::Freeze => model.freeze(sources.snapshot(&Payloads::All)),
                    Action::Nothing => {}
                }
                // Once for all that came together.
                due = due.min(Instant::now());
            }
        }
        Ok(())
    }
}

/// What the model shows, as it is now.
fn refresh(model: &mut Model, sources: &mut Sources) {
    sources.sample();
    for news in sources.news() {
        model.say(news);
    }
    if !model.is_paused() {
        model.update(sources.snapshot(&Payloads::Of(model.watched())));
    }
}
