//! What the queues hold and what happens on them: a series for each queue up to a bound, and sums over all.

use cmq_engine::attributes::QueueId;
use cmq_engine::outcome::Totals;
use cmq_engine::shard::Counts;
use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::families::{counter, counter_of, family, gauge, gauge_of};

/// One queue, or the sum over all, as far as this node leads.
#[derive(Clone, Debug, Default)]
pub struct QueueFigures {
    /// Name on the wire.
    pub name: Box<str>,
    /// What it holds.
    pub counts: Counts,
    /// Seconds since the oldest message that is not finished was sent; 0 when there is none.
    pub oldest_age_seconds: f64,
    /// What happened since the start of the process.
    pub totals: Totals,
}

/// One look at the queues.
#[derive(Clone, Debug, Default)]
pub struct QueuesFigures {
    /// Queues that exist.
    pub count: usize,
    /// Those that have series of their own.
    pub shown: Vec<QueueFigures>,
    /// The sum over all queues, with the age of the oldest message of any; totals count queues that are gone too.
    pub all: QueueFigures,
}

/// A total: its name without prefix, its help and where it is.
type Total = (&'static str, &'static str, fn(&Totals) -> u64);

const TOTALS: [Total; 9] = [
    ("sent_messages_total", "Messages stored.", |totals| totals.sent),
    ("sent_bytes_total", "Bytes of the bodies of messages stored.", |totals| totals.sent_bytes),
    ("received_messages_total", "Messages handed out, each time.", |totals| totals.received),
    ("received_bytes_total", "Bytes of the bodies of messages handed out, each time.", |totals| {
        totals.received_bytes
    }),
    ("empty_receives_total", "Receives that were answered without a message.", |totals| {
        totals.empty_receives
    }),
    ("deleted_messages_total", "Messages deleted by a receipt handle.", |totals| totals.deleted),
    ("expired_messages_total", "Messages dropped at the end of their retention.", |totals| totals.expired),
    ("dead_lettered_messages_total", "Messages moved to the dead-letter queue.", |totals| {
        totals.dead_lettered
    }),
    ("deduplicated_messages_total", "Sends that repeated a message and stored none.", |totals| {
        totals.deduplicated
    }),
];

/// What `states` shows, by the label `state`.
fn states(counts: &Counts) -> [(&'static str, u64); 4] {
    [
        ("active", counts.active),
        ("in_flight", counts.in_flight),
        ("delayed", counts.delayed),
        ("rewindable", counts.rewindable),
    ]
}

/// Messages of a queue that are not finished.
fn backlog(counts: &Counts) -> u64 {
    counts.active + counts.in_flight + counts.delayed
}

/// The `limit` queues with the most messages; of queues with equally many the older ones.
pub fn deepest<T>(mut queues: Vec<(QueueId, Counts, T)>, limit: usize) -> Vec<(QueueId, Counts, T)> {
    if queues.len() > limit {
        queues.select_nth_unstable_by_key(limit, |(id, counts, _)| (std::cmp::Reverse(backlog(counts)), *id));
        queues.truncate(limit);
    }
    queues
}

pub(super) fn families(figures: &QueuesFigures) -> Vec<MetricFamily> {
    let mut families = of_each(&figures.shown);
    let all = &figures.all;
    families.extend([
        gauge("cmq_queues", "Queues that exist.", figures.count as f64),
        gauge(
            "cmq_queues_shown",
            "Queues with series of their own: at most --metrics-queues.",
            figures.shown.len() as f64,
        ),
        family(
            "cmq_messages",
            "Messages of all queues by state.",
            MetricType::GAUGE,
            states(&all.counts).map(|(state, count)| gauge_of(&[("state", state)], count as f64)).into(),
        ),
        gauge(
            "cmq_oldest_message_age_seconds",
            "Age of the oldest message of any queue that is not finished.",
            all.oldest_age_seconds,
        ),
    ]);
    families
        .extend(TOTALS.map(|(name, help, of)| counter(&format!("cmq_{name}"), help, of(&all.totals) as f64)));
    families
}

fn of_each(queues: &[QueueFigures]) -> Vec<MetricFamily> {
    let messages = queues.iter().flat_map(|queue| {
        states(&queue.counts)
            .map(|(state, count)| gauge_of(&[("queue", &queue.name), ("state", state)], count as f64))
    });
    let ages = queues.iter().map(|queue| gauge_of(&[("queue", &queue.name)], queue.oldest_age_seconds));
    let mut families = vec![
        family("cmq_queue_messages", "Messages of a queue by state.", MetricType::GAUGE, messages.collect()),
        family(
            "cmq_queue_oldest_message_age_seconds",
            "Age of the oldest message of a queue that is not finished.",
            MetricType::GAUGE,
            ages.collect(),
        ),
    ];
    families.extend(TOTALS.map(|(name, help, of)| {
        let each = |queue: &QueueFigures| -> Metric {
            counter_of(&[("queue", &queue.name)], of(&queue.totals) as f64)
        };
        let metrics = queues.iter().map(each).collect();
        family(&format!("cmq_queue_{name}"), help, MetricType::COUNTER, metrics)
    }));
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_queues_are_shown_and_of_equals_the_older() {
        let counts = |active, delayed| Counts { active, delayed, ..Counts::default() };
        let queues = [counts(0, 0), counts(1, 1), counts(0, 0), counts(3, 0), counts(0, 1)];
        let queues: Vec<_> = (0..).map(QueueId).zip(queues).map(|(id, counts)| (id, counts, ())).collect();
        let shown = |limit| {
            let mut ids: Vec<u32> =
                deepest(queues.clone(), limit).into_iter().map(|(QueueId(id), ..)| id).collect();
            ids.sort_unstable();
            ids
        };
        assert!(shown(0).is_empty());
        assert_eq!(shown(2), [1, 3]);
        assert_eq!(shown(4), [0, 1, 3, 4]);
        assert_eq!(shown(5), [0, 1, 2, 3, 4]);
        assert_eq!(shown(6), [0, 1, 2, 3, 4]);
    }
}
