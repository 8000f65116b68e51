//! What happens when: phases of faults, broadcasters that are killed.

use std::time::Duration;

use super::dice::Dice;
use super::roles::{BROADCASTERS, LISTENERS};

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// None.
    Clean,
    /// One datagram in a hundred is lost between the hosts.
    Loss,
    /// Datagrams come twice, and later than others.
    Disorder,
    /// Bytes of datagrams are changed.
    Corruption,
    /// Nothing comes through.
    Partition,
    /// A listener's process stands still (SIGSTOP).
    Stopped,
    /// Loss, duplication, disorder and corruption at once.
    Storm,
    /// The interfaces of both hosts are down, and up again afterwards.
    LinkDown,
    /// The interfaces of both hosts are deleted, and made anew afterwards.
    LinkGone,
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Loss => "loss 1 %",
            Self::Disorder => "duplication and reorder",
            Self::Corruption => "corruption",
            Self::Partition => "partition",
            Self::Stopped => "a listener stopped",
            Self::Storm => "all at once",
            Self::LinkDown => "interfaces down",
            Self::LinkGone => "interfaces deleted",
        }
    }
}

/// The faults of a cycle and how long they are beside each other. A phase is added
/// here, and what it does in `world`.
const CYCLE: [(Fault, u64); 13] = [
    (Fault::Clean, 6),
    (Fault::Loss, 8),
    (Fault::Disorder, 8),
    (Fault::Corruption, 8),
    (Fault::Clean, 4),
    (Fault::Partition, 4),
    (Fault::Storm, 8),
    (Fault::Stopped, 4),
    (Fault::Clean, 4),
    (Fault::LinkDown, 2),
    (Fault::Clean, 4),
    (Fault::LinkGone, 2),
    (Fault::Clean, 6),
];

/// How long a cycle is, about.
const CYCLE_SECONDS: u64 = 57;

/// How often a broadcaster is killed, about.
const KILL_EVERY: u64 = 15;

/// The end is quiet, so that all that is under way ends in a known way.
const CALM: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    /// Since the beginning.
    pub(super) from: Duration,
    pub(super) fault: Fault,
    /// The listener that is stopped in it, if one is.
    pub(super) victim: usize,
}

/// A broadcaster is killed, and another one started in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) at: Duration,
    pub(super) broadcaster: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) phases: Vec<Phase>,
    pub(super) kills: Vec<Kill>,
}

impl Schedule {
    pub(super) fn new(total: Duration, seed: u64) -> Self {
        let mut dice = Dice::of(seed, 0x5c);
        let calm = CALM.min(total / 5);
        Self {
            phases: phases(total - calm, &mut dice),
            kills: kills(total - calm, &mut dice),
        }
    }

    /// The phase at a time since the beginning.
    pub(super) fn at(&self, time: Duration) -> Option<&Phase> {
        let after = self.phases.partition_point(|phase| phase.from <= time);
        self.phases.get(after.checked_sub(1)?)
    }
}

/// Whole cycles that fill the time, and then calm.
fn phases(faulty: Duration, dice: &mut Dice) -> Vec<Phase> {
    let cycles = (faulty.as_secs() / CYCLE_SECONDS).max(1);
    let weights: u64 = CYCLE.iter().map(|(_, weight)| weight).sum();
    let unit = faulty.div_f64((cycles * weights) as f64);
    let mut from = Duration::ZERO;
    let mut phases = Vec::new();
    for _ in 0..cycles {
        for (fault, weight) in CYCLE {
            let victim = dice.between(0, LISTENERS.len() as u64 - 1) as usize;
            phases.push(Phase {
                from,
                fault,
                victim,
            });
            from += unit.mul_f64(weight as f64);
        }
    }
    phases.push(Phase {
        from: faulty,
        fault: Fault::Clean,
        victim: 0,
    });
    phases
}

/// One in each stretch of time, somewhere in it.
fn kills(faulty: Duration, dice: &mut Dice) -> Vec<Kill> {
    let count = (faulty.as_secs() / KILL_EVERY).max(1);
    let stretch = faulty.div_f64(count as f64);
    (0..count)
        .map(|at| Kill {
            at: stretch.mul_f64(at as f64 + 0.25 + dice.unit() * 0.7),
            broadcaster: dice.between(0, BROADCASTERS.len() as u64 - 1) as usize,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Fault; 9] = [
        Fault::Clean,
        Fault::Loss,
        Fault::Disorder,
        Fault::Corruption,
        Fault::Partition,
        Fault::Stopped,
        Fault::Storm,
        Fault::LinkDown,
        Fault::LinkGone,
    ];

    #[test]
    fn every_fault_has_its_turn_however_short_or_long_it_is() {
        for seconds in [5, 60, 115, 120, 1800] {
            let total = Duration::from_secs(seconds);
            let schedule = Schedule::new(total, 1);
            for fault in ALL {
                assert!(
                    schedule.phases.iter().any(|it| it.fault == fault),
                    "{fault:?} in {seconds} s"
                );
            }
            assert!(schedule.phases.is_sorted_by_key(|it| it.from));
            let last = schedule.phases.last().unwrap();
            assert_eq!(last.fault, Fault::Clean);
            assert!(total - last.from >= CALM.min(total / 5));
        }
    }

    #[test]
    fn phases_of_a_long_soak_are_no_longer_than_those_of_a_short_one() {
        let cycle = |seconds| {
            let phases = Schedule::new(Duration::from_secs(seconds), 1).phases;
            phases[CYCLE.len()].from
        };
        assert!(cycle(1800) < Duration::from_secs(2 * CYCLE_SECONDS));
        assert_eq!(cycle(10), Duration::from_secs(8));
    }

    #[test]
    fn kills_are_spread_and_end_before_the_calm() {
        let schedule = Schedule::new(Duration::from_secs(120), 4);
        assert_eq!(schedule.kills.len(), 7);
        assert!(schedule.kills.is_sorted_by_key(|it| it.at));
        assert!(
            schedule
                .kills
                .iter()
                .all(|it| it.at < Duration::from_secs(115))
        );
    }

    #[test]
    fn a_seed_repeats_and_the_phase_of_a_time_is_found() {
        let schedule = Schedule::new(Duration::from_secs(120), 4);
        assert_eq!(schedule, Schedule::new(Duration::from_secs(120), 4));
        assert_ne!(schedule, Schedule::new(Duration::from_secs(120), 5));
        assert_eq!(schedule.at(Duration::ZERO).unwrap(), &schedule.phases[0]);
        let third = schedule.phases[2];
        assert_eq!(schedule.at(third.from).unwrap(), &third);
        assert_eq!(
            schedule.at(Duration::from_secs(999)),
            schedule.phases.last()
        );
    }
}
