//! The file of access keys.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_128;

use super::{KEYS_MAX, Key, Keys};

/// Bytes of the file at most.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Characters of an id or a secret at most.
const TEXT_CHARS_MAX: usize = 256;

/// Why a file of access keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("access keys {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// It is larger than any list of keys.
    #[error("access keys {0}: the file is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge(PathBuf),
    /// It is not a YAML list of `{id, secret}`.
    #[error("access keys {path}: not a list of {{id, secret}}: {cause}")]
    Form {
        /// The file.
        path: PathBuf,
        /// Line, column and what is wrong there; never shows a secret.
        cause: String,
    },
    /// It holds no key: nobody could call.
    #[error(
        "access keys {0}: the list is empty, so nobody could call; give it a key or leave the option out"
    )]
    Empty(PathBuf),
    /// It holds more keys than a broker takes.
    #[error("access keys {0}: more than {KEYS_MAX} keys")]
    TooMany(PathBuf),
    /// An id or a secret is empty, too long or has blanks around it. Counted from 1.
    #[error(
        "access keys {path}: key {number}: {part} must have 1 to {TEXT_CHARS_MAX} characters, no blanks around"
    )]
    Text {
        /// The file.
        path: PathBuf,
        /// Which key of the list, from 1.
        number: usize,
        /// `id` or `secret`.
        part: &'static str,
    },
    /// Two keys have the same id.
    #[error("access keys {path}: the id {id} stands there twice")]
    Twice {
        /// The file.
        path: PathBuf,
        /// The id.
        id: String,
    },
}

/// One entry of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    secret: String,
}

/// Reads a file of access keys: a YAML list of `{id, secret}`.
///
/// # Errors
/// The file cannot be read, has another form, or holds no key, too many keys, an empty one or an id twice.
pub fn read(path: &Path) -> Result<Keys, Error> {
    parse(path, &text(path)?)
}

/// The text of the file.
pub(super) fn text(path: &Path) -> Result<String, Error> {
    let unreadable = |cause| Error::Unreadable { path: path.to_owned(), cause };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::TooLarge(path.to_owned()));
    }
    Ok(text)
}

/// Tells one text from another.
pub(super) fn fingerprint(text: &str) -> u128 {
    xxh3_128(text.as_bytes())
}

/// The keys of the text.
pub(super) fn parse(path: &Path, text: &str) -> Result<Keys, Error> {
    let path = || path.to_owned();
    let options = serde_saphyr::options! { with_snippet: false };
    let entries: Option<Vec<Entry>> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|cause| Error::Form { path: path(), cause: cause.to_string() })?;
    let entries = entries.unwrap_or_default();
    if entries.is_empty() {
        return Err(Error::Empty(path()));
    }
    if entries.len() > KEYS_MAX {
        return Err(Error::TooMany(path()));
    }
    let mut by_id = HashMap::with_capacity(entries.len());
    for (index, Entry { id, secret }) in entries.into_iter().enumerate() {
        for (part, text) in [("id", &id), ("secret", &secret)] {
            if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX || text.trim() != text {
                return Err(Error::Text { path: path(), number: index + 1, part });
            }
        }
        let key = Key::new(&id, &secret);
        if by_id.contains_key(&id) {
            return Err(Error::Twice { path: path(), id });
        }
        by_id.insert(id, key);
    }
    Ok(Keys { by_id, fingerprint: fingerprint(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, due: Result<usize, &str>) {
        let found =
            parse(Path::new("keys.yaml"), text).map(|keys| keys.count()).map_err(|error| error.to_string());
        match (&found, due) {
            (Ok(keys), Ok(due)) => assert_eq!(*keys, due, "{text}"),
            (Err(error), Err(due)) => assert!(error.contains(due), "{text}\n{error}"),
            _ => panic!("{text}\n{found:?}"),
        }
    }

    #[test]
    fn reads_lists_of_keys() {
        check("- id: AKIDa\n  secret: one\n- id: other\n  secret: 'two # three'\n", Ok(2));
        check("[{id: a, secret: b}]", Ok(1));
        check("- {id: '1234', secret: \"0x12\"}", Ok(1));
    }

    #[test]
    fn says_what_is_wrong() {
        check("", Err("keys.yaml: the list is empty, so nobody could call"));
        check("[]", Err("keys.yaml: the list is empty, so nobody could call"));
        check("id: a\nsecret: b", Err("keys.yaml: not a list of {id, secret}"));
        check("- id: a", Err("missing field `secret`"));
        check("- id: a\n  secret: b\n  region: c", Err("unknown field `region`"));
        check("- id: a\n  id: b\n  secret: c", Err("not a list"));
        check("- id: a\n  secret: ''", Err("key 1: secret must have 1 to 256 characters"));
        check(
            "- {id: a, secret: b}\n- {id: ' c', secret: d}",
            Err("key 2: id must have 1 to 256 characters"),
        );
        check("- {id: a, secret: b}\n- {id: a, secret: c}", Err("the id a stands there twice"));
        check("- id: [\n", Err("not a list"));
        let many: String = (0..=KEYS_MAX).map(|key| format!("- {{id: k{key}, secret: s}}\n")).collect();
        check(&many, Err("more than 10000 keys"));
    }

    #[test]
    fn errors_do_not_show_secrets() {
        for text in [
            "- id: a\n  secret: {hidden: hidden}",
            "- id: a\n  secret: hidden\n  more: hidden",
            "- id: a\n  secret: 'hidden",
            "- id: a\n  secret: ' hidden'",
        ] {
            let error = parse(Path::new("keys.yaml"), text).unwrap_err().to_string();
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn files_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.yaml");
        assert!(read(&missing).unwrap_err().to_string().contains("missing.yaml: "));
        let large = folder.path().join("large.yaml");
        std::fs::write(&large, " ".repeat(FILE_BYTES_MAX as usize + 1)).unwrap();
        assert!(read(&large).unwrap_err().to_string().contains("larger than 4194304 bytes"));
        let good = folder.path().join("good.yaml");
        std::fs::write(&good, "- {id: AKIDa, secret: s}").unwrap();
        assert_eq!(read(&good).unwrap().count(), 1);
    }
}
