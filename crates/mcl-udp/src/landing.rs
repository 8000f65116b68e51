//! Whether to receive the next train where the message is put together.

use mcl_wire::LANDING_LEN;

/// For how many trains not to try again after one was another than expected: then it had to
/// be copied, and streams that send in turns would have nothing but that.
const AFTER_MISS: u32 = 16;

/// Guesses whether the next train goes on with the message at hand.
#[derive(Debug, Default)]
pub(crate) struct Landing {
    /// Bytes that are to come of the message.
    awaited: usize,
    /// How many trains to wait until the next try.
    pause: u32,
}

impl Landing {
    /// Before another train is received, `awaited` bytes of the message at hand being to come.
    pub(crate) fn expects(&mut self, awaited: usize) {
        self.awaited = awaited;
    }

    /// Not where less is to come than a train may bring.
    pub(crate) fn is_to_be_tried(&self) -> bool {
        self.pause == 0 && self.awaited >= LANDING_LEN
    }

    /// A train was received there, and if it `landed` that was right.
    pub(crate) fn tried(&mut self, landed: bool, awaited: usize) {
        self.awaited = awaited;
        if !landed {
            self.pause = AFTER_MISS;
        }
    }

    /// A train was received elsewhere.
    pub(crate) fn passed(&mut self) {
        self.pause = self.pause.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_miss_it_is_not_tried_for_a_while() {
        let mut landing = Landing::default();
        assert!(!landing.is_to_be_tried());
        landing.expects(LANDING_LEN - 1);
        assert!(!landing.is_to_be_tried(), "the train may be longer");
        landing.expects(LANDING_LEN);
        assert!(landing.is_to_be_tried());
        landing.tried(true, 3 * LANDING_LEN);
        assert!(landing.is_to_be_tried());
        landing.tried(false, 3 * LANDING_LEN);
        for _ in 0..AFTER_MISS {
            assert!(!landing.is_to_be_tried());
            landing.passed();
        }
        assert!(landing.is_to_be_tried());
        landing.passed();
        assert!(landing.is_to_be_tried());
    }
}
