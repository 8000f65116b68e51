//! A line on a terminal that says how far it is; nothing anywhere else.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::arguments::Format;

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(200);

/// It is gone when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    shown: Option<Instant>,
}

impl Progress {
    /// For what has no known end.
    pub(crate) fn line(format: Format) -> Self {
        Self::new(format, None, "{spinner} {elapsed_precise} {msg}")
    }

    /// For what ends after `length` milliseconds.
    pub(crate) fn bar(format: Format, length: u64) -> Self {
        let template = "{elapsed_precise} [{wide_bar}] {percent}% {msg}";
        Self::new(format, Some(length), template)
    }

    fn new(format: Format, length: Option<u64>, template: &str) -> Self {
        // Hidden where standard error is no terminal.
        let target = match format.quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(length, target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, shown: None }
    }

    /// Shows how far it is, if it is time and there is somebody to look.
    pub(crate) fn show(&mut self, position: u64, text: impl FnOnce() -> String) {
        let soon = self.shown.is_some_and(|shown| shown.elapsed() < EVERY);
        if soon || self.bar.is_hidden() {
            return;
        }
        self.shown = Some(Instant::now());
        self.bar.set_message(text());
        self.bar.set_position(position);
    }

    /// Says something else meanwhile.
    pub(crate) fn aside(&self, say: impl FnOnce()) {
        self.bar.suspend(say);
    }

    /// Takes the line away, so that something else can be said in its place.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
