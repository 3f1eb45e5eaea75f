//! Everything that reads bytes from outside or from disk, as functions over any bytes.
//!
//! The fuzzer of `fuzz/` and the property tests below run the same functions. Each must come to an end without a panic,
//! and holds what was read against what is written from it. A target stands beside the code that it reads with; this
//! is the list.

mod engine;

pub(crate) use engine::{catalogue_commands, sends};

/// Bytes of an input at most: what is larger only takes time.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the fuzz target and of its corpus.
    pub name: &'static str,
    /// Reads the bytes; panics on a bug.
    pub run: fn(&[u8]),
    /// Right inputs, from which to start.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    [
        crate::api::fuzzing::TARGETS,
        crate::service::fuzzing::TARGETS,
        crate::replication::fuzzing::TARGETS,
        crate::storage::fuzzing::TARGETS,
        engine::TARGETS,
        crate::access::fuzzing::TARGETS,
        crate::manifests::fuzzing::TARGETS,
    ]
    .into_iter()
    .flatten()
}

/// Runs a target.
///
/// # Panics
/// There is no target of this name, or it found a bug.
pub fn run(name: &str, input: &[u8]) {
    let target = targets().find(|target| target.name == name).expect("a target of this name");
    (target.run)(&input[..input.len().min(INPUT_BYTES_MAX)]);
}

pub(crate) fn texts_as_seeds(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The lines of an input that holds several texts: all but the last end with a line feed, the last one is the rest.
pub(crate) fn texts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut rest = input;
    std::array::from_fn(|at| {
        let end = rest.iter().position(|byte| *byte == b'\n').filter(|_| at + 1 < N);
        let (text, left) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 1..]));
        rest = left;
        text
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use super::*;

    /// Mutated inputs a target.
    const ROUNDS: u32 = 2_000;

    /// Far above what the slowest target needs for the largest input, on a busy machine.
    const TIME_MAX: Duration = Duration::from_secs(5);

    fn corpus(target: &Target) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target.name)
    }

    /// A copy that is bent in one of the ways in which bytes go wrong.
    fn bend(input: &[u8], other: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
        let mut bent = input.to_vec();
        for _ in 0..random.u32(1..4) {
            let at = random.usize(..=bent.len());
            match random.u8(..8) {
                0 => bent.truncate(at),
                1 => bent.insert(at, random.u8(..)),
                2 if at < bent.len() => bent[at] ^= 1 << random.u8(..8),
                3 => {
                    let end = (at + random.usize(1..9)).min(bent.len());
                    bent[at..end].fill(*random.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap());
                }
                4 if at < bent.len() => drop(bent.drain(at..(at + random.usize(1..9)).min(bent.len()))),
                5 => drop(bent.splice(at..at, [0xff; 10][..random.usize(1..=10)].iter().copied())),
                6 => drop(bent.splice(at.., other[random.usize(..=other.len())..].iter().copied())),
                _ => {
                    let end = (at + random.usize(1..40)).min(bent.len());
                    let again = bent[at.min(end)..end].to_vec();
                    drop(bent.splice(at..at, again));
                }
            }
        }
        bent
    }

    /// An input of the largest size, most of it one piece over and over: what takes quadratic time shows.
    fn swollen(input: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
        let start = random.usize(..=input.len());
        let end = random.usize(start..=input.len().min(start + 100));
        let piece = if start == end { input } else { &input[start..end] };
        let times = INPUT_BYTES_MAX / piece.len().max(1);
        let mut swollen = [&input[..start], &piece.repeat(times), &input[start..]].concat();
        swollen.truncate(INPUT_BYTES_MAX);
        swollen
    }

    fn check(target: &'static Target, input: Vec<u8>) {
        let begin = Instant::now();
        let run = input.clone();
        let result = catch_unwind(move || (target.run)(&run));
        assert!(result.is_ok(), "{} fails on {:?}", target.name, input.escape_ascii().to_string());
        let took = begin.elapsed();
        let shown = input[..input.len().min(200)].escape_ascii();
        assert!(took < TIME_MAX, "{} takes {took:?} for {shown}", target.name);
    }

    #[test]
    fn no_bytes_trip_a_parser() {
        let mut random = fastrand::Rng::with_seed(4);
        for target in targets() {
            let mut seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
            let files = fs::read_dir(corpus(target)).unwrap();
            seeds.extend(files.map(|file| fs::read(file.unwrap().path()).unwrap()));
            for seed in &seeds {
                check(target, seed.clone());
            }
            for round in 0..ROUNDS {
                let seed = random.choice(&seeds).unwrap();
                let other = random.choice(&seeds).unwrap();
                check(target, bend(seed, other, &mut random));
                if round % 50 == 0 {
                    check(target, swollen(seed, &mut random));
                }
                let length = random.usize(..120);
                check(target, std::iter::repeat_with(|| random.u8(..)).take(length).collect());
            }
        }
    }

    /// The corpus from which the fuzzer starts is made from the seeds, and of every target.
    #[test]
    fn the_corpus_is_there() {
        for target in targets() {
            let dir = corpus(target);
            if std::env::var_os("CMQ_UPDATE").is_some() {
                fs::create_dir_all(&dir).unwrap();
                for (number, seed) in (target.seeds)().iter().enumerate() {
                    fs::write(dir.join(format!("seed-{number}")), seed).unwrap();
                }
            }
            assert!(
                dir.join("seed-0").is_file(),
                "no corpus of {}: run this test with CMQ_UPDATE=1",
                target.name
            );
            let fuzz = dir.join("../..");
            let binary = format!("targets/{}.rs", target.name);
            let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
            assert!(fuzz.join(&binary).is_file() && manifest.contains(&binary), "{binary} is no fuzz target");
        }
    }

    #[test]
    fn inputs_of_several_texts_are_taken_apart() {
        assert_eq!(texts::<3>(b"one\ntwo\nthree\nfour"), [&b"one"[..], b"two", b"three\nfour"]);
        assert_eq!(texts::<2>(b"one"), [&b"one"[..], b""]);
    }
}
