//! What the library must reach, and whether it does.
//!
//! Allocations per message, growth with streams and sizes, and idle listeners are
//! judged by tests and by `cargo bench`, not here.

use serde::Serialize;

use super::contender::{
    BATCHES_INLINE, COALESCED_INLINE, COALESCED_QUEUE, COALESCED_UNTIMED, Contender, GSO, GSO_SPIN,
    INLINE, INLINE_SPIN, LARGE_BUFFER, LCM, NAIVE, ORDINARY_BUFFER, PULL, PULL_SPIN,
};
use super::plan::MIB;
use super::report::bytes;
use super::results::{Duel, Measurement, Metric, Results, median};

/// Whether a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Met,
    NotMet,
    /// The reference was too slow for the machine to have been idle.
    Void,
    NotMeasured,
}

/// A target, and what was measured for it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Judged {
    pub(super) item: u8,
    pub(super) what: String,
    pub(super) bound: String,
    pub(super) measured: Option<f64>,
    pub(super) all: Vec<f64>,
    pub(super) verdict: Verdict,
}

/// A bound of a ratio.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
        }
    }
}

pub(super) fn judge(results: &Results) -> Vec<Judged> {
    let judges = [
        large_messages,
        default_pacing,
        small_messages,
        round_trips,
        offload_undone,
        processor_time,
    ];
    judges.iter().flat_map(|judge| judge(results)).collect()
}

/// Which ratio is looked at.
struct Question<'a> {
    item: u8,
    measurement: Measurement,
    size: usize,
    reference: Contender,
    contenders: &'a [Contender],
    metric: Metric,
    bound: Bound,
}

impl Question<'_> {
    /// The best of the contenders counts: which way to receive is the user's choice.
    fn judge(&self, results: &Results) -> Judged {
        let duels = self.contenders.iter().filter_map(|contender| {
            let reference = self.reference.name;
            results.duel(self.measurement, self.size, reference, contender.name)
        });
        let ratio = |duel: &&Duel| median(&duel.ratios_of(self.metric));
        let best = duels
            .filter(|duel| ratio(duel).is_some())
            .max_by(|a, b| self.order(ratio(a), ratio(b)));
        let all = best.map_or_else(Vec::new, |duel| duel.ratios_of(self.metric));
        let measured = median(&all);
        let verdict = match (best, measured) {
            (Some(duel), Some(_)) if duel.void => Verdict::Void,
            (_, Some(ratio)) => met(self.bound.holds(ratio)),
            _ => Verdict::NotMeasured,
        };
        Judged {
            item: self.item,
            what: self.what(best),
            bound: self.bound.text(),
            measured,
            all,
            verdict,
        }
    }

    fn order(&self, a: Option<f64>, b: Option<f64>) -> std::cmp::Ordering {
        let (a, b) = (a.unwrap_or(f64::NAN), b.unwrap_or(f64::NAN));
        match self.bound {
            Bound::AtLeast(_) => a.total_cmp(&b),
            Bound::AtMost(_) => b.total_cmp(&a),
        }
    }

    fn what(&self, best: Option<&Duel>) -> String {
        let contender = self.contenders.first().map_or("", |it| it.name);
        let contender = best.map_or(contender, |duel| duel.contender);
        let metric = match self.metric {
            Metric::Rate => "rate",
            Metric::RoundTrip => "round trip",
            Metric::SendCpu => "CPU to send",
            Metric::ReceiveCpu => "CPU to receive",
        };
        let place = match self.measurement {
            Measurement::CableOff => ", offload off",
            _ => "",
        };
        let (size, reference) = (bytes(self.size), self.reference.name);
        format!("{metric} at {size}{place}: {contender} / {reference}")
    }
}

fn met(holds: bool) -> Verdict {
    if holds { Verdict::Met } else { Verdict::NotMet }
}

const LARGE: [usize; 3] = [65_536, MIB, 8 * MIB];

fn blast<'a>(
    item: u8,
    size: usize,
    reference: Contender,
    contenders: &'a [Contender],
    least: f64,
) -> Question<'a> {
    Question {
        item,
        measurement: Measurement::Blast,
        size,
        reference,
        contenders,
        metric: Metric::Rate,
        bound: Bound::AtLeast(least),
    }
}

fn large_messages(results: &Results) -> Vec<Judged> {
    let against_raw = LARGE.map(|size| blast(1, size, GSO, &[INLINE], 0.75));
    let against_lcm = blast(1, MIB, LCM, &[INLINE], 5.0);
    let all = against_raw.iter().chain([&against_lcm]);
    all.map(|it| it.judge(results)).collect()
}

/// At most one run of twenty with loss.
fn default_pacing(results: &Results) -> Vec<Judged> {
    let judged = |contender: Contender| {
        let paced = results
            .paced
            .iter()
            .find(|it| it.contender == contender.name);
        let runs = paced.map_or(0, |it| it.runs.len());
        let lossy = paced.map_or(0, super::results::Paced::lossy);
        Judged {
            item: 1,
            what: format!("runs with loss of {runs}: {}", contender.name),
            bound: "≤ 1 of 20".into(),
            measured: (runs > 0).then_some(lossy as f64),
            all: paced.map_or_else(Vec::new, |it| {
                it.runs.iter().map(|run| run.lost as f64).collect()
            }),
            verdict: match runs {
                0 => Verdict::NotMeasured,
                runs => met(lossy * 20 <= runs),
            },
        }
    };
    vec![judged(ORDINARY_BUFFER), judged(LARGE_BUFFER)]
}

