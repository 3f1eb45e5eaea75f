//! The garbage collector: what has owners, and none of them is left, goes.

use std::collections::BTreeSet;

use crate::api::kinds::named;
use crate::api::store::{Deletion, Store, owners};

use super::uid;

pub(super) fn step(store: &mut Store) {
    let living: BTreeSet<String> = store.all().map(|(_, object)| uid(&object.value)).collect();
    let orphaned: Vec<_> = store
        .all()
        .filter(|(_, object)| {
            let mut owners = owners(&object.value).peekable();
            owners.peek().is_some()
                && !owners.any(|owner| living.contains(owner["uid"].as_str().unwrap_or_default()))
        })
        .map(|(key, object)| (key.clone(), uid(&object.value)))
        .collect();
    for ((kind, namespace, name), uid) in orphaned {
        let how = Deletion { uid: Some(uid), ..Deletion::default() };
        store.delete(named(kind), &namespace, &name, &how).expect("it is there");
    }
}
