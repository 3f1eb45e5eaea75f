//! What is done to a shard at random: operations whose numbers are read against the state of the moment.

use cmq_engine::attributes::{
    DeadLetterPolicy, DeadLetterRule, DeduplicationScope, QueueAttributes, QueueId, QueueKind,
};
use cmq_engine::command::{NewMessage, StaleHandle};
use proptest::prelude::*;

/// Places of queues; each holds a queue of its kind, or none.
pub(crate) const SLOTS: usize = 6;

/// The place of the dead-letter queue of a place.
pub(crate) fn dead_letter_slot(slot: usize) -> Option<usize> {
    [None, Some(2), None, Some(4), None, Some(2)][slot]
}

pub(crate) fn is_fifo(slot: usize) -> bool {
    matches!(slot, 3 | 4)
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Send {
        slot: usize,
        messages: Vec<NewMessage>,
    },
    Receive {
        slot: usize,
        max: u16,
        visibility_ms: Option<u64>,
    },
    Delete {
        back: usize,
        count: usize,
        stride: usize,
        stale: StaleHandle,
    },
    DeleteForged {
        back: usize,
        sequence: u64,
        generation: u32,
    },
    /// Removes a message that a walk over the queue finds, whatever its state.
    RemoveOne {
        slot: usize,
        nth: usize,
    },
    /// Makes a message ready that a walk over the queue finds.
    ReturnOne {
        slot: usize,
        nth: usize,
        /// Added to the generation.
        off: u32,
    },
    /// Means places that need not exist.
    OperateForged {
        slot: usize,
        lane: u64,
        sequence: u64,
    },
    Expire,
    /// Expires until nothing is due.
    Quiesce,
    Wait {
        ms: u64,
    },
    /// Waits until the next thing is due, and a little more.
    WaitForDue {
        more_ms: u64,
    },
    Put {
        slot: usize,
        attributes: QueueAttributes,
    },
    Remove {
        slot: usize,
    },
    /// Brings back what was deleted and was sent at most so long ago.
    Rewind {
        slot: usize,
        back_ms: u64,
    },
    Purge {
        slot: usize,
    },
    /// Tells the shard all queues at once, and leaves one out.
    Complete {
        without: usize,
    },
    CleanUp,
    Checkpoint,
    Crash,
}

/// Operations on small numbers of messages, or also on so many that chunks close.
pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let first =
        (0..SLOTS).map(|slot| attributes(slot).prop_map(move |attributes| Op::Put { slot, attributes }));
    let small = prop::collection::vec(op(false), 1..150);
    let large = prop::collection::vec(op(true), 1..100);
    (first.collect::<Vec<_>>(), prop_oneof![small, large])
        .prop_map(|(first, rest)| first.into_iter().chain(rest).collect())
}

fn slot() -> impl Strategy<Value = usize> {
    // The places in which most can happen come more often.
    prop_oneof![
        Just(0_usize),
        Just(0),
        Just(1),
        Just(1),
        Just(2),
        Just(3),
        Just(3),
        Just(3),
        Just(4),
        Just(5)
    ]
}

fn op(is_large: bool) -> impl Strategy<Value = Op> {
    let stale = prop_oneof![Just(StaleHandle::Refuse), Just(StaleHandle::Delete)];
    prop_oneof![
        24 => (slot(), messages(is_large)).prop_map(|(slot, messages)| Op::Send { slot, messages }),
        30 => (slot(), max(is_large), visibility()).prop_map(|(slot, max, visibility_ms)| Op::Receive { slot, max, visibility_ms }),
        16 => (0_usize..40, prop_oneof![1_usize..8, 100_usize..700], 1_usize..4, stale)
            .prop_map(|(back, count, stride, stale)| Op::Delete { back, count, stride, stale }),
        2 => (0_usize..40, 0_u64..2_000, 0_u32..4)
            .prop_map(|(back, sequence, generation)| Op::DeleteForged { back, sequence, generation }),
        6 => (slot(), nth()).prop_map(|(slot, nth)| Op::RemoveOne { slot, nth }),
        4 => (slot(), nth(), prop_oneof![5 => Just(0_u32), 1 => Just(1)])
            .prop_map(|(slot, nth, off)| Op::ReturnOne { slot, nth, off }),
        1 => (slot(), 0_u64..5, 0_u64..2_000)
            .prop_map(|(slot, lane, sequence)| Op::OperateForged { slot, lane, sequence }),
        3 => Just(Op::Expire),
        6 => Just(Op::Quiesce),
        10 => prop_oneof![0_u64..50, 0_u64..5_000, 0_u64..100_000, 200_000_u64..400_000].prop_map(|ms| Op::Wait { ms }),
        6 => (0_u64..500).prop_map(|more_ms| Op::WaitForDue { more_ms }),
        3 => slot().prop_flat_map(|slot| attributes(slot).prop_map(move |attributes| Op::Put { slot, attributes })),
        2 => slot().prop_map(|slot| Op::Remove { slot }),
        5 => (slot(), prop_oneof![0_u64..2_000, 0_u64..70_000])
            .prop_map(|(slot, back_ms)| Op::Rewind { slot, back_ms }),
        2 => slot().prop_map(|slot| Op::Purge { slot }),
        1 => (0..SLOTS).prop_map(|without| Op::Complete { without }),
        4 => Just(Op::CleanUp),
        6 => Just(Op::Checkpoint),
        5 => Just(Op::Crash),
    ]
}

