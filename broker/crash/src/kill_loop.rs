//! The loop: load, kill, lose what is unsynced, restart, look; at the end, drain and count.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cmq;
use crate::desk::Desk;
use crate::forgetfs::Forgotten;
use crate::ledger::{Bodies, Finding, Ledger, Queue, QueueIndex};
use crate::process::{Broker, Program};
use crate::report::Report;
use crate::session::Session;
use crate::volume::{Loss, Volume};
use crate::{load, rest};

/// Of a hundred kills so many are followed by one during recovery, and that one again.
const RECOVERY_KILL_PERCENT: u8 = 35;
/// Longest wait between the last acknowledgement that is waited for and the kill.
const KILL_JITTER_MS_MAX: u64 = 40;
const ACKNOWLEDGED_POLL: Duration = Duration::from_millis(2);
/// A broker that takes longer for the acknowledgements between two kills does not serve.
const LOAD_WITHIN: Duration = Duration::from_secs(120);

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The broker.
    pub program: Program,
    /// Where its volume is made.
    pub root: PathBuf,
    /// What a kill does to unsynced data.
    pub loss: Loss,
    /// Kills under load.
    pub kills: u32,
    /// Acknowledged sends and deletes between two kills, at least.
    pub acknowledged_min: u64,
    /// Connections under load.
    pub connections: usize,
    /// The queues and their visibility timeouts.
    pub queues: Vec<Queue>,
    /// Whether to stop loading once something acknowledged is gone.
    pub stop_at_loss: bool,
    /// Seed of all choices of the test; what the broker and the machine do is not seeded.
    pub seed: u64,
}

/// Runs the plan; `progress` gets a line per kill.
///
/// # Errors
/// The test itself cannot go on: the broker cannot be run or killed, the volume not be made. What the broker
/// does wrong is in the report.
pub async fn run(plan: &Plan, mut progress: impl FnMut(&str)) -> io::Result<Report> {
    let volume = Volume::new(&plan.root, plan.loss)?;
    let desk = Arc::new(Desk::new(Ledger::new(Bodies::new(plan.seed), plan.queues.clone())));
    let random = fastrand::Rng::with_seed(plan.seed);
    let report = Report::new(plan.seed);
    let mut run = Run { plan, volume, desk, random, report, is_first: true };
    let ended = run.rounds(&mut progress).await;
    let Run { volume, desk, mut report, .. } = run;
    report.close(&desk);
    ended?;
    volume.close()?;
    Ok(report)
}

struct Run<'a> {
    plan: &'a Plan,
    volume: Volume,
    desk: Arc<Desk>,
    random: fastrand::Rng,
    report: Report,
    is_first: bool,
}

/// A broker that is ready.
struct Serving {
    broker: Broker,
    address: SocketAddr,
}

