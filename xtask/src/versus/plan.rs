//! What is measured, in which order, and for how long.

use std::time::{Duration, Instant};

use super::Options;
use super::build::{INSTALL_CYCLONE, INSTALL_LCM};
use super::contender::{
    BATCHES_INLINE, COALESCED_AT_ONCE, COALESCED_AT_ONCE_SPIN, COALESCED_INLINE, COALESCED_QUEUE,
    COALESCED_SOON, COALESCED_UNTIMED, CYCLONE, Contender, GSO, GSO_SPIN, GSO_WHOLE, INLINE,
    INLINE_SPIN, Job, LARGE_BUFFER, LARGE_BUFFER_PACED, LCM, NAIVE, ORDINARY_BUFFER, PULL,
    PULL_SPIN, QUEUE,
};
use super::report::{bytes, short};
use super::results::{Duel, Lossless, Measurement, Outcome, Paced, Results, Trial};
use super::runner::Bench;

pub(super) const MIB: usize = 1 << 20;

/// The names that `--only` takes.
const PARTS: [&str; 5] = ["blast", "pacing", "lossless", "roundtrip", "cable"];
const OPPONENTS: [&str; 4] = ["gso", "naive", "lcm", "cyclone"];
/// This library against itself, where nothing but coalescing differs.
const COALESCED: &str = "coalesced";

pub(super) fn check_names(only: &[String]) -> Result<(), String> {
    let known = |name: &&String| PARTS.contains(&name.as_str()) || is_contender(name);
    match only.iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(format!(
            "--only {name}: known are {}, {}, {COALESCED}",
            PARTS.join(", "),
            OPPONENTS.join(", ")
        )),
    }
}

fn is_contender(name: &str) -> bool {
    OPPONENTS.contains(&name) || name == COALESCED
}

/// A pair to be compared at a size.
type Pairing = (usize, Contender, Contender);

fn title(measurement: Measurement, (size, reference, contender): Pairing) -> String {
    let (size, contender, reference) = (bytes(size), contender.name, reference.name);
    format!("{measurement:?} {size}: {contender} / {reference}")
}

/// The whole of a run.
pub(super) struct Plan {
    pairs: usize,
    quick: bool,
    only: Vec<String>,
    deadline: Instant,
    patience: Duration,
}

/// Told of progress, line by line.
pub(super) type Tell<'a> = &'a mut dyn FnMut(&str);

impl Plan {
    pub(super) fn new(options: &Options, deadline: Instant) -> Self {
        Self {
            pairs: options.pairs,
            quick: options.quick,
            only: options.only.clone(),
            deadline,
            patience: options.patience,
        }
    }

    pub(super) fn run(&self, bench: &Bench, tell: Tell<'_>) -> Results {
        let mut results = Results::default();
        for (contender, install) in [(LCM, INSTALL_LCM), (CYCLONE, INSTALL_CYCLONE)] {
            if !contender.is_there(&bench.programs) {
                let why = format!("{}: not installed; `{install}`", contender.name);
                results.skipped.push(why);
            }
        }
        if self.wants("blast") {
            self.duels(
                bench,
                Measurement::Blast,
                &self.blasts(),
                &mut results,
                tell,
            );
        }
        if self.wants("roundtrip") {
            let pairings = round_trips();
            self.duels(bench, Measurement::RoundTrip, &pairings, &mut results, tell);
        }
        if self.wants("cable") {
            self.cable(bench, &mut results, tell);
        }
        if self.wants("pacing") {
            self.pacing(bench, &mut results, tell);
        }
        if self.wants("lossless") {
            self.lossless(bench, &mut results, tell);
        }
        self.again(bench, &mut results, tell);
        results
    }

    /// Measures the blasts and round trips that are void again, in turns, until none is or patience ends. The
    /// reference decides alone which count, and all are kept.
    fn again(&self, bench: &Bench, results: &mut Results, tell: Tell<'_>) {
        let end = Instant::now() + self.patience;
        let blasts = self.blasts().into_iter();
        let round_trips = round_trips().into_iter();
        let all: Vec<(Measurement, Pairing)> = blasts
            .map(|it| (Measurement::Blast, it))
            .chain(round_trips.map(|it| (Measurement::RoundTrip, it)))
            .collect();
        let mut left = true;
        while left {
            left = false;
            for &(measurement, pairing) in &all {
                let (size, reference, contender) = pairing;
                let first = results.duel(measurement, size, reference.name, contender.name);
                if !first.is_some_and(|duel| duel.void) {
                    continue;
                }
                if Instant::now() >= end {
                    return;
                }
                left = true;
                let duel = self.duel(bench, measurement, pairing);
                let void = if duel.void { "void" } else { "" };
                tell(&format!("again {} {void}", title(measurement, pairing)));
                results.repeat(duel);
            }
        }
    }

