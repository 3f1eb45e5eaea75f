//! The simulated world: one queue of events, one virtual clock, three nodes, their disks, the network and the clients.
//!
//! Everything happens in the order of its virtual time, and everything random comes from the seed, so that a seed always
//! gives the same run.

mod calls;
mod ending;
mod fairness;
mod faults;
mod node;
mod operator;
mod output;
mod process;
mod request;
mod sights;
mod turn;

use std::collections::BTreeMap;

use cmq_broker::replication::{GroupId, NodeId, PeerMessage, Received};
use cmq_engine::faults::Fault;
use fastrand::Rng;

use crate::clients::{Clients, Leaders, population};
use crate::finding::{Finding, Verdict};
use crate::history::{History, OperationId};
use crate::network::Network;
use crate::plan::Plan;
use crate::tally::Tally;
use crate::trace::Trace;
use faults::Relief;
use node::Node;

/// Virtual time after which a phase must be over, microseconds.
const PHASE_US_MAX: u64 = 1_800_000_000;

/// Something that will happen.
#[derive(Debug)]
enum Event {
    /// A client thinks of something to do.
    Client(usize),
    /// A request reaches a node.
    Request(NodeId, OperationId),
    /// Messages reach the client that asked for them.
    Heard(Vec<Received>),
    /// The client of an operation gets its answer, or gives up.
    Over(OperationId),
    /// A message of a peer reaches a node.
    Peer { from: NodeId, to: NodeId, message: PeerMessage },
    /// The driver of a process is due.
    Turn { node: NodeId, process: u64 },
    /// Half of a batch can be seen.
    Shown { node: NodeId, process: u64 },
    /// A batch is written.
    Written { node: NodeId, process: u64, number: u64, is_synced: bool },
    /// A node starts again.
    Start(NodeId),
    /// A process that was asked to stop ends, whatever it has done by then.
    End { node: NodeId, process: u64 },
    /// The next fault.
    Blow,
    /// A fault ends.
    Relief(Relief),
}

/// What the world is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Queues are created.
    Founding,
    /// Clients work, and faults happen.
    Storm,
    /// Clients work, and nothing goes wrong: what is asked must be done at once.
    Fair,
    /// Removals of queues whose outcome is in doubt are asked for again.
    Clearing,
    /// Nothing new is asked.
    Calm,
    /// All queues are emptied.
    Drain,
    /// Closed queues are deleted.
    Closing,
    /// Rewinding is turned off everywhere.
    Forgetting,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was wrong, if anything.
    pub finding: Option<Finding>,
    /// What was done.
    pub tally: Tally,
    /// Hash of everything that happened.
    pub trace: u64,
}

/// A run in progress.
pub(crate) struct World {
    plan: Plan,
    rng: Rng,
    now_us: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    nodes: Vec<Node>,
    network: Network,
    clients: Clients,
    history: History,
    phase: Phase,
    /// Which client waits for which operation.
    waiting: BTreeMap<OperationId, usize>,
    silent_until_us: u64,
    silence_at: Option<u64>,
    tally: Tally,
    trace: Trace,
    finding: Option<Finding>,
    /// Who led a group in a term.
    led: BTreeMap<(GroupId, u64), NodeId>,
    /// State hashes at applied indexes, and who had them first.
    hashes: BTreeMap<(GroupId, u64), (u64, NodeId)>,
}

/// Runs a seed, with a bug switched on if one is given; prints what happens if `prints`.
pub fn run(seed: u64, fault: Option<Fault>, prints: bool) -> Report {
    crate::guard::watch_panics();
    cmq_engine::faults::activate(fault);
    let mut world = World::new(Plan::new(seed), prints);
    let verdict = world.run();
    cmq_engine::faults::activate(None);
    world.tally.virtual_ms = world.now_us / 1_000;
    world.tally.runs = 1;
    Report { seed, finding: verdict.err(), tally: world.tally, trace: world.trace.hash() }
}

