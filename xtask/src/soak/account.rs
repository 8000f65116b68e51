//! The account of a stream at a listener, and the sums over many.

use mcl_udp::{Account, StreamReport};
use serde::{Deserialize, Serialize};

/// A stream as one listener has heard it, from when it was opened to when it closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) stream: u64,
    /// The first message number heard, and the highest.
    pub(super) first: u64,
    pub(super) highest: u64,
    /// Numbers from first to highest.
    pub(super) spanned: u64,
    /// Numbers heard which precede the first.
    pub(super) before_first: u64,
    /// Numbers heard far beyond the highest, which nothing has confirmed.
    pub(super) apart: u64,
    /// How often the numbers leapt.
    pub(super) restarts: u64,
    pub(super) fates: Account,
    /// Different messages of it that the process has got and found right.
    pub(super) verified: u64,
}

impl Pair {
    pub(super) fn new(report: &StreamReport, verified: u64) -> Self {
        let numbers = &report.numbers;
        Self {
            stream: report.id.0,
            first: numbers.first,
            highest: numbers.highest,
            spanned: numbers.spanned,
            before_first: numbers.before_first,
            apart: numbers.apart,
            restarts: numbers.restarts,
            fates: report.account(),
            verified,
        }
    }

    /// Numbers before the first one of which nothing was heard.
    fn unheard_before(&self) -> u64 {
        self.first.saturating_sub(self.before_first)
    }

    /// Whether anything was heard that has a number.
    fn is_heard(&self) -> bool {
        self.spanned > 0
    }

    /// What is wrong with it by itself, if anything is.
    pub(super) fn objection(&self) -> Option<String> {
        let total = self.fates.total();
        let spanned = self.spanned + self.before_first + self.apart;
        if self.restarts > 0 {
            return Some(format!("its numbers leapt {} times", self.restarts));
        }
        if self.is_heard() && self.spanned != self.highest + 1 - self.first {
            return Some(format!(
                "{} to {} are not {}",
                self.first, self.highest, self.spanned
            ));
        }
        if total != spanned {
            return Some(format!(
                "{total} messages are accounted for, {spanned} were numbered"
            ));
        }
        if self.verified > self.fates.delivered {
            let delivered = self.fates.delivered;
            return Some(format!(
                "{delivered} were delivered, {} came",
                self.verified
            ));
        }
        None
    }
}

/// How much of a stream a listener could have heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Presence {
    /// It was there before the first message was sent.
    pub(super) from_start: bool,
    /// It was there after the last one was sent.
    pub(super) to_end: bool,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Closed, having used so many numbers.
    Closed(u64),
    /// Killed: it had used so many numbers, and was about to use so many.
    Killed(u64, u64),
}

impl End {
    /// More numbers than these nobody can have heard.
    fn most(self) -> u64 {
        match self {
            Self::Closed(numbers) | Self::Killed(_, numbers) => numbers,
        }
    }

    pub(super) fn sent(self) -> u64 {
        match self {
            Self::Closed(numbers) | Self::Killed(numbers, _) => numbers,
        }
    }
}

/// The sum over pairs of a listener and a stream:
/// `sent == not_there + cut + unheard + fates.total()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sum {
    pub(super) pairs: u64,
    /// Messages sent, once for each listener.
    pub(super) sent: u64,
    /// Sent before the listener joined or after it left.
    pub(super) not_there: u64,
    /// Numbered by a broadcaster that was killed, after the last that was heard: some
    /// were never sent.
    pub(super) cut: u64,
    /// Sent while the listener was there, before the first or after the last message
    /// that it heard: lost without a trace at the listener.
    pub(super) unheard: u64,
    /// From the first to the last that was heard.
    pub(super) fates: Account,
    pub(super) verified: u64,
}

impl Sum {
    pub(super) fn add(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.sent += other.sent;
        self.not_there += other.not_there;
        self.cut += other.cut;
        self.unheard += other.unheard;
        self.fates += other.fates;
        self.verified += other.verified;
    }

    /// Whether each message sent is accounted for.
    pub(super) fn balances(&self) -> bool {
        self.sent == self.not_there + self.cut + self.unheard + self.fates.total()
    }

    /// Messages that the listeners were there for.
    pub(super) fn due(&self) -> u64 {
        self.sent - self.not_there - self.cut
    }