impl Run<'_> {
    async fn rounds(&mut self, progress: &mut impl FnMut(&str)) -> io::Result<()> {
        for _ in 0..self.plan.kills {
            let Some(serving) = self.start().await? else { return Ok(()) };
            if self.plan.stop_at_loss && self.has_loss() {
                return self.drain(serving).await;
            }
            let is_alive = self.load_and_kill(serving).await?;
            progress(&self.report.progress(&self.desk));
            if !is_alive {
                return Ok(());
            }
            while self.random.u8(0..100) < RECOVERY_KILL_PERCENT {
                self.kill_in_recovery().await?;
            }
        }
        match self.start().await? {
            Some(serving) => self.drain(serving).await,
            None => Ok(()),
        }
    }

    /// Starts the broker and looks whether everything is there. None when it does not come up.
    async fn start(&mut self) -> io::Result<Option<Serving>> {
        let mut broker = self.plan.program.start(self.volume.data_dir())?;
        let ready = match broker.ready().await {
            Ok(ready) => ready,
            Err(reason) => {
                self.desk.ledger().find(Finding::NotServing { reason });
                self.kill(&mut broker).await?;
                return Ok(None);
            }
        };
        let looked = if self.is_first {
            self.create_queues(ready.client).await
        } else {
            self.report.restarted(ready.after);
            rest::check_counts(&self.desk, ready.client).await.map_err(|error| error.to_string())
        };
        self.is_first = false;
        if let Err(error) = looked {
            self.not_serving(&broker, &error).await;
            self.kill(&mut broker).await?;
            return Ok(None);
        }
        Ok(Some(Serving { broker, address: ready.client }))
    }

    async fn create_queues(&self, address: SocketAddr) -> Result<(), String> {
        let mut session =
            Session::connect(self.desk.clone(), address).await.map_err(|error| error.to_string())?;
        for queue in 0..self.plan.queues.len() {
            let reply = session.create_queue(QueueIndex(queue)).await.map_err(|error| error.to_string())?;
            if reply.code != cmq::OK {
                return Err(format!("CreateQueue: {} {}", reply.code, reply.message));
            }
        }
        Ok(())
    }

    /// Loads the broker until enough is acknowledged, then kills it. False when it ended before that.
    async fn load_and_kill(&mut self, mut serving: Serving) -> io::Result<bool> {
        let before = self.desk.acknowledged();
        let target =
            before + self.random.u64(self.plan.acknowledged_min..=self.plan.acknowledged_min * 3 / 2);
        self.desk.set_closing(false);
        let tasks = load::start(&self.desk, serving.address, self.plan.connections, &mut self.random);
        let started = Instant::now();
        let mut reason = None;
        while self.desk.acknowledged() < target && reason.is_none() {
            tokio::time::sleep(ACKNOWLEDGED_POLL).await;
            reason = match serving.broker.ended() {
                Some(status) => Some(format!("ended with {status} under load")),
                None if started.elapsed() > LOAD_WITHIN => Some(format!("too slow: {LOAD_WITHIN:?} passed")),
                None => None,
            };
        }
        if reason.is_none() {
            tokio::time::sleep(Duration::from_millis(self.random.u64(0..=KILL_JITTER_MS_MAX))).await;
        }
        self.desk.set_closing(true);
        let forgotten = self.kill(&mut serving.broker).await?;
        tasks.join_all().await;
        self.report.killed(self.desk.acknowledged() - before, forgotten);
        match reason {
            Some(reason) => {
                self.not_serving(&serving.broker, &reason).await;
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// Starts the broker and kills it at a random moment of its recovery, or shortly after.
    async fn kill_in_recovery(&mut self) -> io::Result<()> {
        let mut broker = self.plan.program.start(self.volume.data_dir())?;
        let usual = self.report.usual_restart();
        tokio::time::sleep(usual.mul_f64(self.random.f64() * 1.2)).await;
        let forgotten = self.kill(&mut broker).await?;
        self.report.killed_in_recovery(forgotten);
        Ok(())
    }

    /// Kills the broker together with its power, where the volume can lose it. Syncs that are under way do not end
    /// before the kill, and the process does not end before they do: the loss stands between.
    async fn kill(&mut self, broker: &mut Broker) -> io::Result<Option<Forgotten>> {
        self.volume.cut_power();
        broker.kill()?;
        let forgotten = self.volume.lose_power(&mut self.random)?;
        broker.gone().await?;
        Ok(forgotten)
    }

    async fn drain(&mut self, mut serving: Serving) -> io::Result<()> {
        self.desk.set_closing(false);
        match rest::drain(&self.desk, serving.address).await {
            Ok(()) => self.report.drained(),
            Err(error) => self.not_serving(&serving.broker, &error.to_string()).await,
        }
        self.kill(&mut serving.broker).await.map(|_| ())
    }

    async fn not_serving(&self, broker: &Broker, reason: &str) {
        let reason = broker.report(reason).await;
        self.desk.ledger().find(Finding::NotServing { reason });
    }

    fn has_loss(&self) -> bool {
        self.desk.ledger().findings().iter().any(Finding::is_loss)
    }
}
