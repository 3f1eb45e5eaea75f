//! The garbage collector: what has owners, and none of them is left, goes; so do the children of what is deleted in the foreground, and
//! then it itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::kinds::named;
use crate::api::store::{Deletion, FOREGROUND, Store, owners};

use super::uid;

pub(super) fn step(store: &mut Store) {
    let living: BTreeSet<String> = store
        .all()
        .filter(|(_, object)| !waits(&object.value))
        .map(|(_, object)| uid(&object.value))
        .collect();
    let owning: BTreeSet<String> = store
        .all()
        .flat_map(|(_, object)| owners(&object.value).map(owner_uid).collect::<Vec<_>>())
        .collect();
    let objects: Vec<_> = store.all().map(|(key, object)| (key.clone(), object.value.clone())).collect();
    for ((kind, namespace, name), object) in objects {
        let uid = uid(&object);
        let mut owners = owners(&object).peekable();
        if owners.peek().is_some() && !owners.any(|owner| living.contains(&owner_uid(owner))) {
            let foreground = owning.contains(&uid);
            let how = Deletion { uid: Some(uid.clone()), foreground, ..Deletion::default() };
            store.delete(named(kind), &namespace, &name, &how).expect("it is there");
        }
        if waits(&object) && !owning.contains(&uid) {
            let release = |object: &mut Value| {
                let finalizers = object["metadata"]["finalizers"].as_array_mut().expect("it waits");
                finalizers.retain(|finalizer| *finalizer != json!(FOREGROUND));
                Ok(())
            };
            store
                .change(named(kind), &namespace, &name, "garbage-collector", false, release)
                .expect("it is there");
        }
    }
}

/// Whether an object waits for its children to go.
fn waits(object: &Value) -> bool {
    let mut finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    object["metadata"]["deletionTimestamp"].is_string()
        && finalizers.any(|finalizer| *finalizer == json!(FOREGROUND))
}

fn owner_uid(owner: &Value) -> String {
    owner["uid"].as_str().unwrap_or_default().to_owned()
}
