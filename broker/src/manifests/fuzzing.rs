//! Files that declare queues.

use std::collections::HashSet;

use super::{ManifestError, Texts, parse};
use crate::fuzzing::{Target, texts_as_seeds};

pub(crate) const TARGETS: &[Target] =
    &[Target { name: "manifest", run: manifest, seeds: || texts_as_seeds(&FILES) }];

const FILES: [&str; 3] = [
    "apiVersion: cmq.dev/v1alpha1\nkind: Queue\nmetadata:\n  name: orders\nspec:\n  visibilityTimeoutSeconds: 30\n",
    include_str!("../../../examples/quickstart.yaml"),
    "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"a\"}}\n---\n- &a [1, *a]\n",
];

fn manifest(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match parse(&Texts(vec![("queues.yaml".into(), text.to_owned())])) {
        Ok(manifests) => {
            let mut names = HashSet::new();
            for queue in manifests.into_queues() {
                let dead_letter = queue.dead_letter.map(|(name, _)| name);
                assert!(
                    dead_letter.is_none_or(|name| names.contains(&name)),
                    "dead-letter queues come first"
                );
                assert!(!queue.name.is_empty() && names.insert(queue.name), "a name stands once");
            }
        }
        Err(ManifestError::Invalid(problems)) => {
            // To YAML a carriage return ends a line too.
            let lines = text.split(['\n', '\r']).count() as u64;
            for problem in &problems {
                assert!((1..=lines).contains(&problem.line), "{problem:?}");
            }
            assert!(!problems.is_empty());
        }
        Err(error) => panic!("no file was read: {error}"),
    }
}
