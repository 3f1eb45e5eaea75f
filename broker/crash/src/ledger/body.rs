//! Bodies that can be made again from their number, so that the ledger need not keep them.

/// Makes the bodies of one run. Every body is unique, and one of another run is told apart.
#[derive(Clone, Debug)]
pub struct Bodies {
    seed: u64,
}

/// Between the number and the filling, and what the filling is made of: what forms and JSON must escape, text
/// of two, three and four bytes a character, and plain letters.
const FILLING: &[&str] = &[
    "a", "b", "Z", "7", " ", "&", "=", "+", "%", "%41", "\"", "\\", "\n", "\t", "<", "é", "你", "🦀", "@",
    "\u{1}",
];

impl Bodies {
    /// Bodies of the run with this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The body of a message: its number, then a filling up to about `bytes`.
    pub fn body(&self, number: u64, bytes: usize) -> String {
        let mut body = self.head(number);
        let mut random = fastrand::Rng::with_seed(self.seed.rotate_left(32) ^ number);
        while body.len() < bytes {
            body.push_str(FILLING[random.usize(0..FILLING.len())]);
        }
        body
    }

    /// The number that a body begins with, if it is one of this run.
    pub fn number(&self, body: &str) -> Option<u64> {
        let number = body.strip_prefix(&format!("{:016x}:", self.seed))?.split(':').next()?;
        number.parse().ok()
    }

    fn head(&self, number: u64) -> String {
        format!("{:016x}:{number}:", self.seed)
    }
}
