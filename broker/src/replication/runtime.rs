//! The driver in production: one thread that turns, fed by an inbox, with the committer at its side.
//!
//! While a batch is synced, requests gather in the inbox without waking the thread: it would only have to wait for the
//! disk. What the disk or a peer says wakes it at once.

mod counters;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::CatalogueEvent;
use tokio::sync::{oneshot, watch};

use super::driver::{Config, Driver};
use super::share::Share;
use super::{Fatal, Input, Reply, Request, World};
use crate::storage::Room;
use crate::storage::StoreError;
use crate::storage::committer::{CommitEvent, Committer, SyncMode};
use crate::storage::fjall_store::FjallStore;
use counters::Counters;

pub use counters::RuntimeFigures;

/// Requests in the inbox at most; their bytes are bounded by the memory for what comes in.
pub const REQUESTS_MAX: usize = 32_768;
/// What a request counts beside its bodies, in bytes.
const REQUEST_BYTES: usize = 256;
/// Looks at the driver that wait at most.
pub const LOOKS_MAX: usize = 256;

/// Where an answer goes.
pub type Token = oneshot::Sender<Reply>;

impl super::Token for Token {
    fn is_gone(&self) -> bool {
        self.is_closed()
    }
}

/// Looks at the driver between two turns.
type Look = Box<dyn FnOnce(&Driver<Token>) + Send>;

/// What the driver thread may be waiting for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// It turns.
    No,
    /// Anything.
    Anything,
    /// Only what cannot wait for the disk: requests would.
    Urgent,
}

struct Mail {
    inputs: Vec<Input<Token>>,
    looks: Vec<Look>,
    taken: Share,
    /// What each queue has in it; changes of the catalogue are of no queue.
    shares: HashMap<Option<QueueId>, Share>,
    waiting: Waiting,
    failure: Option<StoreError>,
    is_over: bool,
}

struct Inbox {
    mail: Mutex<Mail>,
    arrived: Condvar,
    max: Share,
    counters: Counters,
    longest_look_us: AtomicU64,
}

impl Inbox {
    /// An empty one that takes at most so much.
    fn new(max: Share) -> Self {
        let mail = Mail {
            inputs: Vec::new(),
            looks: Vec::new(),
            taken: Share::default(),
            shares: HashMap::new(),
            waiting: Waiting::No,
            failure: None,
            is_over: false,
        };
        Self {
            mail: Mutex::new(mail),
            arrived: Condvar::new(),
            max,
            counters: Counters::new(),
            longest_look_us: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        // A panic of another thread while it held the lock left the mail as it was: a list of whole inputs.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn urgent(&self, put: impl FnOnce(&mut Mail)) {
        let mut mail = self.lock();
        put(&mut mail);
        if mail.waiting != Waiting::No {
            self.arrived.notify_one();
        }
    }
}

/// Handle of a running node; cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {
    inbox: Arc<Inbox>,
    store: FjallStore,
}

impl std::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeHandle").finish_non_exhaustive()
    }
}

impl NodeHandle {
    /// Asks and waits for the answer. A receive whose future was dropped is handed nothing any more.
    pub async fn request(&self, request: Request) -> Reply {
        let (token, answer) = oneshot::channel();
        if let Some(refusal) = self.post(token, request) {
            return refusal;
        }
        answer.await.unwrap_or(Reply::Stopping)
    }

    fn post(&self, token: Token, request: Request) -> Option<Reply> {
        let bytes = REQUEST_BYTES + request.bytes();
        let mut mail = self.inbox.lock();
        if mail.is_over {
            return Some(Reply::Stopping);
        }
        let (queue, total) = (request.queue(), mail.taken);
        let share = mail.shares.entry(queue).or_default();
        if !share.may_take(bytes, total, self.inbox.max) {
            self.inbox.counters.inbox_was_full();
            return Some(Reply::Busy("too many requests of this queue wait for the driver"));
        }
        share.add(bytes);
        mail.taken.add(bytes);
        mail.inputs.push(Input::Request(token, request));
        if mail.waiting == Waiting::Anything {
            mail.waiting = Waiting::No;
            drop(mail);
            self.inbox.arrived.notify_one();
        }
        None
    }

    /// Runs `look` on the driver thread between two turns; None when the node is over, or too many wait already.
    pub async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Driver<Token>) -> R + Send + 'static,
    ) -> Option<R> {
        let (sender, answer) = oneshot::channel();
        {
            let mut mail = self.inbox.lock();
            if mail.is_over || mail.looks.len() >= LOOKS_MAX {
                return None;
            }
            mail.looks.push(Box::new(move |driver| {
                // Whoever asked may be gone.
                let _ = sender.send(look(driver));
            }));
            if mail.waiting != Waiting::No {
                self.inbox.arrived.notify_one();
            }
        }
        answer.await.ok()
    }

    /// One look at the runtime, without the driver's thread.
    pub fn figures(&self) -> RuntimeFigures {
        let mail = self.inbox.lock();
        let Share { requests: inbox_requests, bytes: inbox_bytes } = mail.taken;
        drop(mail);
        RuntimeFigures { inbox_requests, inbox_bytes, ..self.inbox.counters.figures() }
    }

    /// The longest time for which a look held the driver up.
    pub fn longest_look(&self) -> Duration {
        Duration::from_micros(self.inbox.longest_look_us.load(Ordering::Relaxed))
    }

    /// The rows on disk, for reading some that never change beside the driver.
    pub(super) fn store(&self) -> &FjallStore {
        &self.store
    }

    /// Lets the node answer what it has, sync and end.
    pub fn stop(&self) {
        self.inbox.urgent(|mail| mail.inputs.push(Input::Stop));
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    handle: NodeHandle,
    thread: JoinHandle<Result<(), Fatal>>,
}