    /// Whether a part is wanted: when named, or when no part is.
    fn wants(&self, part: &str) -> bool {
        let none_named = !self.only.iter().any(|it| PARTS.contains(&it.as_str()));
        none_named || self.only.iter().any(|it| it == part)
    }

    /// Whether a contender is wanted by itself: this library always.
    fn wants_contender(&self, contender: &Contender) -> bool {
        let opponent = OPPONENTS.iter().find(|it| contender.name.contains(*it));
        opponent.is_none_or(|opponent| self.wants_named(opponent))
    }

    /// Whether a reference is wanted to be compared with: this library is one only
    /// for what coalescing costs.
    fn wants_reference(&self, reference: &Contender) -> bool {
        let opponent = OPPONENTS.iter().find(|it| reference.name.contains(*it));
        self.wants_named(opponent.unwrap_or(&COALESCED))
    }

    /// Whether a contender is named, or none is.
    fn wants_named(&self, name: &str) -> bool {
        let mut named = self.only.iter().filter(|it| is_contender(it)).peekable();
        named.peek().is_none() || named.any(|it| it == name)
    }

    fn is_over(&self, what: &str, results: &mut Results) -> bool {
        let over = Instant::now() >= self.deadline;
        if over {
            results.skipped.push(format!("{what}: the time was up"));
        }
        over
    }

    fn blasts(&self) -> Vec<Pairing> {
        let mut pairings = Vec::new();
        let small: &[usize] = if self.quick { &[64] } else { &[64, 1024] };
        for &size in small {
            pairings.extend([
                (size, GSO, COALESCED_INLINE),
                (size, GSO, COALESCED_UNTIMED),
                (size, GSO, COALESCED_QUEUE),
                (size, GSO, COALESCED_SOON),
                (size, GSO, BATCHES_INLINE),
                (size, NAIVE, INLINE),
                (size, NAIVE, QUEUE),
                (size, LCM, INLINE),
                (size, CYCLONE, INLINE),
            ]);
        }
        let large: &[usize] = if self.quick {
            &[65_536, MIB]
        } else {
            &[65_536, MIB, 8 * MIB]
        };
        for &size in large {
            pairings.extend([(size, GSO, INLINE), (size, GSO, PULL), (size, GSO, QUEUE)]);
            if size > 65_536 {
                pairings.extend([(size, GSO, GSO_WHOLE), (size, GSO_WHOLE, INLINE)]);
            }
            pairings.extend([
                (size, NAIVE, INLINE),
                (size, LCM, INLINE),
                (size, CYCLONE, INLINE),
            ]);
        }
        pairings
    }

    fn duels(
        &self,
        bench: &Bench,
        measurement: Measurement,
        pairings: &[Pairing],
        results: &mut Results,
        tell: Tell<'_>,
    ) {
        for &pairing in pairings {
            let (_, reference, _) = pairing;
            let there = reference.is_there(&bench.programs);
            if !there || !self.wants_reference(&reference) {
                continue;
            }
            let what = title(measurement, pairing);
            if self.is_over(&what, results) {
                continue;
            }
            let duel = self.duel(bench, measurement, pairing);
            let ratios: Vec<String> = duel.ratios.iter().map(|it| format!("{it:.2}")).collect();
            let failed = duel.failed.as_deref().unwrap_or_default();
            tell(&format!("{what}  {} {failed}", ratios.join(" ")));
            results.duels.push(duel);
        }
    }

