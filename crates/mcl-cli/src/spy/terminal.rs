//! The terminal: taken over, drawn on, given back.

use std::io::{self, IsTerminal};
use std::thread;
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
        // After a panic it was done before the message; once more would put the cursor
        // back where it was, above the message.
        if !thread::panicking() {
            // There is nobody left to tell.
            let _ = ratatui::try_restore();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;
    use std::thread::sleep;
    use std::time::Instant;

    use super::*;

    /// Set for the process on whose terminal a panic is to be seen.
    const ROLE: &str = "SPY_PANICS_ON_A_TERMINAL";

    /// Run by the test below, in a terminal.
    #[test]
    fn panics_on_a_terminal() {
        if env::var_os(ROLE).is_some() {
            let mut screen = Screen::open().unwrap();
            screen.draw(&mut Model::default()).unwrap();
            panic!("as it was meant to");
        }
    }

    #[test]
    #[ignore = "needs tmux: cargo xtask test"]
    fn with_tmux_a_panic_is_read_on_a_terminal_that_works() {
        let socket = env::temp_dir().join(format!("mcl-panic-{}", std::process::id()));
        let tmux = |arguments: &[&str]| {
            let mut tmux = Command::new("tmux");
            tmux.args(["-u", "-f", "/dev/null", "-S"]).arg(&socket);
            let output = tmux.env_remove("TMUX").args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let program = env::current_exe().unwrap();
        let line = format!(
            "{ROLE}=1 {} --exact spy::terminal::tests::panics_on_a_terminal --nocapture; stty -a; \
             echo ended; exec sleep 60",
            program.display()
        );
        tmux(&["new-session", "-d", "-x", "150", "-y", "40", &line]);
        let deadline = Instant::now() + Duration::from_secs(20);
        let screen = loop {
            let screen = tmux(&["capture-pane", "-p", "-S", "-100"]);
            if screen.contains("ended") || Instant::now() > deadline {
                break screen;
            }
            sleep(Duration::from_millis(50));
        };
        let state = tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        tmux(&["kill-server"]);
        let _ = std::fs::remove_file(&socket);
        assert!(screen.contains("as it was meant to"), "{screen}");
        assert!(
            screen.contains(" icanon") && screen.contains(" echo "),
            "{screen}"
        );
        assert!(!screen.contains("nothing has arrived"), "{screen}");
        assert_eq!(state.trim(), "0 1", "{screen}");
    }
}
