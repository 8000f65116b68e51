//! Checks as lines, or as objects.

use std::fmt;
use std::io;

use mcl_setup::doctor::{Check, Verdict};
use serde::Serialize;

use crate::arguments::Format;
use crate::output;

/// A check, under names that do not change.
#[derive(Serialize)]
struct Object<'a> {
    id: &'a str,
    status: &'a str,
    interface: Option<&'a str>,
    message: &'a str,
    remedy: &'a [String],
}

/// Prints checks as they come, and counts them.
#[derive(Debug)]
pub(super) struct Report {
    format: Format,
    verdicts: Vec<Verdict>,
}

impl Report {
    pub(super) fn new(format: Format) -> Self {
        let verdicts = Vec::new();
        Self { format, verdicts }
    }

    pub(super) fn tell(&mut self, check: &Check) -> io::Result<()> {
        self.verdicts.push(check.verdict);
        if self.format.json {
            return output::json(&Object {
                id: check.id.name(),
                status: check.verdict.name(),
                interface: check.interface.as_deref(),
                message: &check.message,
                remedy: &check.remedy,
            });
        }
        output::line(format!(
            "{:<8}{:<16}{}",
            check.verdict,
            check.id.name(),
            check.message
        ))?;
        check
            .remedy
            .iter()
            .try_for_each(|command| output::line(format!("{:24}mend it: {command}", "")))
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.verdicts.iter().filter(|it| **it == verdict).count()
    }

    pub(super) fn failed(&self) -> usize {
        self.count(Verdict::Failed)
    }

    /// The account, on standard error.
    pub(super) fn end(&self) -> io::Result<()> {
        self.format.summary(&Summary {
            passed: self.count(Verdict::Passed),
            warned: self.count(Verdict::Warned),
            failed: self.count(Verdict::Failed),
        })
    }
}

#[derive(Serialize)]
struct Summary {
    passed: usize,
    warned: usize,
    failed: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            warned,
            failed,
        } = self;
        write!(f, "{passed} passed, {warned} warned, {failed} failed")
    }
}
