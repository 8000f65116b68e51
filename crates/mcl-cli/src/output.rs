//! Writing to standard output and standard error, whose ends may be closed.

use std::io::{self, Write};

use serde::Serialize;

/// A line on standard output, seen at once by who reads it.
pub(crate) fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.as_ref())?;
    out.flush()
}

/// One JSON object on a line of standard output.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    line(serde_json::to_string(value)?)
}

/// A line on standard error, for who waits for it; nobody needs to.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
