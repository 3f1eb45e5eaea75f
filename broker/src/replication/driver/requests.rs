//! Requests on their way to a group: which shard takes them, who waits, whose turn it is when a message comes.

use bytes::Bytes;
use cmq_engine::attributes::QueueId;
use cmq_engine::command::{Command, NewMessage};
use cmq_engine::outcome::{Deleted, Handled, Refusal};
use cmq_engine::shard::Counts;

use super::Driver;
use crate::replication::fold::{Asker, Operation};
use crate::replication::group::Group;
use crate::replication::waiters::Waiter;
use crate::replication::{Fatal, GroupId, Reply, Request, Token};

/// What a caller is told whose queue has its share of what may wait for the disk.
const TOO_MANY_WAIT: &str = "too many requests of this queue wait for the disk";

impl<T: Token> Driver<T> {
    pub(super) fn request(&mut self, token: T, request: Request) -> Result<(), Fatal> {
        if self.hub.is_stopping {
            self.hub.out.replies.push((token, Reply::Stopping));
            return Ok(());
        }
        match request {
            Request::Catalogue(command) => {
                let group = &mut self.groups[0];
                if !group.is_serving() {
                    self.hub.out.replies.push((token, Reply::NotLeader));
                } else if let Err(Some(token)) = group.fold.push_catalogue(Some(token), command) {
                    self.hub.out.replies.push((token, Reply::Busy("too many changes of queues wait")));
                }
            }
            Request::Send { queue, messages, bodies, home } => {
                self.send(token, queue, messages, bodies, home)
            }
            Request::Receive { queue, max, wait_ms, visibility_ms } => {
                let ticket = self.hub.next_ticket;
                self.hub.next_ticket += 1;
                // The clock shows whole milliseconds: one more, or a wait could end before its time.
                let deadline_ms = self.hub.world.monotonic_ms + wait_ms + u64::from(wait_ms > 0);
                self.receive(Waiter { token, queue, max, visibility_ms, deadline_ms, ticket, claim: 0 });
            }
            Request::Delete { shard, deliveries, stale } => {
                let unknown = Reply::Deleted(vec![Deleted::Unknown; deliveries.len()]);
                self.push(token, shard, Command::Delete { deliveries, stale }, unknown);
            }
            Request::Remove { shard, message } => {
                self.push(token, shard, Command::Remove { message }, Reply::Handled(Handled::Missing));
            }
            Request::Return { shard, message } => {
                self.push(token, shard, Command::Return { message }, Reply::Handled(Handled::Missing));
            }
            Request::Count(queue) => {
                let reply = match self.exact_counts(queue)? {
                    Some(counts) => Reply::Counted(counts),
                    None => Reply::NotLeader,
                };
                self.hub.out.replies.push((token, reply));
            }
        }
        Ok(())
    }

    /// As [`Driver::counts`], with the pages read that say how old the oldest message is.
    fn exact_counts(&mut self, queue: QueueId) -> Result<Option<Counts>, Fatal> {
        let led: Vec<usize> = self.led().collect();
        let mut sum = None;
        for at in led {
            let group = &mut self.groups[at];
            let counts = group.exact_counts(queue, &self.hub)?;
            let before: Counts = sum.unwrap_or_default();
            sum = Some(counts.map_or(before, |counts| before.plus(&counts)));
        }
        Ok(sum)
    }

    /// Puts a command for one shard on its way; `unknown` is the answer where there is no such shard.
    fn push(&mut self, token: T, shard: GroupId, command: Command, unknown: Reply) {
        let queue = command.queue();
        let group = self.groups.get_mut(usize::from(shard.0)).filter(|group| group.machine.shard().is_some());
        let reply = match group {
            None => unknown,
            Some(group) if !group.is_serving() => Reply::NotLeader,
            Some(group) if queue.is_some_and(|queue| !group.fold.has_room(queue, 0)) => {
                Reply::Busy(TOO_MANY_WAIT)
            }
            Some(group) => {
                group.fold.push(Operation::new(Asker::Client(token), command, Vec::new(), 0));
                return;
            }
        };
        self.hub.out.replies.push((token, reply));
    }

