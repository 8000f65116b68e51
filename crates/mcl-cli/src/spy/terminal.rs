//! The terminal: taken over, drawn on, given back.

use std::io::{self, IsTerminal};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};

use super::draw::draw;
use super::model::Model;
use crate::failure::Failure;

/// How many events are taken before the screen is drawn again: keys that come faster
/// than anyone types must not keep it from being drawn.
const MOST_EVENTS: usize = 256;

/// Whether there is a terminal to draw on.
pub(super) fn check() -> Result<(), Failure> {
    let (input, output) = (io::stdin().is_terminal(), io::stdout().is_terminal());
    let missing = match (input, output) {
        (true, true) => return Ok(()),
        (_, false) => "standard output",
        (false, true) => "standard input",
    };
    Err(Failure::Usage(format!(
        "`mcl spy` needs a terminal, and {missing} is none; `mcl list` writes the same to a file or a pipe"
    )))
}

/// The terminal's other screen, as long as this lives. A panic gives the terminal
/// back before it says what it has to say.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        ratatui::try_init()
            .inspect_err(|_| {
                // Half of it may have been done.
                let _ = ratatui::try_restore();
            })
            .map(Self)
    }

    pub(super) fn draw(&mut self, model: &mut Model) -> io::Result<()> {
        self.0.draw(|frame| draw(frame, model))?;
        Ok(())
    }

    /// The events that came, waited for at most so long.
    pub(super) fn events(&self, wait: Duration) -> io::Result<Vec<Event>> {
        let (mut events, mut wait) = (Vec::new(), wait);
        while events.len() < MOST_EVENTS && event::poll(wait)? {
            events.push(event::read()?);
            wait = Duration::ZERO;
        }
        Ok(events)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = ratatui::try_restore();
    }
}
