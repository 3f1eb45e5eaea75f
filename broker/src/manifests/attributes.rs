//! The attributes of a queue as the engine knows them.

use cmq_crds::queue::{
    DeadLetter, DeduplicationScope as DeclaredScope, DeletionPolicy as DeclaredPolicy, Fifo, QueueSpec,
};
use cmq_engine::attributes::{DeadLetterRule, DeduplicationScope, QueueAttributes, QueueKind};
use cmq_engine::catalogue::DeletionPolicy;

/// The attributes of a right object, all but the dead-letter queue.
pub(super) fn of(spec: &QueueSpec) -> QueueAttributes {
    QueueAttributes {
        kind: match &spec.fifo {
            None => QueueKind::Standard,
            Some(fifo) => QueueKind::Fifo { deduplication: scope(fifo.deduplication_scope) },
        },
        content_based_deduplication: spec.fifo.as_ref().is_some_and(|fifo| fifo.content_based_deduplication),
        delay_seconds: unsigned(spec.delay_seconds),
        visibility_timeout_seconds: unsigned(spec.visibility_timeout_seconds),
        retention_seconds: unsigned(spec.retention_seconds),
        rewind_seconds: unsigned(spec.rewind_seconds),
        polling_wait_seconds: unsigned(spec.polling_wait_seconds),
        max_message_bytes: unsigned(spec.max_message_bytes),
        max_messages: u64::try_from(spec.max_messages).expect("the bounds hold no negative number"),
        max_in_flight: unsigned(spec.max_in_flight),
        max_delayed: unsigned(spec.max_delayed),
        dead_letter: None,
        closed: false,
    }
}

/// When messages of a right object move to its dead-letter queue.
pub(super) fn rule(dead_letter: &DeadLetter) -> DeadLetterRule {
    match (dead_letter.max_receive_count, dead_letter.max_time_to_live_seconds) {
        (Some(count), _) => DeadLetterRule::MaxReceiveCount(unsigned(count)),
        (None, Some(seconds)) => DeadLetterRule::MaxTimeToLiveSeconds(unsigned(seconds)),
        (None, None) => unreachable!("validation refuses a dead-letter queue without a rule"),
    }
}

/// What a manifest says of a queue of this kind; what can be changed is taken from `other`.
pub(super) fn fifo(kind: QueueKind, other: Option<&Fifo>) -> Option<Fifo> {
    let QueueKind::Fifo { deduplication } = kind else { return None };
    let deduplication_scope = match deduplication {
        DeduplicationScope::Queue => DeclaredScope::Queue,
        DeduplicationScope::MessageGroup => DeclaredScope::MessageGroup,
    };
    let content_based_deduplication = other.is_some_and(|fifo| fifo.content_based_deduplication);
    Some(Fifo { deduplication_scope, content_based_deduplication })
}

/// What becomes of a queue that is not declared any more.
pub fn deletion(declared: DeclaredPolicy) -> DeletionPolicy {
    match declared {
        DeclaredPolicy::Retain => DeletionPolicy::Retain,
        DeclaredPolicy::Delete => DeletionPolicy::Delete,
        DeclaredPolicy::DeleteIfEmpty => DeletionPolicy::DeleteIfEmpty,
    }
}

fn scope(declared: DeclaredScope) -> DeduplicationScope {
    match declared {
        DeclaredScope::Queue => DeduplicationScope::Queue,
        DeclaredScope::MessageGroup => DeduplicationScope::MessageGroup,
    }
}

/// Kubernetes has signed integers only.
fn unsigned(number: i32) -> u32 {
    u32::try_from(number).expect("the bounds hold no negative number")
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use cmq_crds::bounds::{self, Bounds};
    use cmq_engine::{attributes as engine, catalogue};

    use super::*;

    /// The resource and the engine hold each bound on their own, since neither may depend on the other.
    #[test]
    fn bounds_are_the_engines() {
        for (declared, engine) in [
            (bounds::DELAY_SECONDS, engine::DELAY_SECONDS),
            (bounds::VISIBILITY_TIMEOUT_SECONDS, engine::VISIBILITY_TIMEOUT_SECONDS),
            (bounds::RETENTION_SECONDS, engine::RETENTION_SECONDS),
            (bounds::REWIND_SECONDS, engine::REWIND_SECONDS),
            (bounds::POLLING_WAIT_SECONDS, engine::POLLING_WAIT_SECONDS),
            (bounds::MAX_MESSAGE_BYTES, engine::MAX_MESSAGE_BYTES),
            (bounds::MAX_IN_FLIGHT, engine::MAX_IN_FLIGHT),
            (bounds::MAX_DELAYED, engine::MAX_DELAYED),
            (bounds::MAX_RECEIVE_COUNT, engine::MAX_RECEIVE_COUNT),
            (bounds::MAX_TIME_TO_LIVE_SECONDS, engine::MAX_TIME_TO_LIVE_SECONDS),
        ] {
            assert_eq!(range(declared), engine);
        }
        let Bounds { min, max } = bounds::MAX_MESSAGES;
        assert_eq!(min as u64..=max as u64, engine::MAX_MESSAGES);
        assert_eq!(bounds::DEAD_LETTER_SOURCES_MAX, engine::DEAD_LETTER_SOURCES_MAX);
        assert!(bounds::SHARDS.max as u16 <= cmq_engine::limits::SHARDS_MAX);
        let closed_ms = bounds::CLOSED_SECONDS.max as u64 * 1_000;
        assert_eq!([closed_ms; 2], [catalogue::RECREATE_WAIT_MS_MAX, catalogue::PURGE_WAIT_MS_MAX]);
    }

    fn range(bounds: Bounds<i32>) -> RangeInclusive<u32> {
        unsigned(bounds.min)..=unsigned(bounds.max)
    }

    #[test]
    fn defaults_are_the_engines() {
        assert_eq!(of(&QueueSpec::default()), QueueAttributes::default());
    }
}
