//! What happened, as a hash that two runs of a seed must share, and as text for whoever replays one.

use xxhash_rust::xxh3::Xxh3;

/// Collects what happens in a run.
pub(crate) struct Trace {
    hash: Xxh3,
    prints: bool,
}

impl Trace {
    /// An empty trace, which is printed as it grows if `prints`.
    pub(crate) fn new(prints: bool) -> Self {
        Self { hash: Xxh3::new(), prints }
    }

    /// Adds numbers to the hash.
    pub(crate) fn mix(&mut self, values: &[u64]) {
        for value in values {
            self.hash.update(&value.to_le_bytes());
        }
    }

    /// Adds bytes to the hash.
    pub(crate) fn mix_bytes(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    /// Prints a line, if lines are printed.
    pub(crate) fn note(&self, now_us: u64, line: impl FnOnce() -> String) {
        if self.prints {
            println!("{:>10}.{:03} ms  {}", now_us / 1_000, now_us % 1_000, line());
        }
    }

    /// The hash of everything so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.digest()
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("hash", &self.hash()).finish_non_exhaustive()
    }
}
