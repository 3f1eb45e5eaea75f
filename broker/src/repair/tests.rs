//! Rows of our own damaged inside a database that is whole: what the broker says, and what a repair saves.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use cmq_engine::attributes::{QueueAttributes, QueueId};
use cmq_engine::catalogue::{CatalogueCommand, PutMode};
use cmq_engine::chunk::ChunkKey;
use cmq_engine::command::NewMessage;
use cmq_engine::message::{BodyRef, DEFAULT_LANE, QueueEpoch};
use cmq_engine::row::RowKey;
use tokio::sync::watch;

use super::*;
use crate::replication::keys::{self, Space};
use crate::replication::runtime::{Node, NodeHandle};
use crate::replication::{GroupId, Reply, Request, driver};
use crate::storage::budget::{MEMORY_BYTES_MIN, MemoryBudget};
use crate::storage::committer::{Committer, SyncMode};
use crate::storage::fjall_store::FjallStore;
use crate::storage::options::Options;
use crate::storage::{Batch, Tree, Write};

const MESSAGES: usize = 600;
const BATCH: usize = 100;
const IN_FLIGHT: u16 = 10;
/// Longer than a test, so that what is in flight stays so.
const LEASE_MS: u64 = 600_000;
const QUEUE: QueueId = QueueId(0);
const SHARD: Space = Space { group: GroupId(1), incarnation: 0 };
const CATALOGUE: Space = Space { group: GroupId(0), incarnation: 0 };
const EPOCH: QueueEpoch = QueueEpoch { queue: QUEUE, epoch: 0 };

fn store(dir: &Path) -> FjallStore {
    FjallStore::open(&Options::new(dir, MemoryBudget::split(MEMORY_BYTES_MIN).unwrap())).unwrap()
}

fn start(dir: &Path) -> Result<Node, String> {
    let config = driver::Config::standalone(1, (7, [7; 32]));
    let (ready, mut is_ready) = watch::channel(false);
    let node = Node::start(config, store(dir), 64 << 20, |_| (), ready).map_err(|error| error.to_string())?;
    ask(async { is_ready.wait_for(|ready| *ready).await.map(|_| ()) }).unwrap();
    Ok(node)
}

fn ask<R>(question: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(question)
}

fn stop(node: Node) {
    node.handle().stop();
    node.join().unwrap();
}