    fn send(
        &mut self,
        token: T,
        queue: QueueId,
        messages: Vec<NewMessage>,
        bodies: Vec<Bytes>,
        home: Option<GroupId>,
    ) {
        let reply = match self.choose_for_send(home) {
            None => Reply::NotLeader,
            Some(_) if !self.hub.world.has_room => Reply::DiskFull,
            Some(at) => {
                let group = &mut self.groups[at];
                let refusal = group.machine.shard().and_then(|shard| shard.refusal(queue, &messages));
                // A queue that the shard does not know yet, or not as open again, comes with the catalogue's changes, before
                // the send.
                let is_behind =
                    group.machine.shard().is_some_and(|shard| shard.revision() < self.hub.catalogue_revision);
                match refusal {
                    Some(refusal)
                        if !is_behind || !matches!(refusal, Refusal::QueueMissing | Refusal::QueueClosed) =>
                    {
                        Reply::Refused(refusal)
                    }
                    _ if !group.fold.has_room(queue, bodies.iter().map(Bytes::len).sum()) => {
                        Reply::Busy(TOO_MANY_WAIT)
                    }
                    _ => {
                        let command = Command::Send { queue, messages };
                        group.fold.push(Operation::new(Asker::Client(token), command, bodies, 0));
                        return;
                    }
                }
            }
        };
        self.hub.out.replies.push((token, reply));
    }

    /// The shards that this node leads, by their place among the groups.
    pub(super) fn led(&self) -> impl Iterator<Item = usize> {
        (1..self.groups.len()).filter(|at| self.groups[*at].is_serving())
    }

    fn choose_for_send(&mut self, home: Option<GroupId>) -> Option<usize> {
        let shards = self.groups.len() - 1;
        if let Some(home) = home {
            let at = usize::from(home.0);
            return self.groups.get(at).is_some_and(Group::is_serving).then_some(at);
        }
        self.next_shard = (self.next_shard + 1) % shards;
        let start = self.next_shard;
        (0..shards).map(|offset| 1 + (start + offset) % shards).find(|at| self.groups[*at].is_serving())
    }

    /// The shard whose oldest message of the queue is the oldest, of those that have any ready.
    fn choose_for_receive(&mut self, queue: QueueId) -> Option<usize> {
        let led: Vec<usize> = self.led().collect();
        let mut best: Option<(u64, usize)> = None;
        for at in led {
            let group = &mut self.groups[at];
            let stamp_ms = group.stamp_ms(&self.hub);
            let Some(shard) = group.machine.shard() else { continue };
            if !shard.may_have_ready(queue, stamp_ms) {
                continue;
            }
            let oldest_ms = shard.counts(queue).and_then(|counts| counts.oldest_ms).unwrap_or(u64::MAX);
            if best.is_none_or(|(so_far, _)| oldest_ms < so_far) {
                best = Some((oldest_ms, at));
            }
        }
        best.map(|(_, at)| at)
    }

    fn receive(&mut self, waiter: Waiter<T>) {
        if self.led().next().is_none() {
            self.hub.out.replies.push((waiter.token, Reply::NotLeader));
            return;
        }
        if self.hub.waiters.is_full(waiter.queue) {
            self.hub.waiters.forget_gone(waiter.queue);
        }
        let is_first = self.hub.waiters.of(waiter.queue) == 0;
        let waits = waiter.deadline_ms > self.hub.world.monotonic_ms;
        match self.choose_for_receive(waiter.queue) {
            Some(at) if is_first || !waits => {
                let available = self.available(waiter.queue);
                let claimed = self.hub.claims.get(&waiter.queue).copied().unwrap_or(0);
                if waits && available <= claimed && claimed > 0 {
                    self.hub.park(waiter);
                } else if !self.groups[at].fold.has_room(waiter.queue, 0) {
                    self.hub.out.replies.push((waiter.token, Reply::Busy(TOO_MANY_WAIT)));
                } else {
                    self.forward(waiter, at, available.saturating_sub(claimed));
                }
            }
            _ if waits => self.hub.park(waiter),
            _ => self.hub.answer_empty(waiter),
        }
    }

