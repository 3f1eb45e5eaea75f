//! What every implementation of [`Store`] must do. The real store and the simulator's run the same suite, so that what
//! holds in the simulator holds on disk.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Batch, ScanLimit, Store, Tree, Write};

const TREES: [Tree; 3] = [Tree::Log, Tree::State, Tree::Meta];
const NO_LIMIT: ScanLimit = ScanLimit { rows: usize::MAX, bytes: usize::MAX };

/// Runs the suite. `make` makes an empty store; `apply` applies a batch and returns when its rows can be read.
///
/// # Panics
/// At the first thing that the store does wrong.
pub fn check<S: Store>(mut make: impl FnMut() -> S, mut apply: impl FnMut(&mut S, Batch)) {
    let mut run = |test: fn(&mut Subject<'_, S>)| {
        let mut store = make();
        test(&mut Subject { store: &mut store, apply: &mut apply, number: 0 });
    };
    run(an_empty_store_has_no_rows);
    run(later_writes_win_also_inside_a_batch);
    run(trees_are_apart);
    run(ranges_are_half_open_and_in_byte_order);
    run(limits_stop_a_scan_but_never_before_its_first_row);
    run(keys_and_values_of_every_size_come_back);
    run(it_agrees_with_a_map);
}

struct Subject<'a, S> {
    store: &'a mut S,
    apply: &'a mut dyn FnMut(&mut S, Batch),
    number: u64,
}

impl<S: Store> Subject<'_, S> {
    fn apply(&mut self, writes: Vec<Write>) {
        self.number += 1;
        (self.apply)(self.store, Batch { number: self.number, writes });
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Option<Bytes> {
        self.store.get(tree, key).expect("a whole store reads")
    }

    fn scan(&self, tree: Tree, from: &[u8], to: &[u8], limit: ScanLimit) -> Vec<(Bytes, Bytes)> {
        self.store.scan(tree, from, to, limit).expect("a whole store reads")
    }

    fn keys(&self, from: &[u8], to: &[u8], limit: ScanLimit) -> Vec<Vec<u8>> {
        self.scan(Tree::Log, from, to, limit).into_iter().map(|(key, _)| key.to_vec()).collect()
    }
}

