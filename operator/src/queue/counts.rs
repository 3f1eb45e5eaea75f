//! What is in the queues of each Broker: one walk over all of them a minute, and a Queue is woken when its steps changed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::coarse::Coarse;
use crate::admin::{CallError, PodAddress};
use crate::context::Context;
use crate::wakes::Key;

/// Time between two walks over the queues of a Broker.
const INTERVAL: Duration = Duration::from_secs(60);
/// How often it is looked whether a walk is due.
const TICK: Duration = Duration::from_secs(1);
/// Brokers that are walked at once.
const BROKERS_AT_ONCE: usize = 4;
/// Pages of one walk at most: ten times the queues that a broker is made for.
const PAGES_MAX: usize = 1_000;

/// What the last walks found. Bounded by the number of queues on Brokers that have Queue objects.
#[derive(Debug, Default)]
pub struct Counts(Mutex<HashMap<Key, Walk>>);

#[derive(Debug)]
struct Walk {
    due: Instant,
    queues: HashMap<String, Coarse>,
}

impl Counts {
    /// What was in a queue at the last walk over its Broker.
    pub(super) fn get(&self, broker: &Key, wire_name: &str) -> Option<Coarse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(broker)?.queues.get(wire_name).cloned()
    }

    /// The Brokers whose walk is due; those not named any more are forgotten.
    fn due(&self, brokers: &HashSet<Key>, now: Instant) -> Vec<Key> {
        let mut walks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        walks.retain(|key, _| brokers.contains(key));
        let mut due = Vec::new();
        for broker in brokers {
            // A first walk at a random moment spreads those of many Brokers, and comes soon.
            let first =
                || Walk { due: now + INTERVAL.mul_f64(fastrand::f64() / 6.0), queues: HashMap::new() };
            let walk = walks.entry(broker.clone()).or_insert_with(first);
            if walk.due <= now {
                walk.due = now + INTERVAL;
                due.push(broker.clone());
            }
        }
        due
    }

    fn found(&self, broker: &Key, queues: HashMap<String, Coarse>) {
        if let Some(walk) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(broker) {
            walk.queues = queues;
        }
    }
}

/// Walks until the future is dropped.
pub async fn keep(context: Arc<Context>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        context.metrics.set_objects("queue", context.queues.len());
        context.metrics.set_objects("broker", context.brokers.len());
        let due = context.counts.due(&context.neighbours.brokers(), Instant::now());
        stream::iter(due).for_each_concurrent(BROKERS_AT_ONCE, |broker| walk(&context, broker)).await;
    }
}

/// Walks over the queues of one Broker, if it serves.
async fn walk(context: &Context, broker: Key) {
    let serves = context.brokers.get(&broker.namespace, &broker.name).is_some_and(|broker| {
        !broker.spec.stopped && broker.status.as_ref().and_then(|status| status.ready_replicas) > Some(0)
    });
    if !serves {
        return;
    }
    let Ok(pods) = context.pods(&broker).await else { return };
    for pod in &pods {
        match read(context, pod).await {
            Ok(queues) => {
                let changed = changed(context, &broker, &queues);
                context.counts.found(&broker, queues);
                changed.into_iter().for_each(|queue| context.wake_queue(queue));
                return;
            }
            Err(error) => tracing::debug!(%broker, %error, "cannot read the counts of the queues"),
        }
    }
}

async fn read(context: &Context, pod: &PodAddress) -> Result<HashMap<String, Coarse>, CallError> {
    let (mut queues, mut cursor) = (HashMap::new(), None);
    for _ in 0..PAGES_MAX {
        let page = context.connector.queues(pod, cursor.as_deref()).await?;
        // Queues that clients made themselves have no object to show their counts.
        let declared = page.queues.into_iter().filter(|queue| queue.declared_by.is_some());
        queues.extend(declared.map(|queue| (queue.name, Coarse::from(&queue.counts))));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(queues)
}

/// The Queues on a Broker whose status shows other steps.
fn changed(context: &Context, broker: &Key, queues: &HashMap<String, Coarse>) -> Vec<Key> {
    let on_broker = context.neighbours.on_broker(broker).into_iter();
    let differs = |(key, facts): (Key, super::neighbours::Facts)| {
        let coarse = queues.get(&facts.wire_name)?;
        let queue = context.queues.get(&key.namespace, &key.name)?;
        let status = queue.status.as_ref()?;
        let shown = (status.backlog, &status.oldest);
        (shown != (Some(coarse.backlog), &coarse.oldest)).then_some(key)
    };
    on_broker.filter_map(differs).collect()
}