/// A volume with one queue, a closed chunk and an open one, and messages in flight; answers where the bodies are.
fn fill(dir: &Path) -> Vec<BodyRef> {
    let node = start(dir).unwrap();
    let put = CatalogueCommand::Put {
        name: "orders".into(),
        mode: PutMode::Create,
        attributes: QueueAttributes::default(),
        dead_letter_queue: None,
        owner: None,
        recreate_wait_ms: 0,
        shards: 1,
    };
    let reply = ask(node.handle().request(Request::Catalogue(put)));
    assert!(matches!(reply, Reply::Catalogue(Ok(Some(QUEUE)))), "{reply:?}");
    let mut bodies = Vec::new();
    for first in (0..MESSAGES).step_by(BATCH) {
        let texts: Vec<Bytes> = (first..first + BATCH).map(|number| number.to_string().into()).collect();
        let message = NewMessage { bytes: 3, delay_ms: None, group: None, deduplication: None };
        let messages = vec![message; BATCH];
        let send = Request::Send { queue: QUEUE, messages, bodies: texts, home: None };
        match ask(node.handle().request(send)) {
            Reply::Sent(_, sent) => bodies.extend(sent),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(receive(&node.handle(), IN_FLIGHT).len(), usize::from(IN_FLIGHT));
    stop(node);
    bodies
}

fn receive(node: &NodeHandle, max: u16) -> Vec<usize> {
    let request = Request::Receive { queue: QUEUE, max, wait_ms: 0, visibility_ms: Some(LEASE_MS) };
    match ask(node.request(request)) {
        Reply::Received(messages) => {
            let number = |body: &Bytes| std::str::from_utf8(body).unwrap().parse().unwrap();
            messages.iter().map(|message| number(&message.body)).collect()
        }
        Reply::Stopping | Reply::Refused(_) => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn drain(node: &NodeHandle) -> BTreeSet<usize> {
    let mut all = BTreeSet::new();
    loop {
        let received = receive(node, 16);
        if received.is_empty() {
            return all;
        }
        for number in received {
            assert!(all.insert(number), "message {number} twice");
        }
    }
}

fn edit(dir: &Path, write: Write) {
    let store = store(dir);
    let number = store.last_batch() + 1;
    let committer = Committer::start(store, Box::new(|_| ())).unwrap();
    committer.submit(Batch { number, writes: vec![write] }, SyncMode::Sync);
    committer.close().unwrap();
}

struct Case {
    what: &'static str,
    write: Write,
    /// What the broker names, and what the repair.
    names: &'static str,
    /// Whether the broker starts, and stops when it meets the row.
    starts: bool,
    /// Messages that the repair cannot save, of those that are not in flight.
    lost: usize,
}

fn bad(tree: Tree, key: Bytes) -> Write {
    Write::Put(tree, key, Bytes::from_static(b"\xffnot a row"))
}

fn cases(bodies: &[BodyRef]) -> Vec<Case> {
    let state = |key: RowKey| bad(Tree::State, SHARD.row(&key));
    let case = |what, write, names, starts, lost| Case { what, write, names, starts, lost };
    let chunk = ChunkKey { queue: EPOCH, lane: DEFAULT_LANE, number: 0 };
    let in_flight = usize::from(IN_FLIGHT);
    let last = bodies[MESSAGES - 1];
    vec![
        case("a body row", bad(Tree::Log, SHARD.body(bodies[300])), "body", true, 1),
        case("a missing body", Write::Delete(Tree::Log, SHARD.body(last)), "body", true, 1),
        case("a header row", bad(Tree::Log, SHARD.header(9_999)), "log of group 1", false, 0),
        case("a chunk row", state(RowKey::Chunk(chunk)), "chunk 0", true, 512 - in_flight),
        case(
            "a missing chunk",
            Write::Delete(Tree::State, SHARD.row(&RowKey::Chunk(chunk))),
            "chunk 0",
            true,
            512 - in_flight,
        ),
        case("the row of the machine", state(RowKey::Machine), "machine", false, 0),
        case("the row of a queue", state(RowKey::Queue(EPOCH)), "row of queue 0", false, 0),
        case("a lane", state(RowKey::Lane(EPOCH, DEFAULT_LANE)), "lane 0", false, MESSAGES - in_flight),
        case("records", state(RowKey::Records(EPOCH, DEFAULT_LANE, 0)), "records", false, 0),
        case("the catalogue", bad(Tree::State, CATALOGUE.row(&RowKey::Machine)), "group 0", false, 0),
        case(
            "a queue of the catalogue",
            bad(Tree::State, CATALOGUE.row(&RowKey::Queue(EPOCH))),
            "group 0",
            false,
            MESSAGES - in_flight,
        ),
        case("progress", bad(Tree::Meta, keys::progress(GroupId(1))), "group 1", false, 0),
        case("a hard state", bad(Tree::Meta, keys::hard_state(GroupId(1))), "group 1", false, 0),
    ]
}

fn arguments(dir: &Path, apply: bool, accept_loss: bool) -> RepairArgs {
    RepairArgs { data_dir: dir.to_owned(), apply, accept_loss, scratch: None }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "ballast" {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn every_damaged_row_is_named_and_what_is_left_is_saved() {
    let whole = tempfile::tempdir().unwrap();
    let bodies = fill(whole.path());
    for Case { what, write, names, starts, lost } in cases(&bodies) {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        copy(whole.path(), dir);
        edit(dir, write);
        let said = match start(dir) {
            Ok(node) => {
                assert!(starts, "{what}: it started");
                drain(&node.handle());
                node.join().unwrap_err().to_string()
            }
            Err(said) => said,
        };
        assert!(said.contains(names) && said.contains("cmq-broker repair"), "{what}: {said}");

        // The drain above has leased messages: begin anew.
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        copy(whole.path(), dir);
        edit(dir, cases(&bodies).into_iter().find(|case| case.what == what).unwrap().write);
        assert!(!repair(&arguments(dir, false, false)).unwrap(), "{what}");
        assert!(!repair(&arguments(dir, true, false)).unwrap(), "{what}");
        assert!(repair(&arguments(dir, true, true)).unwrap(), "{what}");
        assert!(repair(&arguments(dir, true, false)).unwrap(), "{what}: something is still wrong");
        let node = start(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
        let there = drain(&node.handle());
        assert_eq!(there.len(), MESSAGES - usize::from(IN_FLIGHT) - lost, "{what}");
        stop(node);
    }
}

#[test]
fn a_whole_volume_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    assert!(repair(&arguments(dir.path(), true, true)).unwrap());
    assert!(!dir.path().join("damaged-1").exists());
}
