//! Checks as lines, or as objects.

use std::io;

use mcl_setup::doctor::{Check, Verdict};
use serde::Serialize;

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
    json: bool,
    verdicts: Vec<Verdict>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        let verdicts = Vec::new();
        Self { json, verdicts }
    }

    pub(super) fn tell(&mut self, check: &Check) -> io::Result<()> {
        self.verdicts.push(check.verdict);
        if self.json {
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

    /// The last line for people.
    pub(super) fn end(&self) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let [passed, warned, failed] =
            [Verdict::Passed, Verdict::Warned, Verdict::Failed].map(|it| self.count(it));
        output::line(format!("{passed} passed, {warned} warned, {failed} failed"))
    }
}