impl Node {
    /// Starts the driver and the committer on an open volume. `on_event` hears of every change of the catalogue, on the
    /// driver's thread, before whoever asked for the change is answered. `ready` turns true when the node has recovered.
    ///
    /// # Errors
    /// When what the volume holds does not fit together.
    pub fn start(
        config: Config,
        store: FjallStore,
        inbound_bytes: usize,
        mut on_event: impl FnMut(CatalogueEvent) + Send + 'static,
        ready: watch::Sender<bool>,
    ) -> Result<Self, Fatal> {
        let clock = Clock::start();
        let inbox = Arc::new(Inbox::new(Share { requests: REQUESTS_MAX, bytes: inbound_bytes }));
        let world = clock.world(&store);
        let (driver, first) = Driver::open(config, Arc::new(store.clone()), store.last_batch(), world)?;
        first.events.into_iter().for_each(&mut on_event);
        let committed = inbox.clone();
        let committer = Committer::start(
            store.clone(),
            Box::new(move |event| match event {
                CommitEvent::Committed { last, .. } => {
                    committed.urgent(|mail| mail.inputs.push(Input::Persisted(last)));
                }
                CommitEvent::Failed(error) => committed.urgent(|mail| mail.failure = Some(error)),
            }),
        )?;
        let handle = NodeHandle { inbox: inbox.clone(), store: store.clone() };
        let turning = Turning { driver, store, committer, inbox, clock, ready, on_event };
        let thread = std::thread::Builder::new()
            .name("driver".into())
            .spawn(move || turning.run())
            .map_err(|error| StoreError::Io("start the driver", error.to_string()))?;
        Ok(Self { handle, thread })
    }

    /// The handle for requests.
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Waits for the end, which [`NodeHandle::stop`] or a failure brings.
    ///
    /// # Errors
    /// What made the node stop, if nobody asked for it.
    pub fn join(self) -> Result<(), Fatal> {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Time as the driver is told it.
#[derive(Clone, Copy)]
struct Clock {
    started: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now() }
    }

    fn world(&self, store: &FjallStore) -> World {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        World {
            monotonic_ms: self.started.elapsed().as_millis() as u64,
            wall_ms: wall.as_millis() as u64,
            has_room: store.room() == Room::Plenty,
        }
    }
}

/// Closes the inbox when the driver ends, in whatever way: by order, by a failure, or by a panic.
struct Over {
    inbox: Arc<Inbox>,
    ready: watch::Sender<bool>,
}

impl Drop for Over {
    fn drop(&mut self) {
        let mut mail = self.inbox.lock();
        mail.is_over = true;
        // Whoever waits for an answer gets "stopping" from the dropped token.
        mail.inputs.clear();
        mail.looks.clear();
        drop(mail);
        self.ready.send_replace(false);
    }
}

struct Turning<E> {
    driver: Driver<Token>,
    store: FjallStore,
    committer: Committer,
    inbox: Arc<Inbox>,
    clock: Clock,
    ready: watch::Sender<bool>,
    on_event: E,
}

impl<E: FnMut(CatalogueEvent)> Turning<E> {
    fn run(mut self) -> Result<(), Fatal> {
        let over = Over { inbox: self.inbox.clone(), ready: self.ready.clone() };
        self.turn_until_over()?;
        drop(over);
        Ok(self.committer.close()?)
    }

    fn turn_until_over(&mut self) -> Result<(), Fatal> {
        let mut inputs = Vec::new();
        let mut is_stopping = false;
        loop {
            let started = Instant::now();
            let output = self.driver.turn(inputs.drain(..), self.clock.world(&self.store));
            self.inbox.counters.turned(started.elapsed());
            if let Some(fatal) = output.fatal {
                return Err(fatal);
            }
            if let Some((batch, must_sync)) = output.batch {
                let mode = if must_sync { SyncMode::Sync } else { SyncMode::Buffer };
                self.committer.submit(batch, mode);
            }
            output.events.into_iter().for_each(&mut self.on_event);
            for (token, reply) in output.replies {
                self.inbox.counters.answered(&reply);
                // Whoever asked may be gone.
                let _ = token.send(reply);
            }
            if !is_stopping && self.driver.is_ready() {
                self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
            }
            if is_stopping && self.driver.is_quiet() {
                return Ok(());
            }
            let looks = self.wait(&mut inputs)?;
            for look in looks {
                let started = Instant::now();
                look(&self.driver);
                self.inbox.longest_look_us.fetch_max(started.elapsed().as_micros() as u64, Ordering::Relaxed);
            }
            if inputs.iter().any(|input| matches!(input, Input::Stop)) {
                is_stopping = true;
                self.ready.send_replace(false);
            }
        }
    }