    fn duel(&self, bench: &Bench, measurement: Measurement, pairing: Pairing) -> Duel {
        let (size, reference, contender) = pairing;
        let job = self.job(measurement, size);
        let run = |who: &Contender| match measurement {
            Measurement::RoundTrip => bench.round_trip(who, &job),
            _ => bench.blast(who, &job),
        };
        let mut duel = Duel {
            measurement,
            size,
            reference: reference.name,
            contender: contender.name,
            reference_runs: Vec::new(),
            contender_runs: Vec::new(),
            ratios: Vec::new(),
            median_ratio: None,
            void: false,
            failed: None,
        };
        for _ in 0..self.pairs(measurement, reference) {
            let pair = run(&reference).and_then(|first| Ok((first, run(&contender)?)));
            match pair {
                Ok((first, second)) => {
                    duel.reference_runs.push(first);
                    duel.contender_runs.push(second);
                }
                Err(why) => {
                    duel.failed = Some(why);
                    break;
                }
            }
        }
        duel.conclude();
        duel
    }

    /// Round trips that block are wake-ups of an idle processor, four each, and differ by a tenth from one
    /// run to the next.
    fn pairs(&self, measurement: Measurement, reference: Contender) -> usize {
        match measurement {
            Measurement::RoundTrip if reference == GSO => 3 * self.pairs,
            _ => self.pairs,
        }
    }

    fn job(&self, measurement: Measurement, size: usize) -> Job {
        Job {
            size,
            seconds: if self.quick { 0.2 } else { 0.5 },
            rate: 0.0,
            rounds: if size < MIB { 2000 } else { 200 },
            across: matches!(measurement, Measurement::CableOn | Measurement::CableOff),
        }
    }

    fn cable(&self, bench: &Bench, results: &mut Results, tell: Tell<'_>) {
        let pairings = [
            (64, GSO, COALESCED_INLINE),
            (64, NAIVE, INLINE),
            (MIB, GSO, INLINE),
            (MIB, NAIVE, INLINE),
        ];
        for (measurement, on) in [(Measurement::CableOn, true), (Measurement::CableOff, false)] {
            match bench.offload(on) {
                Ok(()) => self.duels(bench, measurement, &pairings, results, tell),
                Err(error) => results.skipped.push(format!(
                    "offload {on}: {error}; `sudo apt-get install ethtool`"
                )),
            }
        }
        // Everything else is measured with offload, as the cable came; that it
        // cannot be switched was said above.
        let _ = bench.offload(true);
    }

    fn pacing(&self, bench: &Bench, results: &mut Results, tell: Tell<'_>) {
        let (runs, seconds) = if self.quick { (2, 0.5) } else { (20, 2.0) };
        for contender in [ORDINARY_BUFFER, LARGE_BUFFER, LARGE_BUFFER_PACED] {
            if self.is_over(contender.name, results) {
                continue;
            }
            let job = Job {
                seconds,
                ..self.job(Measurement::Blast, MIB)
            };
            let outcomes: Result<Vec<Outcome>, String> =
                (0..runs).map(|_| bench.blast(&contender, &job)).collect();
            let failed = outcomes.as_ref().err().cloned();
            let paced = Paced {
                contender: contender.name,
                size: MIB,
                seconds,
                runs: outcomes.unwrap_or_default(),
                failed,
            };
            tell(&format!(
                "{}: {} of {} runs with loss",
                paced.contender,
                paced.lossy(),
                paced.runs.len()
            ));
            results.paced.push(paced);
        }
    }

    fn lossless(&self, bench: &Bench, results: &mut Results, tell: Tell<'_>) {
        let sizes: &[usize] = if self.quick {
            &[65_536]
        } else {
            &[64, 65_536, MIB]
        };
        for &size in sizes {
            for contender in [GSO, NAIVE, INLINE, COALESCED_INLINE, LCM, CYCLONE] {
                let pointless = contender == COALESCED_INLINE && size > 1024;
                let there = contender.is_there(&bench.programs);
                if pointless || !there || !self.wants_contender(&contender) {
                    continue;
                }
                let what = format!("lossless {}: {}", bytes(size), contender.name);
                if self.is_over(&what, results) {
                    continue;
                }
                let found = self.search(bench, &contender, size);
                let failed = found.failed.as_deref().unwrap_or_default();
                tell(&format!("{what}  {} /s {failed}", short(found.rate)));
                results.lossless.push(found);
            }
        }
    }

