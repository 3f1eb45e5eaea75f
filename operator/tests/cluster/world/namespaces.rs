//! The end of a namespace: everything in it is deleted, and when nothing is left, so is the namespace.

use crate::api::kinds::named;
use crate::api::store::{Deletion, Store, place};

use super::{all, ends};

pub(super) fn step(store: &mut Store) {
    for namespace in all(store, "Namespace").into_iter().filter(|namespace| ends(namespace)) {
        let (_, name) = place(&namespace);
        let inside: Vec<_> = store
            .all()
            .filter(|(key, _)| key.1 == name)
            .map(|(key, object)| (key.clone(), ends(&object.value)))
            .collect();
        if inside.is_empty() {
            store.finish(named("Namespace"), "", &name);
        }
        for ((kind, namespace, object), _) in inside.into_iter().filter(|(_, ends)| !ends) {
            store.delete(named(kind), &namespace, &object, &Deletion::default()).expect("it is there");
        }
    }
}
