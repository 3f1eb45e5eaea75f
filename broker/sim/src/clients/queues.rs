//! The queues that clients use.

use cmq_engine::attributes::{
    DeadLetterPolicy, DeadLetterRule, DeduplicationScope, QueueAttributes, QueueId, QueueKind,
};
use cmq_engine::catalogue::DeletionPolicy;
use fastrand::Rng;

use super::Clients;
use crate::history::{Action, CHANGING, History, KnownQueue, LONG_REWIND_SECONDS, PURGED, QueueNumber};
use crate::plan::pick;

/// Queues that come and go, at most at once.
const PASSING_MAX: usize = 4;
/// Queues that are declared, at most at once.
const DECLARED_MAX: usize = 3;
/// What becomes of them: most are closed.
const DELETIONS: [DeletionPolicy; 4] = [
    DeletionPolicy::DeleteIfEmpty,
    DeletionPolicy::DeleteIfEmpty,
    DeletionPolicy::Delete,
    DeletionPolicy::Retain,
];

const BY_QUEUE: QueueKind = QueueKind::Fifo { deduplication: DeduplicationScope::Queue };
const BY_GROUP: QueueKind = QueueKind::Fifo { deduplication: DeduplicationScope::MessageGroup };

fn queue(name: &str, attributes: QueueAttributes) -> KnownQueue {
    KnownQueue {
        name: name.into(),
        attributes,
        dead_letter: None,
        id: None,
        created_us: 0,
        removal_asked_us: None,
        is_removed: false,
        deletion: None,
        withdrawn_us: None,
        closed_us: None,
    }
}

fn of_kind(kind: QueueKind, rng: &mut Rng) -> QueueAttributes {
    QueueAttributes { kind, visibility_timeout_seconds: rng.u32(1..=6), ..QueueAttributes::default() }
}

fn source(name: &str, kind: QueueKind, to: QueueNumber, rule: DeadLetterRule, rng: &mut Rng) -> KnownQueue {
    let policy = DeadLetterPolicy { queue: QueueId(0), rule };
    let attributes = QueueAttributes {
        dead_letter: Some(policy),
        visibility_timeout_seconds: rng.u32(1..=2),
        ..of_kind(kind, rng)
    };
    KnownQueue { dead_letter: Some(to), ..queue(name, attributes) }
}

/// The queues that live as long as the broker. Dead-letter queues come before their sources.
pub(crate) fn population(rng: &mut Rng) -> Vec<KnownQueue> {
    let by_count = |rng: &mut Rng| DeadLetterRule::MaxReceiveCount(rng.u32(1..=3));
    let (first, second) = (by_count(rng), by_count(rng));
    let by_age = DeadLetterRule::MaxTimeToLiveSeconds(rng.u32(5..=15));
    let mut queues = vec![
        queue("dead", of_kind(QueueKind::Standard, rng)),
        queue("dead.fifo", of_kind(BY_QUEUE, rng)),
        queue("plain", of_kind(QueueKind::Standard, rng)),
        queue("ordered.fifo", of_kind(BY_QUEUE, rng)),
        queue("grouped.fifo", of_kind(BY_GROUP, rng)),
        source("source", QueueKind::Standard, 0, first, rng),
        source("source.fifo", *pick(rng, &[BY_QUEUE, BY_GROUP]), 1, second, rng),
    ];
    if rng.bool() {
        let retention_seconds = rng.u32(3..=15);
        queues
            .push(queue("short", QueueAttributes { retention_seconds, ..of_kind(QueueKind::Standard, rng) }));
    }
    if rng.bool() {
        let delay_seconds = rng.u32(1..=3);
        queues.push(queue("delayed", QueueAttributes { delay_seconds, ..of_kind(QueueKind::Standard, rng) }));
    }
    if rng.bool() {
        queues.push(source("ageing", QueueKind::Standard, 0, by_age, rng));
    }
    if rng.bool() {
        let rewind_seconds = *pick(rng, &[5, 15, LONG_REWIND_SECONDS]);
        let source = source("rewound", QueueKind::Standard, 0, by_count(rng), rng);
        let dead_letter = source.attributes.dead_letter.filter(|_| rng.bool());
        let attributes = QueueAttributes { rewind_seconds, dead_letter, ..source.attributes.clone() };
        queues.push(KnownQueue { attributes, ..source });
    }
    if rng.u8(..3) == 0 {
        queues.push(queue(PURGED, of_kind(QueueKind::Standard, rng)));
    }
    if rng.u8(..3) == 0 {
        let own = of_kind(QueueKind::Standard, rng);
        // Longer than a run: what is counted at rest must not end while it is taken.
        let attributes = QueueAttributes { rewind_seconds: 20, retention_seconds: 3_600, ..own };
        queues.push(KnownQueue { dead_letter: Some(0), ..queue(CHANGING, attributes) });
    }
    queues
}

impl Clients {
    pub(super) fn create_or_remove(&mut self, history: &mut History) -> Action {
        let passing: Vec<QueueNumber> = {
            let live = history.queues.iter().enumerate();
            let is_passing = |queue: &KnownQueue| queue.name.starts_with("passing");
            // Clients may not delete what is declared.
            let is_free = |queue: &KnownQueue| match queue.deletion {
                None => true,
                Some(DeletionPolicy::Retain) => queue.withdrawn_us.is_some(),
                Some(DeletionPolicy::Delete | DeletionPolicy::DeleteIfEmpty) => false,
            };
            live.filter(|(_, queue)| is_passing(queue) && is_free(queue) && queue.removal_asked_us.is_none())
                .map(|(number, _)| number)
                .collect()
        };
        let created: Vec<QueueNumber> =
            passing.iter().copied().filter(|number| history.queues[*number].id.is_some()).collect();
        if !created.is_empty() && (passing.len() >= PASSING_MAX || self.rng.bool()) {
            return Action::Remove(*pick(&mut self.rng, &created));
        }
        let number = history.queues.len();
        let own = format!("passing-{number}");
        // A shared name may be used again once its queue is known to be deleted.
        let name =
            if self.rng.bool() { own.clone() } else { format!("passing-again-{}", self.rng.usize(..20)) };
        let is_taken = history.queues.iter().any(|queue| queue.name == name && !queue.is_removed);
        let name = if is_taken { own } else { name };
        let kind = *pick(&mut self.rng, &[QueueKind::Standard, BY_QUEUE, BY_GROUP]);
        let declared = history.queues.iter().filter(|queue| queue.deletion.is_some() && !queue.is_removed);
        let may_declare = declared.count() < DECLARED_MAX && self.rng.bool();
        let deletion = may_declare.then(|| *pick(&mut self.rng, &DELETIONS));
        history.queues.push(KnownQueue { deletion, ..queue(&name, of_kind(kind, &mut self.rng)) });
        Action::Create(number)
    }
}
