//! Who may call: the access keys of a broker.

mod file;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;

pub use file::Error;

/// Key ids at most that one broker knows.
pub const KEYS_MAX: usize = 10_000;

/// Whether calls must be signed, and with which keys.
#[derive(Debug, Default)]
pub struct Access {
    keys: Option<Keys>,
}

impl Access {
    /// Everybody may call; signatures are not looked at.
    pub fn open() -> Self {
        Self { keys: None }
    }

    /// Only calls signed with a key of the file: a YAML list of `{id, secret}`.
    ///
    /// # Errors
    /// The file cannot be read, has another form, or holds no key, too many keys, an empty one or an id twice.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        file::read(path).map(|secrets| Self { keys: Some(Keys::new(secrets)) })
    }

    /// Demands that a CMQ signature covers every parameter. Without this, a POST whose signature leaves out the values
    /// that begin with `@` is accepted too: several public clients sign so, and nothing then protects such a value.
    #[must_use]
    pub fn cover_every_value(mut self) -> Self {
        if let Some(keys) = &mut self.keys {
            keys.at_values = AtValues::Covered;
        }
        self
    }

    /// The keys that calls must be signed with; None: calls need no signature.
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }
}

/// What a CMQ signature over POST parameters must cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtValues {
    /// Everything.
    Covered,
    /// Everything, or everything but the values that begin with `@`.
    MayBeLeftOut,
}

/// The keys of a broker.
#[derive(Debug)]
pub struct Keys {
    secrets: HashMap<String, Secret>,
    decoy: Secret,
    at_values: AtValues,
}

impl Keys {
    fn new(secrets: HashMap<String, Secret>) -> Self {
        Self { secrets, decoy: Secret::new(""), at_values: AtValues::MayBeLeftOut }
    }

    /// The secret of a key id. An unknown id is to be checked against a decoy, so that it costs what a known one costs.
    pub fn secret(&self, id: &str) -> Found<'_> {
        self.secrets.get(id).map_or(Found::Decoy(&self.decoy), Found::Known)
    }

    /// What a CMQ signature must cover.
    pub fn at_values(&self) -> AtValues {
        self.at_values
    }
}

/// Answer of [`Keys::secret`].
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The secret of the id.
    Known(&'a Secret),
    /// The id is unknown; nothing is ever signed with this one.
    Decoy(&'a Secret),
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

#[cfg(test)]
pub(crate) fn with_keys<const N: usize>(keys: [(&str, &str); N]) -> Access {
    let secrets = keys.into_iter().map(|(id, key)| (id.to_owned(), Secret::new(key))).collect();
    Access { keys: Some(Keys::new(secrets)) }
}
