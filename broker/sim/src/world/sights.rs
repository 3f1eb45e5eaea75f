//! What is counted of calls and answers.

use cmq_broker::replication::Reply;
use cmq_engine::outcome::{Deleted, Handled, Refusal};

use super::World;
use crate::history::{Action, HandleSource, OperationId};
use crate::tally::{Deed, Sight};

impl World {
    pub(super) fn count_deed(&mut self, action: &Action) {
        let mut deeds = Vec::new();
        match action {
            Action::Create(queue) => {
                let is_declared = self.history.queues[*queue].deletion.is_some();
                deeds.push(if is_declared { Deed::Declare } else { Deed::Create });
            }
            Action::Remove(_) => deeds.push(Deed::Remove),
            Action::Send { queue, messages, .. } => {
                let is_fifo = self.history.queues[*queue].is_fifo();
                deeds.push(match (is_fifo, messages.len()) {
                    (true, _) => Deed::SendFifo,
                    (false, 1) => Deed::Send,
                    (false, _) => Deed::SendBatch,
                });
                if messages.iter().any(|message| message.delay_ms.is_some_and(|delay_ms| delay_ms > 0)) {
                    deeds.push(Deed::SendDelayed);
                }
                if messages.iter().any(|message| message.deduplication.is_some()) {
                    deeds.push(Deed::SendDeduplicated);
                }
            }
            Action::Receive { queue, max, wait_ms, .. } => {
                let queue = &self.history.queues[*queue];
                deeds.push(if *max == 1 { Deed::Receive } else { Deed::ReceiveBatch });
                if *wait_ms > 0 {
                    deeds.push(Deed::ReceiveWaiting);
                }
                if queue.is_fifo() {
                    deeds.push(Deed::ReceiveFifo);
                }
                if queue.name.starts_with("dead") {
                    deeds.push(Deed::ReceiveDead);
                }
            }
            Action::Delete { handles, .. } => {
                deeds.push(match (handles[0].source, handles.len()) {
                    (HandleSource::MadeUp, _) => Deed::DeleteForeign,
                    (HandleSource::Old, _) => Deed::DeleteStale,
                    (HandleSource::Fresh, 1) => Deed::Delete,
                    (HandleSource::Fresh, _) => Deed::DeleteBatch,
                });
            }
            Action::Count(_) => deeds.push(Deed::Count),
            Action::Change(..) => deeds.push(Deed::Change),
            Action::Purge(_) => deeds.push(Deed::Purge),
            Action::Rewind { .. } => deeds.push(Deed::Rewind),
            Action::RemoveOne(_) => deeds.push(Deed::RemoveOne),
            Action::ReturnOne(_) => deeds.push(Deed::ReturnOne),
            Action::Withdraw(_) => deeds.push(Deed::Withdraw),
            Action::DeleteClosed { .. } => deeds.push(Deed::DeleteClosed),
        }
        deeds.into_iter().for_each(|deed| self.tally.deed(deed));
    }

    pub(super) fn see(&mut self, id: OperationId, reply: &Reply) {
        let operation = &self.history.operations[id as usize];
        match (reply, &operation.action) {
            (Reply::Received(received), Action::Receive { queue, .. }) => {
                let is_late = operation.asked_us + 50_000 < self.now_us;
                let is_dead = self.history.queues[*queue].name.starts_with("dead");
                for one in received {
                    if one.delivery.receive_count > 1 {
                        self.tally.sight(Sight::Redelivery);
                    }
                    if is_dead {
                        self.tally.sight(Sight::DeadLetter);
                    }
                }
                if is_late && !received.is_empty() {
                    self.tally.sight(Sight::LongPoll);
                }
            }
            (Reply::Deleted(verdicts), _) => {
                for _ in verdicts.iter().filter(|verdict| **verdict != Deleted::Done) {
                    self.tally.sight(Sight::Refusal);
                }
            }
            (Reply::Handled(Handled::Done), Action::RemoveOne(_)) => self.tally.sight(Sight::Removed),
            (Reply::Handled(Handled::Done), Action::ReturnOne(_)) => self.tally.sight(Sight::Returned),
            (Reply::Refused(Refusal::QueueClosed), _) => self.tally.sight(Sight::Closed),
            (Reply::Catalogue(Ok(_)), Action::DeleteClosed { .. }) => self.tally.sight(Sight::ClosedGone),
            _ => {}
        }
    }
}