    /// Bisects between nothing and a quarter more than what full speed delivers:
    /// six halvings, so that the answer is known to a fiftieth of that.
    fn search(&self, bench: &Bench, contender: &Contender, size: usize) -> Lossless {
        let mut found = Lossless {
            contender: contender.name,
            size,
            rate: 0.0,
            mb_per_s: 0.0,
            trials: Vec::new(),
            failed: None,
        };
        let halvings = if self.quick { 3 } else { 6 };
        let (mut low, mut high) = (0.0, f64::INFINITY);
        for _ in 0..=halvings {
            // Full speed is the first trial; it may lose nothing at all.
            let asked = if high.is_finite() {
                (low + high) / 2.0
            } else {
                0.0
            };
            match self.trial(bench, contender, (size, asked), &mut found) {
                Err(why) => {
                    found.failed = Some(why);
                    break;
                }
                Ok(outcome) if high.is_infinite() => {
                    if outcome.lost == 0 {
                        break;
                    }
                    high = 1.25 * outcome.rate;
                }
                Ok(outcome) if outcome.lost == 0 => low = asked,
                Ok(_) => high = asked,
            }
        }
        found
    }

    fn trial(
        &self,
        bench: &Bench,
        contender: &Contender,
        (size, asked): (usize, f64),
        found: &mut Lossless,
    ) -> Result<Outcome, String> {
        let job = Job {
            rate: asked,
            ..self.job(Measurement::Blast, size)
        };
        let outcome = bench.blast(contender, &job)?;
        found.trials.push(Trial {
            asked,
            delivered: outcome.rate,
            lost: outcome.lost,
        });
        if outcome.lost == 0 && outcome.rate > found.rate {
            found.rate = outcome.rate;
            found.mb_per_s = outcome.mb_per_s;
        }
        Ok(outcome)
    }
}

fn round_trips() -> Vec<Pairing> {
    let mut pairings = Vec::new();
    for size in [64, 65_536] {
        pairings.extend([
            (size, GSO, INLINE),
            (size, GSO, PULL),
            (size, GSO, QUEUE),
            (size, GSO_SPIN, INLINE_SPIN),
            (size, GSO_SPIN, PULL_SPIN),
            (size, LCM, PULL),
            (size, CYCLONE, PULL),
        ]);
    }
    // What it costs a message that nobody joins.
    pairings.extend([
        (64, INLINE, COALESCED_AT_ONCE),
        (64, INLINE_SPIN, COALESCED_AT_ONCE_SPIN),
        (64, INLINE, COALESCED_SOON),
        (64, INLINE, COALESCED_INLINE),
    ]);
    pairings
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The round trips that are compared with these words after `--only`.
    fn compared(only: &[&str]) -> Vec<Pairing> {
        let options = Options {
            quick: false,
            pairs: 5,
            patience: Duration::ZERO,
            only: only.iter().map(|it| (*it).to_owned()).collect(),
            out: PathBuf::new(),
        };
        check_names(&options.only).unwrap();
        let plan = Plan::new(&options, Instant::now());
        assert!(plan.wants("roundtrip"), "{only:?}");
        let mut pairings = round_trips();
        pairings.retain(|(_, reference, _)| plan.wants_reference(reference));
        pairings
    }

    #[test]
    fn what_coalescing_costs_a_lone_message_is_compared_with_the_same_without() {
        let pairings = [
            (64, INLINE, COALESCED_AT_ONCE),
            (64, INLINE_SPIN, COALESCED_AT_ONCE_SPIN),
            (64, INLINE, COALESCED_SOON),
            (64, INLINE, COALESCED_INLINE),
        ];
        assert_eq!(compared(&["roundtrip", "coalesced"]), pairings);
        let all = compared(&[]);
        assert!(pairings.iter().all(|it| all.contains(it)));
    }

    #[test]
    fn with_a_reference_named_only_that_is_compared_with() {
        let with_lcm = compared(&["roundtrip", "lcm"]);
        assert_eq!(with_lcm, [(64, LCM, PULL), (65_536, LCM, PULL)]);
        let three = compared(&["lcm", "cyclone", "coalesced"]);
        assert_eq!(three.len(), 2 + 2 + 4);
    }

    #[test]
    fn the_library_itself_is_measured_whichever_opponent_is_named() {
        let options = Options {
            quick: true,
            pairs: 1,
            patience: Duration::ZERO,
            only: vec!["lcm".to_owned()],
            out: PathBuf::new(),
        };
        let plan = Plan::new(&options, Instant::now());
        let wanted = [INLINE, COALESCED_INLINE, LCM, GSO, CYCLONE];
        let wanted = wanted.map(|it| plan.wants_contender(&it));
        assert_eq!(wanted, [true, true, true, false, false]);
    }
}