fn put(tree: Tree, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Write {
    Write::Put(tree, Bytes::copy_from_slice(key.as_ref()), Bytes::copy_from_slice(value.as_ref()))
}

fn delete(tree: Tree, key: impl AsRef<[u8]>) -> Write {
    Write::Delete(tree, Bytes::copy_from_slice(key.as_ref()))
}

fn an_empty_store_has_no_rows<S: Store>(subject: &mut Subject<'_, S>) {
    for tree in TREES {
        assert_eq!(subject.get(tree, b"k"), None);
        assert_eq!(subject.scan(tree, &[1], &[255; 40], NO_LIMIT), []);
    }
    subject.apply(Vec::new());
    subject.apply(vec![delete(Tree::Log, "never there")]);
    assert_eq!(subject.scan(Tree::Log, &[1], &[255; 40], NO_LIMIT), []);
}

fn later_writes_win_also_inside_a_batch<S: Store>(subject: &mut Subject<'_, S>) {
    subject.apply(vec![put(Tree::Log, "a", "1"), put(Tree::Log, "a", "2"), put(Tree::Log, "b", "1")]);
    assert_eq!(subject.get(Tree::Log, b"a").as_deref(), Some(&b"2"[..]));
    subject.apply(vec![delete(Tree::Log, "b"), put(Tree::Log, "c", "1"), delete(Tree::Log, "c")]);
    assert_eq!(subject.get(Tree::Log, b"b"), None);
    assert_eq!(subject.get(Tree::Log, b"c"), None);
    subject.apply(vec![delete(Tree::Log, "a"), put(Tree::Log, "a", "3"), put(Tree::Log, "b", "2")]);
    let rows = subject.scan(Tree::Log, b"a", b"z", NO_LIMIT);
    let rows: Vec<_> = rows.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    assert_eq!(rows, [(&b"a"[..], &b"3"[..]), (b"b", b"2")]);
}

fn trees_are_apart<S: Store>(subject: &mut Subject<'_, S>) {
    subject.apply(vec![
        put(Tree::Log, "k", "log"),
        put(Tree::State, "k", "state"),
        put(Tree::Meta, "k", "meta"),
    ]);
    subject.apply(vec![delete(Tree::State, "k")]);
    assert_eq!(subject.get(Tree::Log, b"k").as_deref(), Some(&b"log"[..]));
    assert_eq!(subject.get(Tree::State, b"k"), None);
    assert_eq!(subject.get(Tree::Meta, b"k").as_deref(), Some(&b"meta"[..]));
}

fn ranges_are_half_open_and_in_byte_order<S: Store>(subject: &mut Subject<'_, S>) {
    subject.apply(
        [&[1u8][..], &[1, 0], &[1, 255], &[2], &[127], &[128], &[255]]
            .map(|key| put(Tree::Log, key, ""))
            .into(),
    );
    assert_eq!(subject.keys(&[1], &[2], NO_LIMIT), [&[1u8][..], &[1, 0], &[1, 255]]);
    assert_eq!(subject.keys(&[1, 0], &[128], NO_LIMIT), [&[1u8, 0][..], &[1, 255], &[2], &[127]]);
    assert!(subject.keys(&[2, 0], &[127], NO_LIMIT).is_empty());
    assert!(subject.keys(&[2], &[2], NO_LIMIT).is_empty());
    assert!(subject.keys(&[3], &[2], NO_LIMIT).is_empty(), "an inverted range is empty");
    assert_eq!(subject.keys(&[128], &[255, 0], NO_LIMIT), [[128u8], [255]]);
}

fn limits_stop_a_scan_but_never_before_its_first_row<S: Store>(subject: &mut Subject<'_, S>) {
    subject.apply((1..=9u8).map(|key| put(Tree::Log, [key], [key; 9])).collect());
    let count = |rows, bytes| subject.keys(&[1], &[100], ScanLimit { rows, bytes }).len();
    assert_eq!(count(4, usize::MAX), 4);
    assert_eq!(count(100, usize::MAX), 9);
    assert_eq!(count(100, 30), 3, "three rows of ten bytes");
    assert_eq!(count(100, 39), 3);
    assert_eq!(count(2, 30), 2);
    assert_eq!(count(100, 0), 1, "one row whatever the limit");
    assert_eq!(count(1, 1), 1);
}

fn keys_and_values_of_every_size_come_back<S: Store>(subject: &mut Subject<'_, S>) {
    let sizes = [0, 1, 20, 21, 100, 4095, 4096, 4097, 70_000, 1 << 20];
    let rows: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(at, size)| {
            let value: Vec<u8> = (0..*size).map(|byte| (byte % 251) as u8).collect();
            (Bytes::from(vec![7; 1 + at * 50]), Bytes::from(value))
        })
        .collect();
    subject.apply(rows.iter().map(|(key, value)| put(Tree::Log, key, value)).collect());
    for (key, value) in &rows {
        assert!(subject.get(Tree::Log, key).as_deref() == Some(value), "{} bytes", value.len());
    }
    assert!(subject.scan(Tree::Log, &[7], &[8], NO_LIMIT) == rows);
}

/// Random batches from a fixed seed, and the same done to a map.
fn it_agrees_with_a_map<S: Store>(subject: &mut Subject<'_, S>) {
    let mut random = Lcg(0x5eed);
    let mut model: BTreeMap<(Tree, Vec<u8>), Vec<u8>> = BTreeMap::new();
    for _ in 0..300 {
        let mut writes = Vec::new();
        for _ in 0..random.below(20) {
            let tree = TREES[random.below(3)];
            let key = vec![b'a' + random.below(3) as u8; 1 + random.below(40)];
            if random.below(3) == 0 {
                writes.push(delete(tree, &key));
                model.remove(&(tree, key));
            } else {
                let value = vec![random.below(256) as u8; random.below(200)];
                writes.push(put(tree, &key, &value));
                model.insert((tree, key), value);
            }
        }
        subject.apply(writes);

        let tree = TREES[random.below(3)];
        let from = vec![b'a' + random.below(3) as u8; 1 + random.below(40)];
        let to = vec![b'a' + random.below(4) as u8; 1 + random.below(40)];
        assert_eq!(subject.get(tree, &from).as_deref(), model.get(&(tree, from.clone())).map(Vec::as_slice));
        let rows = 1 + random.below(10);
        let expected: Vec<_> = model
            .iter()
            .filter(|((of, key), _)| *of == tree && *key >= from && *key < to)
            .map(|((_, key), value)| (Bytes::from(key.clone()), Bytes::from(value.clone())))
            .take(rows)
            .collect();
        assert_eq!(subject.scan(tree, &from, &to, ScanLimit { rows, bytes: usize::MAX }), expected);
    }
}

/// A plain linear congruential generator: the suite needs variety, not quality, and no dependency.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }
}
