//! The file of access keys.

use std::path::Path;

use super::{KEYS_MAX, file};
use crate::fuzzing::{Target, texts_as_seeds};

pub(crate) const TARGETS: &[Target] =
    &[Target { name: "access_keys", run: access_keys, seeds: || texts_as_seeds(&FILES) }];

const FILES: [&str; 3] = [
    "- id: AKIDa\n  secret: one\n- id: other\n  secret: 'two # three'\n",
    "[{id: a, secret: \"b\\x41\"}]",
    "- &key {id: AKIDa, secret: ' one'}\n- *key\n",
];

fn access_keys(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match file::parse(Path::new("keys.yaml"), text) {
        Ok(keys) => assert!((1..=KEYS_MAX).contains(&keys.count())),
        Err(error) => assert!(error.to_string().starts_with("access keys keys.yaml: "), "{error}"),
    }
}
