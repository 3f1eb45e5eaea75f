//! Objects that should be looked at because something that they depend on changed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, stream};
use kube::runtime::reflector::{Lookup, ObjectRef};
use tokio::sync::Notify;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of an object by its namespace and name.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A set of objects to be looked at; each is in it once, however often it is woken. Bounded by the number of objects.
#[derive(Debug, Default)]
pub struct Wakes {
    pending: Mutex<BTreeSet<Key>>,
    woken: Notify,
}

impl Wakes {
    /// Has an object looked at.
    pub fn wake(&self, key: Key) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        self.woken.notify_one();
    }

    async fn next(&self) -> Key {
        loop {
            let first = self.pending.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            match first {
                Some(key) => return key,
                None => self.woken.notified().await,
            }
        }
    }

    /// The objects as a trigger of a controller. Only one stream may be read at a time.
    pub fn stream<K>(self: Arc<Self>) -> impl Stream<Item = ObjectRef<K>> + Send
    where
        K: Lookup<DynamicType = ()> + 'static,
    {
        stream::unfold(self, |wakes| async {
            let key = wakes.next().await;
            Some((ObjectRef::new(&key.name).within(&key.namespace), wakes))
        })
    }
}

#[cfg(test)]
mod tests {
    use cmq_crds::queue::Queue;
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn each_object_is_woken_once_and_none_is_missed() {
        let wakes = Arc::new(Wakes::default());
        let mut stream = Box::pin(wakes.clone().stream::<Queue>());
        for name in ["b", "a", "b"] {
            wakes.wake(Key::new("shop", name));
        }
        let mut seen = Vec::new();
        while let Some(Some(object)) = stream.next().now_or_never() {
            seen.push(object.name);
        }
        assert_eq!(seen, ["a", "b"]);
        let (next, ()) = tokio::join!(stream.next(), async { wakes.wake(Key::new("shop", "c")) });
        assert_eq!(next.unwrap(), ObjectRef::new("c").within("shop"));
    }
}
