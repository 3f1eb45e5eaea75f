//! What a seed decides before anything happens: the size of things, how bad the network is, how long the clocks differ.

use cmq_broker::replication::NodeId;
use cmq_broker::replication::driver::Config;
use fastrand::Rng;

use crate::tally::Blow;

/// Kinds of faults in a run at least.
const KINDS_MIN: usize = 2;

/// One link between two nodes, in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Least and greatest delay, microseconds.
    pub delay_us: (u64, u64),
    /// Share of messages that get lost.
    pub loss: f64,
    /// Share of messages that arrive twice.
    pub duplicate: f64,
    /// Whether messages of a pair of nodes arrive in the order in which they were sent.
    pub keeps_order: bool,
}

/// Everything that is fixed for a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed that all of it comes from.
    pub seed: u64,
    /// Replicas of the broker, which all vote.
    pub replicas: u64,
    /// Shards of the broker.
    pub shards: u16,
    /// Operations that must be answered for certain.
    pub operations: u64,
    /// Faults at least. When they are done, further ones are rare, so that a broker which one replica has left gets its
    /// work done.
    pub faults: u64,
    /// Clients that work at the same time, each with one operation.
    pub clients: usize,
    /// Whether some batches have hundreds of messages, so that backlogs fill whole chunks.
    pub has_bulk: bool,
    /// Time that a client rests between two operations at most, microseconds.
    pub rest_us: u64,
    /// How far a wall clock is from the true time at most, milliseconds. A jump may move it from one end to the other.
    pub skew_ms: u64,
    /// The network in its ordinary state.
    pub link: Link,
    /// Least and greatest time of a sync, microseconds.
    pub sync_us: (u64, u64),
    /// The kinds of faults: some of all, for what one kind does shows best where others do not cover it.
    pub blows: Vec<Blow>,
    /// Mean time between two faults, microseconds.
    pub fault_us: u64,
    /// A time of silence in the middle, milliseconds: long enough for windows to pass.
    pub silence_ms: Option<u64>,
    /// What the driver is told, but for the node.
    pub config: Config,
}

impl Plan {
    /// Draws a plan.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let shards = rng.u16(1..=3);
        let slowest_us = *pick(&mut rng, &[500, 2_000, 10_000, 40_000]);
        let bad = rng.u8(..4) == 0;
        let link = Link {
            delay_us: (100, slowest_us),
            loss: if bad { 0.02 } else { 0.001 },
            duplicate: if bad { 0.02 } else { 0.001 },
            keeps_order: rng.bool(),
        };
        let is_silent = rng.u8(..4) == 0;
        let faults = rng.u64(3..=60);
        // Alone is how a laptop runs it: the same code, with a quorum of one.
        let replicas = if rng.u8(..8) == 0 { 1 } else { 3 };
        let blows = draw_blows(replicas, &mut rng);
        let config = Config {
            voters: (1..=replicas).collect(),
            body_bytes: *pick(&mut rng, &[0, 2_000, 1 << 20, 1 << 20]),
            page_bytes: *pick(&mut rng, &[0, 40_000]),
            cached_backlog_max: *pick(&mut rng, &[0, 10, 4_096]),
            log_keep: rng.u64(0..200),
            checkpoint_interval_ms: *pick(&mut rng, &[20, 200, 1_000]),
            checkpoint_entries: *pick(&mut rng, &[5, 50, 1_000]),
            checkpoint_bytes: *pick(&mut rng, &[10_000, 1 << 20]),
            snapshot_page_bytes: *pick(&mut rng, &[300, 3_000, 30_000, 1 << 20]),
            ..Config::standalone(shards, (0, [0; 32]))
        };
        Self {
            seed,
            shards,
            operations: rng.u64(1_000..1_200),
            faults,
            clients: rng.usize(6..=20),
            has_bulk: rng.u8(..3) == 0,
            rest_us: rng.u64(50_000..400_000),
            skew_ms: *pick(&mut rng, &[0, 0, 20, 400]),
            link,
            sync_us: (100, *pick(&mut rng, &[300, 2_000, 8_000])),
            replicas,
            blows,
            fault_us: rng.u64(10_000_000..30_000_000) / faults,
            silence_ms: is_silent.then(|| rng.u64(155_000..330_000)),
            config,
        }
    }

    /// The configuration of a process of a node.
    pub fn config_of(&self, node: NodeId, rng: &mut Rng) -> Config {
        let entropy = (rng.u128(1..), [rng.u8(..); 32]);
        Config { node, entropy, seed: rng.u64(1..), ..self.config.clone() }
    }
}

/// Some kinds of faults, often few, among them some that can happen again and again.
fn draw_blows(replicas: u64, rng: &mut Rng) -> Vec<Blow> {
    let is_limited = |kind: &Blow| {
        matches!(kind, Blow::LostSynced | Blow::DamagedPage | Blow::ClockForward | Blow::ClockBackward)
    };
    let (mut limited, mut blows): (Vec<Blow>, Vec<Blow>) =
        Blow::ALL.iter().partition(|kind| is_limited(kind));
    if replicas == 1 {
        blows.retain(|kind| !kind.needs_peers());
        limited.retain(|kind| !kind.needs_peers());
    }
    rng.shuffle(&mut blows);
    let most = rng.usize(KINDS_MIN..=blows.len());
    blows.truncate(rng.usize(KINDS_MIN..=most));
    limited.retain(|_| rng.bool());
    blows.extend(limited);
    blows
}

/// One of some values.
pub(crate) fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(..from.len())]
}
