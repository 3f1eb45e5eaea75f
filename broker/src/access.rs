//! Who may call: the access keys of a broker, and what a signed call must be.

mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod habits;
mod reload;
mod replay;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;
use xxhash_rust::xxh3::xxh3_64;

pub use file::{Error, read};
pub use habits::{FORMS_MAX, Habits, TRIAL_BYTES_MAX};
pub use reload::follow;
pub use replay::{GuardFigures, Repeated, SIGNATURES_MAX, Signed};

use replay::ReplayGuard;

/// Key ids at most that one broker knows.
pub const KEYS_MAX: usize = 10_000;
/// Seconds of `--clock-skew` at most.
pub const CLOCK_SKEW_SECONDS_MAX: u64 = 3_600;

/// What signed calls must be, beside signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What a signature must cover.
    pub at_values: AtValues,
    /// Seconds that a call's time stamp may differ from the broker's clock; None: any.
    pub clock_skew_seconds: Option<u64>,
    /// Whether a signature counts once inside the window of the clock difference. Without such a window it cannot be
    /// known for how long to remember one, and nothing is.
    pub replay_guard: bool,
}

/// What a CMQ signature over POST parameters must cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtValues {
    /// Everything.
    Covered,
    /// Everything, or everything but the values that begin with `@`: several public clients sign so, and nothing then
    /// protects such a value.
    MayBeLeftOut,
}

/// Whether calls must be signed, and with which keys; cheap to clone. Clones see the same keys.
#[derive(Clone, Debug, Default)]
pub struct Access {
    guarded: Option<Arc<Guarded>>,
}

#[derive(Debug)]
struct Guarded {
    keys: RwLock<Arc<Keys>>,
    policy: Policy,
    replay: Option<Mutex<ReplayGuard>>,
}

impl Access {
    /// Everybody may call; signatures are not looked at.
    pub fn open() -> Self {
        Self { guarded: None }
    }

    /// Only calls signed with one of these keys.
    pub fn signed(keys: Keys, policy: Policy) -> Self {
        let window = policy.clock_skew_seconds.filter(|_| policy.replay_guard);
        let replay = window.map(|window| Mutex::new(ReplayGuard::new(window)));
        Self { guarded: Some(Arc::new(Guarded { keys: RwLock::new(Arc::new(keys)), policy, replay })) }
    }

    /// The keys of this moment and what calls must be; None: calls need no signature.
    pub fn keys(&self) -> Option<(Arc<Keys>, &Policy)> {
        let guarded = self.guarded.as_ref()?;
        Some((guarded.keys.read().unwrap_or_else(PoisonError::into_inner).clone(), &guarded.policy))
    }

    /// Puts other keys in the place of the present ones. Calls that are being checked end with the old ones.
    pub fn replace(&self, mut keys: Keys) {
        let Some(guarded) = &self.guarded else { return };
        let mut place = guarded.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.keep_habits_of(&place);
        *place = Arc::new(keys);
    }

    /// Takes note of a call that must not be made twice. `now_s` is the Unix time in seconds.
    ///
    /// # Errors
    /// It was made before, or so many were that nobody can tell.
    pub fn first_time(&self, call: &Signed, now_s: u64) -> Result<(), Repeated> {
        let Some(replay) = self.guarded.as_ref().and_then(|guarded| guarded.replay.as_ref()) else {
            return Ok(());
        };
        replay.lock().unwrap_or_else(PoisonError::into_inner).admit(call, now_s)
    }

    /// What the replay guard holds; None where there is none.
    pub fn guard_figures(&self) -> Option<GuardFigures> {
        let replay = self.guarded.as_ref()?.replay.as_ref()?;
        Some(replay.lock().unwrap_or_else(PoisonError::into_inner).figures())
    }
}

/// The keys of a broker, by id.
#[derive(Debug)]
pub struct Keys {
    by_id: HashMap<String, Key>,
    /// Of the text that they were read from.
    fingerprint: u128,
}

impl Keys {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// The key of an id.
    pub fn find(&self, id: &str) -> Option<&Key> {
        self.by_id.get(id)
    }

    /// A key that stays goes on with what was learned of its clients.
    fn keep_habits_of(&mut self, before: &Self) {
        for (id, key) in &mut self.by_id {
            if let Some(old) = before.by_id.get(id) {
                key.habits = old.habits.clone();
            }
        }
    }
}

/// One access key.
#[derive(Debug)]
pub struct Key {
    /// What its calls are signed with.
    pub secret: Secret,
    /// How its clients sign.
    pub habits: Arc<Habits>,
    /// Stands for the id where a number is enough.
    pub tag: u64,
}

impl Key {
    fn new(id: &str, secret: &str) -> Self {
        Self { secret: Secret::new(secret), habits: Arc::default(), tag: xxh3_64(id.as_bytes()) }
    }
}

/// A secret key, made ready for signing.
pub struct Secret {
    sha1: Hmac<Sha1>,
    sha256: Hmac<Sha256>,
}

impl Secret {
    fn new(key: &str) -> Self {
        const ANY: &str = "HMAC takes keys of any length";
        Self {
            sha1: Hmac::new_from_slice(key.as_bytes()).expect(ANY),
            sha256: Hmac::new_from_slice(key.as_bytes()).expect(ANY),
        }
    }

    /// A fresh HMAC-SHA1 under this key.
    pub fn hmac_sha1(&self) -> Hmac<Sha1> {
        self.sha1.clone()
    }

    /// A fresh HMAC-SHA256 under this key.
    pub fn hmac_sha256(&self) -> Hmac<Sha256> {
        self.sha256.clone()
    }
}

impl fmt::Debug for Secret {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Takes every signature whenever it was made, as often as it comes.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) const LENIENT: Policy =
    Policy { at_values: AtValues::MayBeLeftOut, clock_skew_seconds: None, replay_guard: false };

#[cfg(test)]
pub(crate) fn with_keys<const N: usize>(keys: [(&str, &str); N]) -> Access {
    Access::signed(keys_of(keys), LENIENT)
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn keys_of<const N: usize>(keys: [(&str, &str); N]) -> Keys {
    let by_id = keys.into_iter().map(|(id, secret)| (id.to_owned(), Key::new(id, secret))).collect();
    Keys { by_id, fingerprint: 0 }
}
