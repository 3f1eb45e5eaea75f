//! Who sends and who takes.

use std::rc::Rc;
use std::time::Duration;

use super::client::{Client, Received};
use super::findings::Finding;
use super::lanes::Taking;
use super::ledger::Place;
use super::world::{Kind, Phase, World};
use crate::cmq;
use crate::load::Schedule;

/// Calls a second that one connection is given: with 20 ms a call it is busy half of the time.
const CALLS_PER_CONNECTION: f64 = 25.0;

/// Size of a body, in bytes.
const BODY_BYTES: usize = 1024;

/// How often somebody peeks.
const PEEK_INTERVAL: Duration = Duration::from_secs(5);

/// How often a task looks whether it is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The body of a message: where it belongs, its number, and letters that follow from both.
fn body(world: &World, lane: usize, number: u64) -> String {
    let mut body = format!("{}.{number}.", world.lanes[lane].name);
    let filler = BODY_BYTES.saturating_sub(body.len());
    body.push_str(&cmq::body(filler, number ^ ((lane as u64) << 48)));
    body
}

/// The number of a message of the lane, if the body is the one that was sent.
fn number(world: &World, lane: usize, text: &str) -> Option<u64> {
    let number =
        text.strip_prefix(world.lanes[lane].name)?.strip_prefix('.')?.split('.').next()?.parse().ok()?;
    (text == body(world, lane, number)).then_some(number)
}

/// How many connections a rate of calls needs.
fn connections(calls_per_second: f64) -> usize {
    (calls_per_second / CALLS_PER_CONNECTION).ceil().max(1.0) as usize
}

/// Starts everybody who sends to a lane or takes from it.
pub(super) fn start(world: &Rc<World>, lane: usize, rate: f64) {
    let shape = &world.lanes[lane];
    let rate = rate * shape.share;
    let calls = rate / shape.batch as f64;
    let senders = connections(calls);
    for sender in 0..senders {
        let seed = (lane as u64) << 32 | sender as u64;
        tokio::task::spawn_local(send(world.clone(), lane, Schedule::new(calls / senders as f64, seed)));
    }
    match shape.taking {
        Taking::Waiting { poll, takers } => {
            let receives = f64::from(1 + u8::from(shape.deletes)) * calls;
            for _ in 0..connections(receives).max(takers) {
                tokio::task::spawn_local(take(world.clone(), lane, shape.name, Place::Queue, poll));
            }
        }
        Taking::Paced { share, depth } => {
            let takers = connections(2.0 * calls * share);
            for taker in 0..takers {
                let seed = (lane as u64) << 32 | 1 << 16 | taker as u64;
                let schedule = Schedule::new(calls * share / takers as f64, seed);
                tokio::task::spawn_local(take_paced(world.clone(), lane, schedule, depth));
            }
        }
        Taking::Peeking => {
            tokio::task::spawn_local(peek(world.clone(), lane));
        }
        Taking::Nobody => {}
    }
    if let Some(queue) = shape.dead_letter_queue {
        for _ in 0..connections(2.0 * rate) {
            tokio::task::spawn_local(take(world.clone(), lane, queue, Place::DeadLetterQueue, 5));
        }
    }
}

/// Fills a lane up to the depth that it keeps.
pub(super) async fn fill(world: &Rc<World>, lane: usize) {
    let Taking::Paced { depth, .. } = world.lanes[lane].taking else { return };
    let mut client = Client::new(world);
    while world.ledgers[lane].borrow().outstanding() < depth && world.failed() == 0 {
        send_now(world, &mut client, lane, cmq::BATCH_MESSAGES_MAX, 0, world.now()).await;
    }
}

/// Sends at the times of the schedule, whatever the broker does; what is late counts from its time.
async fn send(world: Rc<World>, lane: usize, mut schedule: Schedule) {
    let mut client = Client::new(&world);
    let begin = world.now();
    let mut calls = 0u64;
    loop {
        let at = begin + schedule.next();
        tokio::time::sleep(at.saturating_sub(world.now())).await;
        if world.phase.get() != Phase::Load {
            return;
        }
        let shape = &world.lanes[lane];
        let delay = if shape.delay_max == 0 { 0 } else { 1 + (calls * 7) % shape.delay_max };
        send_now(&world, &mut client, lane, shape.batch, delay, at).await;
        calls += 1;
    }
}