impl World {
    fn new(plan: Plan, prints: bool) -> Self {
        let mut rng = Rng::with_seed(plan.seed ^ 0x5eed_0f5e_ed0f);
        let network = Network::new(plan.link, rng.fork());
        let clients = Clients::new(rng.fork(), &plan);
        let history = History { queues: population(&mut rng), ..History::default() };
        let nodes = (1..=plan.replicas).map(|id| Node::new(id, &plan, &mut rng)).collect();
        let silence_at = plan.silence_ms.map(|_| rng.u64(plan.operations / 3..plan.operations * 2 / 3));
        Self {
            plan,
            rng,
            now_us: 0,
            events: BTreeMap::new(),
            next_event: 0,
            nodes,
            network,
            clients,
            history,
            phase: Phase::Founding,
            waiting: BTreeMap::new(),
            silent_until_us: 0,
            silence_at,
            tally: Tally::default(),
            trace: Trace::new(prints),
            finding: None,
            led: BTreeMap::new(),
            hashes: BTreeMap::new(),
        }
    }

    /// What clients saw is judged also when the run was cut short, and says more than what cut it short.
    fn run(&mut self) -> Verdict {
        let verdict = self.live();
        crate::checker::check(&self.history, &self.plan, verdict.is_ok(), &mut self.tally)?;
        verdict
    }

    fn live(&mut self) -> Verdict {
        self.trace.note(0, || format!("{:?}", self.plan));
        for node in 1..=self.plan.replicas {
            self.start(node);
        }
        for client in 0..self.plan.clients {
            self.at(1_000_000, Event::Client(client));
        }
        let founded = |world: &Self| world.history.queues.iter().all(|queue| queue.id.is_some());
        self.run_until("the queues are created", founded)?;
        self.phase = Phase::Storm;
        self.at(self.plan.fault_us, Event::Blow);
        let is_done = |world: &Self| {
            world.tally.operations >= world.plan.operations && world.tally.faults() >= world.plan.faults
        };
        self.run_until("the operations are done", is_done)?;
        self.end()
    }

    /// Lets events happen until `is_over`.
    fn run_until(&mut self, what: &str, is_over: impl Fn(&Self) -> bool) -> Verdict {
        let limit_us = self.now_us + PHASE_US_MAX;
        while !is_over(self) {
            let Some(((at_us, _), event)) = self.events.pop_first() else {
                return Err(Finding::new("no progress", format!("nothing happens any more before {what}")));
            };
            if at_us > limit_us {
                return Err(Finding::new("no progress", format!("it took too long until {what}")));
            }
            self.now_us = self.now_us.max(at_us);
            self.happen(event);
            if let Some(finding) = self.finding.take() {
                return Err(finding);
            }
        }
        Ok(())
    }

    /// Lets events happen for some time.
    fn run_for(&mut self, time_us: u64) -> Verdict {
        let end_us = self.now_us + time_us;
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= end_us
        {
            self.now_us = self.now_us.max(entry.key().0);
            let event = entry.remove();
            self.happen(event);
            if let Some(finding) = self.finding.take() {
                return Err(finding);
            }
        }
        self.now_us = end_us;
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Client(client) => self.client_acts(client),
            Event::Request(node, operation) => self.request_arrives(node, operation),
            Event::Heard(received) => self.clients.heard(&received, self.phase == Phase::Drain),
            Event::Over(operation) => self.operation_is_over(operation),
            Event::Peer { from, to, message } => self.message_arrives(from, to, message),
            Event::Turn { node, process } => self.turn(node, process),
            Event::Shown { node, process } => {
                if self.node(node).is_process(process) {
                    self.node(node).disk.show_half();
                }
            }
            Event::Written { node, process, number, is_synced } => {
                self.batch_is_written(node, process, number, is_synced);
            }
            Event::Start(node) => self.start(node),
            Event::End { node, process } => self.end_process(node, process),
            Event::Blow => self.next_blow(),
            Event::Relief(relief) => self.relieve(relief),
        }
    }

    /// Plans an event for `delay_us` from now.
    fn at(&mut self, delay_us: u64, event: Event) {
        self.events.insert((self.now_us + delay_us, self.next_event), event);
        self.next_event += 1;
    }

    fn find(&mut self, rule: &'static str, detail: impl Into<String>) {
        self.finding.get_or_insert_with(|| Finding::new(rule, detail));
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    fn leaders(&self) -> Leaders {
        let group = |group: u16| {
            let serving = self.nodes.iter().filter(|node| node.serves(GroupId(group)));
            serving.map(|node| node.id).collect()
        };
        Leaders { of_group: (0..=self.plan.shards).map(group).collect() }
    }
}
