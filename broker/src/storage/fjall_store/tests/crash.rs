//! The process dies by SIGKILL under load, and what it had answered is there afterwards.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

const CHILD_DIR: &str = "CMQ_TEST_STORE_CHILD_DIR";

/// Not a test of its own: started by the one below, it writes until it is killed.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let mut driven = Driven::open(&options(Path::new(&dir)));
    loop {
        let number = driven.next;
        let rows = (0..1 + number % 5).map(|row| put(number * 8 + row, 200 + (number % 7 * 300) as usize));
        let rows =
            rows.chain([Write::Put(Tree::State, key(0), Bytes::copy_from_slice(&number.to_be_bytes()))]);
        driven.apply(rows.collect());
        println!("durable {number}");
    }
}

fn run_and_kill(dir: &Path, answers: usize) -> u64 {
    let module = module_path!().split_once("::").unwrap().1;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("{module}::child_that_writes_until_it_is_killed"))
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut last = 0;
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let numbers = lines.filter_map(|line| line.rsplit_once("durable ")?.1.parse().ok());
    for (count, number) in numbers.enumerate() {
        last = number;
        if count == answers {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    last
}

#[test]
fn what_was_answered_survives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..6 {
        let last = run_and_kill(dir.path(), 150 + round * 40);
        assert!(last > before + 100, "the child answered up to {last}");
        let store = FjallStore::open(&options(dir.path())).unwrap();
        assert!(store.last_batch() >= last, "{} of {last}", store.last_batch());
        for number in 1..=store.last_batch() {
            for row in 0..1 + number % 5 {
                let value = store.get(Tree::Log, &key(number * 8 + row)).unwrap();
                assert_eq!(
                    value.map(|value| value.len() as u64),
                    Some(200 + number % 7 * 300),
                    "batch {number}"
                );
            }
        }
        let state = store.get(Tree::State, &key(0)).unwrap().unwrap();
        assert_eq!(state, &store.last_batch().to_be_bytes()[..]);
        before = last;
    }
}