/// By one call a message, with publish times or without, as those of bare sockets are; and
/// by one call for many, as bare sockets send them, with publish times.
fn small_messages(results: &Results) -> Vec<Judged> {
    let together: &[Contender] = &[COALESCED_INLINE, COALESCED_UNTIMED];
    vec![
        blast(2, 64, GSO, together, 1.0).judge(results),
        blast(2, 64, GSO, &[BATCHES_INLINE], 1.0).judge(results),
        absolute((2, Measurement::Blast, COALESCED_QUEUE), 5e6, results),
        blast(2, 1024, GSO, together, 0.6).judge(results),
        blast(2, 64, NAIVE, &[INLINE], 0.9).judge(results),
    ]
}

/// Messages of 64 bytes a second.
fn absolute(
    (item, measurement, contender): (u8, Measurement, Contender),
    least: f64,
    results: &Results,
) -> Judged {
    let runs = results.runs(measurement, 64, contender.name);
    let all: Vec<f64> = runs.iter().map(|run| run.rate / 1e6).collect();
    let measured = median(&all);
    Judged {
        item,
        what: format!("million messages of 64 B a second: {}", contender.name),
        bound: format!("≥ {:.2}", least / 1e6),
        measured,
        all,
        verdict: measured.map_or(Verdict::NotMeasured, |rate| met(rate * 1e6 >= least)),
    }
}

fn round_trips(results: &Results) -> Vec<Judged> {
    let blocking: &[Contender] = &[INLINE, PULL];
    let spinning: &[Contender] = &[INLINE_SPIN, PULL_SPIN];
    let cases = [
        (64, GSO, blocking, 1.10),
        (64, GSO_SPIN, spinning, 1.15),
        (65_536, GSO, blocking, 1.25),
    ];
    let judged = cases.map(|(size, reference, contenders, most)| {
        Question {
            item: 3,
            measurement: Measurement::RoundTrip,
            size,
            reference,
            contenders,
            metric: Metric::RoundTrip,
            bound: Bound::AtMost(most),
        }
        .judge(results)
    });
    judged.into()
}

fn offload_undone(results: &Results) -> Vec<Judged> {
    let large = Question {
        measurement: Measurement::CableOff,
        ..blast(4, MIB, GSO, &[INLINE], 0.85)
    };
    let raw = results.median(Measurement::CableOff, 64, GSO.name, Metric::Rate);
    let least = raw.map_or(5e6, |raw| (8.0 * raw).min(5e6));
    let mut small = absolute((4, Measurement::CableOff, COALESCED_INLINE), least, results);
    small.what += ", offload off";
    vec![large.judge(results), small]
}

fn processor_time(results: &Results) -> Vec<Judged> {
    let sides = [(Metric::SendCpu, 1.4), (Metric::ReceiveCpu, 2.0)];
    let questions = sides.iter().flat_map(|&(metric, most)| {
        LARGE.map(|size| Question {
            metric,
            bound: Bound::AtMost(most),
            ..blast(5, size, GSO, &[INLINE], 0.0)
        })
    });
    questions.map(|it| it.judge(results)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::duel;
    use super::*;

    fn with(duels: Vec<Duel>) -> Results {
        Results {
            duels,
            ..Results::default()
        }
    }

    fn verdict(results: &Results, what: &str) -> Verdict {
        let judged = judge(results);
        let found = judged.iter().find(|it| it.what.starts_with(what));
        found.unwrap_or_else(|| panic!("{what}")).verdict
    }

    #[test]
    fn the_median_ratio_decides() {
        let at = "rate at 1 MiB: mcl inline / raw gso";
        let good = duel(
            ("raw gso", &[5e3; 3]),
            ("mcl inline", &[1e3, 3.8e3, 9e3]),
            MIB,
        );
        assert_eq!(verdict(&with(vec![good]), at), Verdict::Met);
        let bad = duel(
            ("raw gso", &[5e3; 3]),
            ("mcl inline", &[1e3, 3.7e3, 9e3]),
            MIB,
        );
        assert_eq!(verdict(&with(vec![bad]), at), Verdict::NotMet);
    }

    #[test]
    fn what_was_not_measured_or_is_void_is_not_met() {
        let at = "rate at 1 MiB: mcl inline / raw gso";
        assert_eq!(verdict(&Results::default(), at), Verdict::NotMeasured);
        let slow = duel(("raw gso", &[1e3]), ("mcl inline", &[1e3]), MIB);
        assert_eq!(verdict(&with(vec![slow]), at), Verdict::Void);
    }

    #[test]
    fn every_target_has_a_row_even_when_nothing_was_measured() {
        let judged = judge(&Results::default());
        assert!(judged.iter().all(|it| it.verdict == Verdict::NotMeasured));
        let count = |item| judged.iter().filter(|it| it.item == item).count();
        assert_eq!([1, 2, 3, 4, 5].map(count), [6, 5, 3, 2, 6]);
    }
}
