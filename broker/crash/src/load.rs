//! Producers and consumers that keep the broker busy until it is killed under them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::cmq::CallError;
use crate::desk::Desk;
use crate::ledger::{Held, QueueIndex};
use crate::session::{BATCH_MAX, Session};

/// Messages that a queue holds before producers pause.
const BACKLOG_MAX: usize = 3_000;
/// A pause of a producer at a full backlog, or of a consumer that found nothing.
const PAUSE: Duration = Duration::from_millis(3);
/// Before a connection that broke under a living broker is made again.
const RECONNECT: Duration = Duration::from_millis(20);
/// Largest of the usual bodies, and of the few large ones.
const BODY_BYTES_MAX: usize = 2_000;
const LARGE_BODY_BYTES_MAX: usize = 60_000;
/// Longest delay of a send.
const DELAY_S_MAX: u64 = 8;
/// Longest time that a handle is kept.
const SHELVED_MS_MAX: u64 = 12_000;

/// Starts `connections` connections to the broker, three in five of them producers. They end when the desk is
/// closing and the broker is gone.
pub(crate) fn start(
    desk: &Arc<Desk>,
    address: SocketAddr,
    connections: usize,
    random: &mut fastrand::Rng,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for index in 0..connections {
        let random = fastrand::Rng::with_seed(random.u64(..));
        let role = if index % 5 < 3 { Role::Producer } else { Role::Consumer };
        tasks.spawn(work(desk.clone(), address, role, random));
    }
    tasks
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Producer,
    Consumer,
}

async fn work(desk: Arc<Desk>, address: SocketAddr, role: Role, mut random: fastrand::Rng) {
    while !desk.is_closing() {
        if let Ok(mut session) = Session::connect(desk.clone(), address).await {
            // A producer that pauses would never notice that its connection is gone.
            while !desk.is_closing() && step(&desk, &mut session, role, &mut random).await.is_ok() {}
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn step(
    desk: &Desk,
    session: &mut Session,
    role: Role,
    random: &mut fastrand::Rng,
) -> Result<(), CallError> {
    let queue = QueueIndex(random.usize(0..desk.ledger().queues().len()));
    match role {
        Role::Producer => produce(desk, session, queue, random).await,
        Role::Consumer => consume(desk, session, queue, random).await,
    }
}

async fn produce(
    desk: &Desk,
    session: &mut Session,
    queue: QueueIndex,
    random: &mut fastrand::Rng,
) -> Result<(), CallError> {
    if desk.ledger().open(queue) > BACKLOG_MAX {
        tokio::time::sleep(PAUSE).await;
        return Ok(());
    }
    let delay_s = if random.u8(0..100) < 6 { random.u64(1..=DELAY_S_MAX) } else { 0 };
    let sizes: Vec<usize> = match random.u8(0..100) {
        0 => vec![random.usize(BODY_BYTES_MAX..LARGE_BODY_BYTES_MAX)],
        1..70 => vec![random.usize(1..BODY_BYTES_MAX)],
        _ => (0..random.usize(2..=BATCH_MAX)).map(|_| random.usize(1..BODY_BYTES_MAX)).collect(),
    };
    session.send(queue, Duration::from_secs(delay_s), &sizes).await
}

/// Receives; most messages are deleted at once, some later (also after a kill), and some are left until their
/// lease ends.
async fn consume(
    desk: &Desk,
    session: &mut Session,
    queue: QueueIndex,
    random: &mut fastrand::Rng,
) -> Result<(), CallError> {
    if let Some(held) = desk.take_due() {
        session.delete(&[held]).await?;
    }
    let messages_max = if random.bool() { 1 } else { random.usize(2..=BATCH_MAX) };
    let wait_s = u64::from(random.u8(0..100) == 0);
    let received = session.receive(queue, messages_max, wait_s).await?;
    if received.is_empty() {
        tokio::time::sleep(PAUSE).await;
        return Ok(());
    }
    let mut now = Vec::new();
    for held in received {
        match random.u8(0..100) {
            0..6 => {}
            6..12 => desk.shelve(desk.now() + Duration::from_millis(random.u64(1..SHELVED_MS_MAX)), held),
            _ => now.push(held),
        }
    }
    if random.bool() {
        return session.delete(&now).await;
    }
    for held in now {
        delete_one(session, held).await?;
    }
    Ok(())
}

async fn delete_one(session: &mut Session, held: Held) -> Result<(), CallError> {
    session.delete(std::slice::from_ref(&held)).await
}