    /// The account of one pair.
    ///
    /// # Errors
    /// Says what cannot be.
    pub(super) fn of(pair: &Pair, end: End, presence: Presence) -> Result<Self, String> {
        if let Some(objection) = pair.objection() {
            return Err(objection);
        }
        let heard = if pair.is_heard() {
            pair.highest + 1 + pair.apart
        } else {
            0
        };
        if heard > end.most() {
            return Err(format!(
                "number {} was heard, {} were sent",
                pair.highest,
                end.most()
            ));
        }
        let sent = end.sent().max(heard);
        let (before, after) = (pair.unheard_before(), sent - heard);
        let mut sum = Self {
            pairs: 1,
            sent,
            fates: pair.fates,
            verified: pair.verified,
            ..Self::default()
        };
        if presence.from_start {
            sum.unheard += before;
        } else {
            sum.not_there += before;
        }
        match (presence.to_end, end) {
            (false, _) => sum.not_there += after,
            (true, End::Killed(..)) => sum.cut += after,
            (true, End::Closed(_)) => sum.unheard += after,
        }
        match sum.balances() {
            true => Ok(sum),
            false => Err(format!("does not add up: {sum:?}")),
        }
    }

    /// The account of a stream of which a listener heard nothing, though it was there
    /// all the time.
    pub(super) fn of_nothing(end: End) -> Self {
        let sent = end.sent();
        let mut sum = Self {
            pairs: 1,
            sent,
            ..Self::default()
        };
        match end {
            End::Closed(_) => sum.unheard = sent,
            End::Killed(..) => sum.cut = sent,
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: Presence = Presence {
        from_start: true,
        to_end: true,
    };
    const GUEST: Presence = Presence {
        from_start: false,
        to_end: false,
    };

    /// Numbers 10 to 29 and 8: 17 delivered, 2 missing, 1 expired, 1 filtered.
    fn pair() -> Pair {
        let mut fates = Account::default();
        (
            fates.delivered,
            fates.missing,
            fates.expired,
            fates.filtered,
        ) = (17, 2, 1, 1);
        Pair {
            stream: 1,
            first: 10,
            highest: 29,
            spanned: 20,
            before_first: 1,
            apart: 0,
            restarts: 0,
            fates,
            verified: 17,
        }
    }

    #[test]
    fn what_a_guest_did_not_hear_is_not_lost() {
        let sum = Sum::of(&pair(), End::Closed(100), GUEST).unwrap();
        assert_eq!((sum.sent, sum.not_there, sum.unheard), (100, 79, 0));
        assert_eq!(sum.due(), 21);
        assert!(sum.balances());
    }

    #[test]
    fn what_one_who_was_there_did_not_hear_is_lost() {
        let sum = Sum::of(&pair(), End::Closed(100), ALWAYS).unwrap();
        assert_eq!((sum.sent, sum.not_there, sum.unheard), (100, 0, 79));
        let nothing = Sum::of_nothing(End::Closed(100));
        assert_eq!((nothing.due(), nothing.unheard), (100, 100));
    }

    #[test]
    fn the_end_of_a_killed_stream_is_uncertain_and_no_loss() {
        let sum = Sum::of(&pair(), End::Killed(35, 40), ALWAYS).unwrap();
        assert_eq!((sum.sent, sum.cut, sum.unheard), (35, 5, 9));
        // The last message left, and the ledger was not written any more.
        let sum = Sum::of(&pair(), End::Killed(29, 30), ALWAYS).unwrap();
        assert_eq!((sum.sent, sum.cut), (30, 0));
        assert!(Sum::of(&pair(), End::Killed(28, 29), ALWAYS).is_err());
    }

    #[test]
    fn an_account_that_cannot_be_is_refused() {
        let wrong = |change: fn(&mut Pair)| {
            let mut pair = pair();
            change(&mut pair);
            Sum::of(&pair, End::Closed(100), ALWAYS).unwrap_err()
        };
        let text = wrong(|pair| pair.fates.missing += 1);
        assert_eq!(text, "22 messages are accounted for, 21 were numbered");
        assert!(wrong(|pair| pair.fates.delivered -= 1).contains("20 messages"));
        assert!(wrong(|pair| pair.verified += 1).contains("18 came"));
        assert!(wrong(|pair| pair.highest = 100).contains("10 to 100"));
        assert!(wrong(|pair| pair.restarts = 1).contains("leapt"));
        let text = Sum::of(&pair(), End::Closed(29), ALWAYS).unwrap_err();
        assert_eq!(text, "number 29 was heard, 29 were sent");
    }

    #[test]
    fn a_stream_of_which_nothing_has_a_number_is_all_unheard() {
        let sum = Sum::of(&Pair::default(), End::Closed(5), ALWAYS).unwrap();
        assert_eq!((sum.unheard, sum.due()), (5, 5));
    }

    #[test]
    fn sums_of_what_balances_balance() {
        let mut all = Sum::default();
        for presence in [ALWAYS, GUEST] {
            all.add(&Sum::of(&pair(), End::Closed(64), presence).unwrap());
        }
        assert_eq!((all.pairs, all.sent, all.fates.delivered), (2, 128, 34));
        assert!(all.balances());
        all.fates.missing += 1;
        assert!(!all.balances());
    }
}