/// The head, somewhere near it, or anywhere.
fn nth() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0_usize), 1_usize..5, 0_usize..2_000]
}

fn max(is_large: bool) -> impl Strategy<Value = u16> {
    let large = if is_large { 200_u16..700 } else { 1..17 };
    prop_oneof![2 => 1_u16..17, 1 => large]
}

fn visibility() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), Just(Some(0)), (1_u64..2_000).prop_map(Some), (1_000_u64..90_000).prop_map(Some)]
}

/// A batch: a handful, or so many that chunks close.
fn messages(is_large: bool) -> impl Strategy<Value = Vec<NewMessage>> {
    let small = 1_usize..6;
    let count = if is_large {
        prop_oneof![4 => small, 3 => 200_usize..700, 1 => 510_usize..515, 1 => 1_100_usize..1_700].boxed()
    } else {
        small.boxed()
    };
    let groups = prop_oneof![Just(0_usize), Just(1), Just(3), Just(40)];
    let delay = prop_oneof![
        6 => Just(None),
        2 => Just(Some(0)),
        3 => (1_u64..3_000).prop_map(Some),
        1 => (50_000_u64..200_000).prop_map(Some),
    ];
    // Every how many messages is delayed, or is not; in a FIFO queue it holds up those behind it.
    let delay_every = prop_oneof![Just(1_usize), 2_usize..9, 100_usize..2_000];
    let ids = prop_oneof![3 => Just(None), 1 => (1_u128..400).prop_map(Some), 1 => (1_000_u128..90_000).prop_map(Some)];
    (count, groups, delay, (delay_every, any::<bool>()), ids, 0_usize..1_000).prop_map(
        |(count, groups, delay_ms, (delay_every, is_rare), ids, salt)| {
            let message = |at: usize| NewMessage {
                bytes: (at as u32 * 37) % 1_000,
                delay_ms: delay_ms.filter(|_| at.is_multiple_of(delay_every) == is_rare),
                group: (groups > 0).then(|| format!("group {}", (at * 7 + salt) % groups).into()),
                deduplication: ids.map(|ids| (at as u128 * 31 + salt as u128) % ids),
            };
            (0..count).map(message).collect()
        },
    )
}

/// Attributes with small limits, so that they are met. The dead-letter queue is filled in later.
fn attributes(slot: usize) -> impl Strategy<Value = QueueAttributes> {
    let delay_seconds = prop_oneof![5 => Just(0_u32), 1 => 1_u32..4];
    let retention_seconds = prop_oneof![60_u32..90, Just(400_u32), Just(4_000), Just(4_000)];
    let max_messages = prop_oneof![1 => 300_u64..1_000, 3 => Just(4_000)];
    let max_in_flight = prop_oneof![1_u32..20, Just(120_000_u32), Just(120_000)];
    let max_delayed = prop_oneof![1_u32..20, Just(20_000_u32), Just(20_000)];
    let by_count = (1_u32..4).prop_map(DeadLetterRule::MaxReceiveCount);
    let by_age = (30_u32..500).prop_map(DeadLetterRule::MaxTimeToLiveSeconds);
    let rewind_seconds = prop_oneof![2 => Just(0_u32), 1 => Just(20), 3 => Just(60)];
    let rule = if slot == 5 { by_age.boxed() } else { prop_oneof![3 => by_count, 1 => by_age].boxed() };
    let rule = prop_oneof![1 => Just(None), 9 => rule.prop_map(Some)];
    (
        (delay_seconds, rewind_seconds),
        1_u32..60,
        retention_seconds,
        max_messages,
        max_in_flight,
        max_delayed,
        rule,
    )
        .prop_map(
            move |(
                (delay_seconds, rewind_seconds),
                visibility,
                retention_seconds,
                max_messages,
                max_in_flight,
                max_delayed,
                rule,
            )| {
                let fifo = QueueKind::Fifo { deduplication: DeduplicationScope::Queue };
                QueueAttributes {
                    kind: if is_fifo(slot) { fifo } else { QueueKind::Standard },
                    delay_seconds,
                    visibility_timeout_seconds: visibility,
                    retention_seconds,
                    rewind_seconds: if is_fifo(slot) { 0 } else { rewind_seconds },
                    max_messages,
                    max_in_flight,
                    max_delayed,
                    dead_letter: rule.map(|rule| DeadLetterPolicy { queue: QueueId(u32::MAX), rule }),
                    ..QueueAttributes::default()
                }
            },
        )
}