    /// Counts the receives that were answered empty, on the first shard that this node leads.
    pub(super) fn count_empty_receives(&mut self) {
        if self.hub.emptied.is_empty() {
            return;
        }
        let emptied = std::mem::take(&mut self.hub.emptied);
        let first = self.led().next();
        if let Some(shard) = first.and_then(|at| self.groups[at].machine.shard_mut()) {
            emptied.into_iter().for_each(|queue| shard.count_empty_receive(queue));
        }
    }

    /// Puts a receive on its way through the log of a shard. One that has waited goes whatever else waits there: it has
    /// its place already.
    fn forward(&mut self, mut waiter: Waiter<T>, at: usize, unclaimed: u64) {
        let queue = waiter.queue;
        let group = &mut self.groups[at];
        let is_at_limit = group.machine.shard().is_some_and(|shard| shard.is_at_flight_limit(queue));
        if is_at_limit {
            self.hub.out.replies.push((waiter.token, Reply::Refused(Refusal::TooManyInFlight)));
            return;
        }
        waiter.claim = unclaimed.clamp(1, u64::from(waiter.max));
        *self.hub.claims.entry(queue).or_default() += waiter.claim;
        let command = Command::Receive { queue, max: waiter.max, visibility_ms: waiter.visibility_ms };
        let message_bytes = self.hub.sizes.of(queue);
        group.fold.push(Operation::new(Asker::Receive(waiter), command, Vec::new(), message_bytes));
    }

    fn available(&self, queue: QueueId) -> u64 {
        let shards = self.led().filter_map(|at| self.groups[at].machine.shard()?.counts(queue));
        shards.map(|counts| counts.active).sum()
    }

    /// Answers purges and rewinds that the shards which this node leads have done, so that the next call sees them.
    pub(super) fn answer_epochs(&mut self) {
        while let Some((revision, ..)) = self.hub.epochs_waiting.front() {
            let has_done = |at: usize| {
                self.groups[at].machine.shard().is_some_and(|shard| shard.revision() >= *revision)
            };
            if !self.hub.is_stopping && !self.led().all(has_done) {
                return;
            }
            let done = self.hub.epochs_waiting.pop_front();
            let replies = done.map(|(_, token, queue)| (token, Reply::Catalogue(Ok(queue))));
            self.hub.out.replies.extend(replies);
        }
    }

    /// Serves waiters of queues in which something may have become ready, in the order of their arrival.
    pub(super) fn wake(&mut self) {
        for waiter in std::mem::take(&mut self.hub.retries) {
            match self.choose_for_receive(waiter.queue) {
                Some(at) => self.forward(waiter, at, 1),
                None => self.hub.wait_on(waiter, false),
            }
        }
        if std::mem::take(&mut self.hub.leadership_changed) {
            if self.led().next().is_none() {
                for waiter in self.hub.waiters.drain() {
                    self.hub.out.replies.push((waiter.token, Reply::NotLeader));
                }
            }
            // A shard that is led from now on may hold what they wait for.
            self.hub.woken.extend(self.hub.waiters.queues());
        }
        for queue in std::mem::take(&mut self.hub.woken) {
            while self.hub.waiters.of(queue) > 0 {
                let Some(at) = self.choose_for_receive(queue) else {
                    self.dismiss_if_removed(queue);
                    break;
                };
                let claimed = self.hub.claims.get(&queue).copied().unwrap_or(0);
                let available = self.available(queue).max(u64::from(claimed == 0));
                if available <= claimed {
                    break;
                }
                let Some(waiter) = self.hub.waiters.pop(queue) else { break };
                if !waiter.token.is_gone() {
                    self.forward(waiter, at, available - claimed);
                }
            }
        }
    }

    /// Nobody waits for a queue that is gone.
    fn dismiss_if_removed(&mut self, queue: QueueId) {
        let is_known = self.led().any(|at| {
            let group = &self.groups[at];
            let shard = group.machine.shard();
            shard.is_some_and(|shard| {
                shard.epoch(queue).is_some() || shard.revision() < self.hub.catalogue_revision
            })
        });
        if !is_known {
            while let Some(waiter) = self.hub.waiters.pop(queue) {
                self.hub.out.replies.push((waiter.token, Reply::Refused(Refusal::QueueMissing)));
            }
        }
    }
}
