//! A lane as a tool sees it that works on a volume nobody serves.

use super::{Lane, Record, State};
use crate::message::{BodyRef, Slot};

impl Lane {
    /// Ends a message that cannot be handed out any more. Its timers and counts are those of before; rebuild them.
    pub(crate) fn give_up(&mut self, sequence: u64) {
        if self.records.contains_key(&sequence) {
            self.finish(sequence);
        } else if (self.fresh..self.tail).contains(&sequence) {
            let body = BodyRef { index: 0, position: 0 };
            let slot = Slot { body, bytes: 0, sent_ms: self.fresh_sent_ms };
            self.records.insert(sequence, Record::new(slot, State::Finished));
        }
        while self.has_fresh()
            && let Some(record) = self.records.get(&self.fresh)
        {
            if record.state == State::Finished {
                self.records.remove(&self.fresh);
            }
            self.step_fresh();
        }
        self.forget_passed();
    }
}
