//! What was measured.

use std::mem;

use serde::Serialize;

/// The measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Measurement {
    /// As fast as it goes, in one namespace.
    Blast,
    /// A message there and an echo back.
    RoundTrip,
    /// To another namespace, the cable's segmentation offload on.
    CableOn,
    /// The same, off.
    CableOff,
}

/// What one pair of processes measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Outcome {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) bad: u64,
    /// Messages delivered a second.
    pub(super) rate: f64,
    pub(super) sent_rate: f64,
    pub(super) mb_per_s: f64,
    pub(super) send_cpu_ns: f64,
    pub(super) receive_cpu_ns: f64,
    pub(super) rcvbuf: Option<u64>,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
}

/// What of an outcome is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    Rate,
    RoundTrip,
    SendCpu,
    ReceiveCpu,
}

impl Outcome {
    pub(super) fn get(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Rate => self.rate,
            Metric::RoundTrip => self.p50_us.unwrap_or(f64::NAN),
            Metric::SendCpu => self.send_cpu_ns,
            Metric::ReceiveCpu => self.receive_cpu_ns,
        }
    }
}

/// Alternating runs of a reference and a contender.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Duel {
    pub(super) measurement: Measurement,
    pub(super) size: usize,
    pub(super) reference: &'static str,
    pub(super) contender: &'static str,
    pub(super) reference_runs: Vec<Outcome>,
    pub(super) contender_runs: Vec<Outcome>,
    /// The contender's metric over the reference's, pair by pair.
    pub(super) ratios: Vec<f64>,
    pub(super) median_ratio: Option<f64>,
    /// The reference was far slower than it is known to be on this kind of machine.
    pub(super) void: bool,
    /// Why there are no (more) runs.
    pub(super) failed: Option<String>,
}

impl Duel {
    fn key(&self) -> Key<'static> {
        (self.measurement, self.size, self.reference, self.contender)
    }

    /// Contender over reference, pair by pair.
    pub(super) fn ratios_of(&self, metric: Metric) -> Vec<f64> {
        let pairs = self.contender_runs.iter().zip(&self.reference_runs);
        pairs
            .map(|(contender, reference)| contender.get(metric) / reference.get(metric))
            .filter(|ratio| ratio.is_finite())
            .collect()
    }

    /// The metric that the measurement is about.
    pub(super) fn metric(&self) -> Metric {
        match self.measurement {
            Measurement::RoundTrip => Metric::RoundTrip,
            _ => Metric::Rate,
        }
    }

    /// Draws the conclusions once all runs are there.
    pub(super) fn conclude(&mut self) {
        self.ratios = self.ratios_of(self.metric());
        self.median_ratio = median(&self.ratios);
        let reference: Vec<f64> = values(&self.reference_runs, self.metric());
        let known = reference_figure(self.measurement, self.reference, self.size);
        self.void = match (median(&reference), known) {
            (Some(rate), Some(known)) if self.metric() == Metric::Rate => rate < 0.8 * known,
            (Some(time), Some(known)) => time > known / 0.8,
            _ => false,
        };
    }
}

pub(super) fn values(runs: &[Outcome], metric: Metric) -> Vec<f64> {
    runs.iter().map(|run| run.get(metric)).collect()
}

/// Several runs at full speed with pacing on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Paced {
    pub(super) contender: &'static str,
    pub(super) size: usize,
    pub(super) seconds: f64,
    pub(super) runs: Vec<Outcome>,
    pub(super) failed: Option<String>,
}

impl Paced {
    pub(super) fn lossy(&self) -> usize {
        self.runs.iter().filter(|run| run.lost > 0).count()
    }
}

/// The search for the highest rate without loss.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Lossless {
    pub(super) contender: &'static str,
    pub(super) size: usize,
    /// The highest rate that was delivered without loss; 0 if none was.
    pub(super) rate: f64,
    pub(super) mb_per_s: f64,
    pub(super) trials: Vec<Trial>,
    pub(super) failed: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Trial {
    pub(super) asked: f64,
    pub(super) delivered: f64,
    pub(super) lost: u64,
}

/// Everything.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Results {
    pub(super) duels: Vec<Duel>,
    /// Attempts that were measured again because they were void.
    pub(super) voided: Vec<Duel>,
    pub(super) paced: Vec<Paced>,
    pub(super) lossless: Vec<Lossless>,
    /// What was not measured, and why.
    pub(super) skipped: Vec<String>,
}

/// Measurement, size, reference and contender.
type Key<'a> = (Measurement, usize, &'a str, &'a str);

impl Results {
    /// Puts a duel that was measured again in the place of the void one, or beside it if it is no better.
    pub(super) fn repeat(&mut self, duel: Duel) {
        let key = duel.key();
        let first = self.duels.iter_mut().find(|it| it.key() == key);
        match first {
            Some(first) if !duel.void && duel.failed.is_none() => {
                self.voided.push(mem::replace(first, duel));
            }
            _ => self.voided.push(duel),
        }
    }

    pub(super) fn duel(
        &self,
        measurement: Measurement,
        size: usize,
        reference: &str,
        contender: &str,
    ) -> Option<&Duel> {
        let key = (measurement, size, reference, contender);
        self.duels.iter().find(|duel| duel.key() == key)
    }

    /// All runs of a contender in a measurement, in whichever duel.
    pub(super) fn runs(
        &self,
        measurement: Measurement,
        size: usize,
        contender: &str,
    ) -> Vec<&Outcome> {
        let of = |duel: &Duel| duel.measurement == measurement && duel.size == size;
        let mut runs = Vec::new();
        for duel in self.duels.iter().filter(|duel| of(duel)) {
            if duel.reference == contender {
                runs.extend(&duel.reference_runs);
            }
            if duel.contender == contender {
                runs.extend(&duel.contender_runs);
            }
        }
        runs
    }