    /// Blocks until there is something to do; `inputs` gets what arrived.
    fn wait(&mut self, inputs: &mut Vec<Input<Token>>) -> Result<Vec<Look>, Fatal> {
        let wake_ms = self.driver.next_wake_ms();
        let wants = if self.driver.is_outstanding() { Waiting::Urgent } else { Waiting::Anything };
        let mut mail = self.inbox.lock();
        loop {
            if let Some(error) = mail.failure.take() {
                return Err(error.into());
            }
            let is_urgent = |input: &Input<Token>| !matches!(input, Input::Request(..));
            let is_enough = match wants {
                Waiting::Urgent => mail.inputs.iter().rev().any(is_urgent),
                Waiting::No | Waiting::Anything => !mail.inputs.is_empty(),
            };
            if is_enough || !mail.looks.is_empty() {
                break;
            }
            let now_ms = self.clock.started.elapsed().as_millis() as u64;
            mail.waiting = wants;
            mail = match wake_ms {
                Some(wake_ms) if wake_ms <= now_ms => break,
                Some(wake_ms) => {
                    let timeout = Duration::from_millis(wake_ms - now_ms);
                    let waited = self.inbox.arrived.wait_timeout(mail, timeout);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.inbox.arrived.wait(mail).unwrap_or_else(PoisonError::into_inner),
            };
        }
        mail.waiting = Waiting::No;
        mail.taken = Share::default();
        mail.shares.clear();
        std::mem::swap(&mut mail.inputs, inputs);
        Ok(std::mem::take(&mut mail.looks))
    }
}

impl Request {
    fn queue(&self) -> Option<QueueId> {
        match self {
            Self::Catalogue(_) => None,
            Self::Send { queue, .. } | Self::Receive { queue, .. } | Self::Count(queue) => Some(*queue),
            Self::Delete { deliveries, .. } => deliveries.first().map(|delivery| delivery.queue.queue),
            Self::Remove { message, .. } | Self::Return { message, .. } => Some(message.queue.queue),
        }
    }

    /// Bytes of the bodies.
    fn bytes(&self) -> usize {
        match self {
            Self::Send { bodies, .. } => bodies.iter().map(Bytes::len).sum(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::budget::MemoryBudget;
    use crate::storage::options::Options;

    /// A handle of a node whose driver never takes anything.
    fn handle(max: Share) -> NodeHandle {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path().join("data"), MemoryBudget::split(64 << 20).unwrap());
        NodeHandle { inbox: Arc::new(Inbox::new(max)), store: FjallStore::open(&options).unwrap() }
    }

    fn send(queue: u32, bytes: usize) -> Request {
        Request::Send {
            queue: QueueId(queue),
            messages: Vec::new(),
            bodies: vec![vec![0; bytes].into()],
            home: None,
        }
    }

    /// How many requests the inbox takes before it refuses one.
    fn fill(handle: &NodeHandle, request: &Request) -> usize {
        let is_taken = |_: &usize| match handle.post(oneshot::channel().0, request.clone()) {
            None => true,
            Some(Reply::Busy(_)) => false,
            other => panic!("{other:?}"),
        };
        (0..).take_while(is_taken).count()
    }

    #[test]
    fn the_inbox_is_bounded_and_shared_by_queues() {
        let receive =
            |queue| Request::Receive { queue: QueueId(queue), max: 1, wait_ms: 0, visibility_ms: None };
        for request in [send(1, 0), receive(1), Request::Count(QueueId(1))] {
            let handle = handle(Share { requests: 100, bytes: 1 << 20 });
            assert_eq!(fill(&handle, &request), 50);
            assert_eq!(fill(&handle, &receive(2)), 25);
            assert_eq!(fill(&handle, &send(3, 10)), 13);
        }
        let handle = handle(Share { requests: 1_000, bytes: 100 * (REQUEST_BYTES + 1_000) });
        assert_eq!(fill(&handle, &send(1, 1_000)), 50);
        assert_eq!(fill(&handle, &send(2, 1_000)), 25);
    }

    #[tokio::test]
    async fn looks_are_bounded() {
        let handle = handle(Share { requests: 1, bytes: 1 << 20 });
        let looks: Vec<_> = (0..LOOKS_MAX)
            .map(|_| {
                let handle = handle.clone();
                tokio::spawn(async move { handle.look(|_| ()).await })
            })
            .collect();
        while handle.inbox.lock().looks.len() < LOOKS_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(handle.look(|_| ()).await, None);
        looks.into_iter().for_each(|look| look.abort());
    }
}
