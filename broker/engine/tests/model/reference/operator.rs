//! What an operator sees of a queue, and does to single messages of it.

use cmq_engine::attributes::QueueId;
use cmq_engine::browse::{Glimpse, MessageState, Place};
use cmq_engine::message::{BodyRef, DeliveryId};
use cmq_engine::outcome::{Effects, Handled, Outcome};

use super::{Kept, Line, Message, Model, State};

fn place(id: &DeliveryId) -> Place {
    Place { lane: id.lane, sequence: id.sequence }
}

impl Model {
    /// Checks a walk over a whole queue, during which nothing happened.
    pub(crate) fn check_walk(&mut self, id: QueueId, seen: &[Glimpse], now: u64) {
        assert!(seen.is_sorted_by(|one, next| place(&one.id) < place(&next.id)));
        let Some(queue) = self.queues.get(&id) else { return assert_eq!(seen, []) };
        // What a rewind has yet to put back is still to be seen.
        let goes_back =
            |glimpse: &&Glimpse| queue.is_cut && queue.kept.iter().any(|kept| kept.body == glimpse.slot.body);
        assert_eq!(seen.len() - seen.iter().filter(goes_back).count(), queue.messages.len());
        for glimpse in seen.iter().filter(|glimpse| !goes_back(glimpse)) {
            let known =
                self.places.entry((glimpse.id.queue, place(&glimpse.id))).or_insert(glimpse.slot.body);
            assert_eq!(*known, glimpse.slot.body, "another message stands at {:?}", glimpse.id);
            let message = queue.messages.iter().find(|message| message.body == glimpse.slot.body);
            message.expect("what is seen is there").check_glimpse(glimpse, now);
        }
    }

    /// Whether rewinds are done as far as the model foretells.
    pub(crate) fn is_settled(&self, id: QueueId) -> bool {
        self.queues.get(&id).is_none_or(|queue| !queue.is_cut)
    }

    pub(crate) fn remove_one(&mut self, id: &DeliveryId, now: u64, outcome: &Outcome, effects: &Effects) {
        let removed = self.at_place(id).cloned();
        let expected = if removed.is_some() { Handled::Done } else { Handled::Missing };
        assert_eq!(*outcome, Outcome::Handled(expected), "{id:?}");
        let mut dead = Vec::new();
        if let Some(queue) = self.queues.get_mut(&id.queue.queue)
            && let Some(Message { body, bytes, sent_ms, .. }) = removed
        {
            queue.messages.retain(|message| message.body != body);
            if sent_ms + queue.reach_ms() > now {
                queue.kept.push(Kept { body, bytes, sent_ms, is_lost: false });
                queue.was_deep |= queue.kept.len() > 500;
            } else {
                dead.push(body);
            }
        }
        self.free(&dead, &effects.dead_bodies);
    }

    pub(crate) fn return_one(&mut self, id: &DeliveryId, now: u64, outcome: &Outcome) {
        let Outcome::Handled(handled) = outcome else { panic!("a return answered {outcome:?}") };
        let Some(message) = self.at_place(id) else { return assert_eq!(*handled, Handled::Missing) };
        let is_out = message.state != State::Ready && message.generation == id.generation;
        match handled {
            Handled::Done => assert!(is_out, "{message:?}"),
            Handled::Unsuited => assert!(!is_out || !message.is_hidden(now), "{message:?}"),
            Handled::Missing => panic!("{message:?} is there"),
        }
        if is_out {
            message.state = State::Ready;
        }
    }

    fn at_place(&mut self, id: &DeliveryId) -> Option<&mut Message> {
        let body: BodyRef = *self.places.get(&(id.queue, place(id)))?;
        let queue = self.queues.get_mut(&id.queue.queue)?;
        queue.messages.iter_mut().find(|message| message.body == body)
    }
}

impl Message {
    fn check_glimpse(&self, glimpse: &Glimpse, now: u64) {
        let state = match self.state {
            State::Ready => MessageState::Ready,
            State::Delayed(due_ms) => MessageState::Delayed { due_ms },
            State::Leased(until_ms) => MessageState::InFlight { until_ms },
        };
        let was_noticed = glimpse.state == MessageState::Ready && !self.is_hidden(now);
        assert!(glimpse.state == state || was_noticed, "{glimpse:?} of {self:?}");
        let group = match &self.line {
            Line::Group(group) => Some(group.as_str()),
            Line::Ungrouped | Line::Delayed | Line::Rewound => None,
        };
        assert_eq!(glimpse.group.as_deref(), group);
        assert_eq!((glimpse.slot.bytes, glimpse.slot.sent_ms), (self.bytes, self.sent_ms));
        assert_eq!((glimpse.id.generation, glimpse.receive_count), (self.generation, self.generation));
        assert_eq!(glimpse.first_received_ms, self.first_received_ms);
    }
}