    /// The median of a contender's runs in a measurement.
    pub(super) fn median(
        &self,
        measurement: Measurement,
        size: usize,
        contender: &str,
        metric: Metric,
    ) -> Option<f64> {
        let runs = self.runs(measurement, size, contender);
        let values: Vec<f64> = runs.iter().map(|run| run.get(metric)).collect();
        median(&values)
    }

    /// Contenders in the order in which they were first met, and the sizes, of a
    /// measurement.
    pub(super) fn axes(&self, measurement: Measurement) -> (Vec<&'static str>, Vec<usize>) {
        let (mut names, mut sizes) = (Vec::new(), Vec::new());
        let met = |duel: &&Duel| duel.measurement == measurement;
        for duel in self.duels.iter().filter(met) {
            for name in [duel.reference, duel.contender] {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            if !sizes.contains(&duel.size) {
                sizes.push(duel.size);
            }
        }
        sizes.sort_unstable();
        (names, sizes)
    }
}

/// The middle value, or the mean of the two in the middle.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|it| it.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some((upper + lower) / 2.0)
}

/// What bare sockets are known to do on the machine that the targets were set on
/// (2 cores of an AMD EPYC, Linux 6.18, veth, MTU 1500): messages a second, or
/// microseconds. Far less means that something else kept the machine busy.
fn reference_figure(measurement: Measurement, reference: &str, size: usize) -> Option<f64> {
    use Measurement::{Blast, CableOff, RoundTrip};
    Some(match (measurement, reference, size) {
        (Blast, "raw gso", 64) => 8.8e6,
        (Blast, "raw gso", 1024) => 6.5e6,
        (Blast, "raw gso", 65_536) => 51e3,
        (Blast, "raw gso", 1_048_576) => 5030.0,
        (Blast, "raw gso", 8_388_608) => 386.0,
        (Blast, "raw naive", 64) => 149e3,
        (Blast, "raw naive", 1024) => 137e3,
        (Blast, "raw naive", 65_536) => 6.1e3,
        (Blast, "raw naive", 1_048_576) => 396.0,
        (Blast, "raw naive", 8_388_608) => 44.0,
        (CableOff, "raw gso", 64) => 560e3,
        (CableOff, "raw gso", 1_048_576) => 640.0,
        (CableOff, "raw naive", 64) => 150e3,
        (CableOff, "raw naive", 1_048_576) => 420.0,
        // Blocking ones are wake-ups of an idle virtual processor and wander.
        (RoundTrip, "raw gso", 64 | 65_536) => 106.0,
        (RoundTrip, "raw gso spinning", 64) => 9.8,
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::versus) fn outcome(rate: f64) -> Outcome {
        Outcome {
            rate,
            mb_per_s: rate / 1e3,
            send_cpu_ns: 100.0,
            receive_cpu_ns: 50.0,
            ..Outcome::default()
        }
    }

    pub(in crate::versus) fn duel(
        reference: (&'static str, &[f64]),
        contender: (&'static str, &[f64]),
        size: usize,
    ) -> Duel {
        let runs = |rates: &[f64]| rates.iter().map(|rate| outcome(*rate)).collect();
        let mut duel = Duel {
            measurement: Measurement::Blast,
            size,
            reference: reference.0,
            contender: contender.0,
            reference_runs: runs(reference.1),
            contender_runs: runs(contender.1),
            ratios: Vec::new(),
            median_ratio: None,
            void: false,
            failed: None,
        };
        duel.conclude();
        duel
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[f64::NAN, 5.0]), Some(5.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ratios_are_of_pairs_and_the_median_counts() {
        let duel = duel(
            ("raw gso", &[9e6, 10e6, 8e6]),
            ("mcl inline", &[9e6, 5e6, 2e6]),
            64,
        );
        assert_eq!(duel.ratios, [1.0, 0.5, 0.25]);
        assert_eq!(duel.median_ratio, Some(0.5));
        assert!(!duel.void);
    }

    #[test]
    fn a_slow_reference_makes_the_duel_void() {
        assert!(duel(("raw gso", &[7e6]), ("mcl inline", &[7e6]), 64).void);
        assert!(!duel(("raw gso", &[7.1e6]), ("mcl inline", &[7e6]), 64).void);
        assert!(!duel(("lcm", &[1.0]), ("mcl inline", &[7e6]), 64).void);
    }

    #[test]
    fn a_void_duel_gives_way_to_one_that_counts() {
        let mut results = Results::default();
        let duel_at = |rate| duel(("raw gso", &[rate]), ("mcl inline", &[7e6]), 64);
        results.duels.push(duel_at(1e6));
        for (rate, void) in [(2e6, true), (8e6, false)] {
            assert!(results.duels[0].void);
            results.repeat(duel_at(rate));
            assert_eq!(results.duels[0].void, void);
        }
        assert_eq!((results.duels.len(), results.voided.len()), (1, 2));
        assert_eq!(results.duels[0].reference_runs[0].rate, 8e6);
        let voided = results.voided.iter().map(|it| it.reference_runs[0].rate);
        assert_eq!(voided.collect::<Vec<_>>(), [2e6, 1e6]);
    }

    #[test]
    fn a_contender_has_its_runs_of_all_duels() {
        let mut results = Results::default();
        results.duels.push(duel(("a", &[1.0]), ("b", &[2.0]), 64));
        results.duels.push(duel(("a", &[3.0]), ("c", &[4.0]), 64));
        let of_a = results.median(Measurement::Blast, 64, "a", Metric::Rate);
        assert_eq!(of_a, Some(2.0));
        assert_eq!(
            results.axes(Measurement::Blast),
            (vec!["a", "b", "c"], vec![64])
        );
    }
}
