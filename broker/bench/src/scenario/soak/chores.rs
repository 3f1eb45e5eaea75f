//! What happens now and then: rewinds, clears, queues that come and go.

use std::rc::Rc;
use std::time::Duration;

use super::client::Client;
use super::lanes::Lane;
use super::traffic::rest;
use super::world::{Kind, Phase, World};

const REWIND_INTERVAL: Duration = Duration::from_secs(120);

/// How far a rewind goes back.
const REWIND_REACH: Duration = Duration::from_secs(60);

const CLEAR_INTERVAL: Duration = Duration::from_secs(60);

const BRIEF_INTERVAL: Duration = Duration::from_secs(2);

/// Names that the queues which come and go use in turn.
const BRIEF_NAMES: u64 = 50;

/// Messages that such a queue is sent; one is deleted, one is in flight at its end.
const BRIEF_MESSAGES: usize = 4;

/// Starts them all.
pub(super) fn start(world: &Rc<World>) {
    for (number, lane) in world.lanes.iter().enumerate() {
        match lane.name {
            "rewound" => drop(tokio::task::spawn_local(rewind(world.clone(), number))),
            "cleared" => drop(tokio::task::spawn_local(clear(world.clone(), number))),
            _ => {}
        }
    }
    tokio::task::spawn_local(come_and_go(world.clone()));
}

/// Creates a queue with its attributes.
pub(super) async fn create(client: &mut Client, lane: &Lane) -> bool {
    if let Some(dead) = lane.dead_letter_queue
        && !client.ask(Kind::CreateQueue, "CreateQueue", dead, &[]).await
    {
        return false;
    }
    let policy = lane.dead_letter_policy();
    let mut parameters = lane.attributes.to_vec();
    if let Some(policy) = &policy {
        parameters.push(("deadLetterPolicy", policy));
    }
    client.ask(Kind::CreateQueue, "CreateQueue", lane.name, &parameters).await
}

async fn rewind(world: Rc<World>, lane: usize) {
    let ledger = &world.ledgers[lane];
    while rest(&world, Phase::Load, REWIND_INTERVAL).await {
        let called = world.now();
        let seconds = world.unix_seconds(called.saturating_sub(REWIND_REACH));
        let from = world.at_unix(seconds);
        ledger.borrow_mut().begin_rewind(from, called);
        let parameters = [("startConsumeTime", &*seconds.to_string())];
        let mut client = Client::new(&world);
        if client.ask(Kind::RewindQueue, "RewindQueue", world.lanes[lane].name, &parameters).await {
            ledger.borrow_mut().rewind(from, called, world.now());
        }
    }
}

async fn clear(world: Rc<World>, lane: usize) {
    while rest(&world, Phase::Load, CLEAR_INTERVAL).await {
        let called = world.now();
        world.ledgers[lane].borrow_mut().begin_clear();
        let mut client = Client::new(&world);
        if client.ask(Kind::ClearQueue, "ClearQueue", world.lanes[lane].name, &[]).await {
            world.ledgers[lane].borrow_mut().clear(called, world.now());
        }
    }
}

/// Creates a queue, uses it, and deletes it with messages of every state in it. A new one under an old name must be empty.
async fn come_and_go(world: Rc<World>) {
    let mut turn = 0u64;
    while rest(&world, Phase::Load, BRIEF_INTERVAL).await {
        let name = format!("brief-{}", turn % BRIEF_NAMES);
        let mut client = Client::new(&world);
        if !client.ask(Kind::CreateQueue, "CreateQueue", &name, &[]).await {
            continue;
        }
        if let Some(message) = client.receive(&name, 1, 0).await.first() {
            world.fail(format!("a new queue {name} has a message {}", message.body));
        }
        let bodies: Vec<String> = (0..BRIEF_MESSAGES).map(|i| format!("{turn}.{i}")).collect();
        client.send(&name, &bodies, 0, world.now()).await;
        client.send(&name, &[format!("{turn}.later")], 600, world.now()).await;
        let messages = client.receive(&name, 2, 0).await;
        let own = format!("{turn}.");
        match messages.first() {
            Some(first) if messages.iter().all(|message| message.body.starts_with(&own)) => {
                client.delete(&name, std::slice::from_ref(first), || false).await;
            }
            _ => world.fail(format!("queue {name} gave {messages:?} in turn {turn}")),
        }
        client.ask(Kind::DeleteQueue, "DeleteQueue", &name, &[]).await;
        turn += 1;
    }
}