async fn send_now(
    world: &World,
    client: &mut Client,
    lane: usize,
    count: usize,
    delay: u64,
    since: Duration,
) {
    let ledger = &world.ledgers[lane];
    let now = world.now();
    let numbers: Vec<u64> =
        (0..count).map(|_| ledger.borrow_mut().send(now, Duration::from_secs(delay))).collect();
    let bodies: Vec<String> = numbers.iter().map(|number| body(world, lane, *number)).collect();
    if client.send(world.lanes[lane].name, &bodies, delay, since).await {
        let now = world.now();
        for number in numbers {
            ledger.borrow_mut().acknowledge(number, now);
        }
    }
}

/// Takes what comes.
async fn take(world: Rc<World>, lane: usize, queue: &'static str, place: Place, poll: u32) {
    let mut client = Client::new(&world);
    let deletes = world.lanes[lane].deletes || place == Place::DeadLetterQueue;
    while world.phase.get() != Phase::Over {
        // In the end nobody waits for long, so that everybody sees the end.
        let poll = if world.phase.get() == Phase::Load { poll } else { 1 };
        take_once(&world, &mut client, lane, queue, place, 1, poll, deletes).await;
    }
}

/// Takes at the times of the schedule, and only down to a depth; everything when the load is over.
async fn take_paced(world: Rc<World>, lane: usize, mut schedule: Schedule, depth: usize) {
    let mut client = Client::new(&world);
    let shape = &world.lanes[lane];
    let begin = world.now();
    while world.phase.get() == Phase::Load {
        let at = begin + schedule.next();
        tokio::time::sleep(at.saturating_sub(world.now())).await;
        if world.ledgers[lane].borrow().outstanding() >= depth + shape.batch {
            take_once(&world, &mut client, lane, shape.name, Place::Queue, shape.batch, 0, true).await;
        }
    }
    while world.phase.get() != Phase::Over {
        let batch = cmq::BATCH_MESSAGES_MAX;
        take_once(&world, &mut client, lane, shape.name, Place::Queue, batch, 1, true).await;
    }
}

async fn peek(world: Rc<World>, lane: usize) {
    let mut client = Client::new(&world);
    let queue = world.lanes[lane].name;
    while world.phase.get() != Phase::Over {
        tokio::time::sleep(PEEK_INTERVAL).await;
        take_once(&world, &mut client, lane, queue, Place::Queue, 1, 0, false).await;
        let now = world.now();
        world.ledgers[lane].borrow_mut().expire(now);
    }
}

#[expect(clippy::too_many_arguments, reason = "one call, spelled out")]
async fn take_once(
    world: &World,
    client: &mut Client,
    lane: usize,
    queue: &str,
    place: Place,
    max: usize,
    poll: u32,
    deletes: bool,
) {
    let ledger = &world.ledgers[lane];
    let called = world.now();
    let messages = client.receive(queue, max, poll).await;
    if messages.is_empty() {
        return;
    }
    let now = world.now();
    let mut numbers = Vec::with_capacity(messages.len());
    let mut known: Vec<Received> = Vec::with_capacity(messages.len());
    for message in messages {
        let Some(number) = number(world, lane, &message.body) else {
            let text = format!("in {queue}: {:?}", message.body.chars().take(60).collect::<String>());
            ledger.borrow_mut().findings.add(Finding::Invented, text);
            continue;
        };
        let waited = ledger.borrow_mut().receive(number, place, called, now);
        if let (Some(waited), true) = (waited, poll > 0 && world.phase.get() == Phase::Load) {
            world.time(Kind::Delivery, waited);
        }
        numbers.push(number);
        known.push(message);
    }
    if !deletes || known.is_empty() {
        return;
    }
    let cleared = || numbers.iter().any(|number| ledger.borrow().may_be_cleared(*number));
    let called = world.now();
    if client.delete(queue, &known, cleared).await {
        let now = world.now();
        for number in numbers {
            ledger.borrow_mut().delete(number, called, now);
        }
    }
}

/// Waits until the soak leaves `phase`, or until `time` is over; whether the phase still holds.
pub(super) async fn rest(world: &World, phase: Phase, time: Duration) -> bool {
    let end = world.now() + time;
    while world.phase.get() == phase && world.now() < end {
        tokio::time::sleep(LOOK_INTERVAL.min(end.saturating_sub(world.now()))).await;
    }
    world.phase.get() == phase
}
