//! The objects that the operator watches: of the whole cluster, or of some namespaces with a watch each.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, future};
use k8s_openapi::NamespaceResourceScope;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Lookup, ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{Predicate, WatchStreamExt, predicates};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::labels;

/// Seconds after which a watch is opened anew: some load balancers drop idle connections silently after four minutes.
pub const WATCH_SECONDS: u32 = 200;

/// Which objects the operator looks after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of every namespace.
    Cluster,
    /// Those of these namespaces; at least one.
    Namespaces(Vec<String>),
}

impl Scope {
    /// Whether objects of a namespace belong to it.
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::Cluster => true,
            Self::Namespaces(names) => names.iter().any(|name| name == namespace),
        }
    }

    /// The parts of the scope, each with a watch of its own; nothing stands for every namespace.
    pub fn parts(&self) -> Vec<Option<&str>> {
        match self {
            Self::Cluster => vec![None],
            Self::Namespaces(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        }
    }
}

/// The API of a kind in one part of a scope.
pub fn api<K>(client: &Client, part: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match part {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Objects of a kind as last seen. May be behind the API server: what decides about deletion is read there.
pub struct View<K: Lookup + 'static>
where
    K::DynamicType: Eq + Hash + Clone,
{
    stores: Vec<Store<K>>,
}

impl<K> View<K>
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    /// An empty view of a scope, and a writer for each of its parts.
    pub fn new(scope: &Scope) -> (Self, Vec<Writer<K>>) {
        let (stores, writers) = scope.parts().iter().map(|_| reflector::store()).unzip();
        (Self { stores }, writers)
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let key = ObjectRef::new(name).within(namespace);
        self.stores.iter().find_map(|store| store.get(&key))
    }

    /// Every object that a predicate holds for.
    pub fn filter(&self, predicate: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.stores.iter().flat_map(|store| store.state_filter(&predicate)).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.stores.iter().map(Store::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns once every part was listed.
    ///
    /// # Errors
    /// When a writer is gone.
    pub async fn filled(&self) -> Result<(), reflector::store::WriterDropped> {
        for store in &self.stores {
            store.wait_until_ready().await?;
        }
        Ok(())
    }
}

/// Objects of one of our own kinds: fills the view, shows every event to `seen`, and gives those whose spec, labels,
/// annotations or finalizers changed. An object that cannot be read is logged and left out, so that it does not stop the others.
pub fn own_kind<K, F>(
    client: &Client,
    part: Option<&str>,
    writer: Writer<K>,
    mut seen: F,
) -> impl Stream<Item = watcher::Result<K>> + Send + use<K, F>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Lookup<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: FnMut(&Event<K>) + Send + 'static,
{
    let guarded: Api<DeserializeGuard<K>> = match part {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    watcher(guarded, watcher::Config::default().timeout(WATCH_SECONDS))
        .default_backoff()
        .filter_map(|event| future::ready(readable(event)))
        .reflect(writer)
        .inspect(move |event| {
            if let Ok(event) = event {
                seen(event);
            }
        })
        .applied_objects()
        .predicate_filter(
            predicates::generation
                .combine(predicates::finalizers)
                .combine(predicates::labels)
                .combine(predicates::annotations),
            Default::default(),
        )
}

/// Metadata of the children of a kind, whenever one changes or goes.
pub fn children<K>(
    client: &Client,
    part: Option<&str>,
) -> impl Stream<Item = watcher::Result<PartialObjectMeta<K>>> + Send + use<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<PartialObjectMeta<K>> = match part {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let config =
        watcher::Config::default().labels(&labels::managed_text()).any_semantic().timeout(WATCH_SECONDS);
    watcher(api, config).default_backoff().touched_objects()
}

/// The event without managed fields, which nobody here reads; nothing for an object that cannot be read.
fn readable<K>(event: watcher::Result<Event<DeserializeGuard<K>>>) -> Option<watcher::Result<Event<K>>>
where
    K: Resource + 'static,
{
    let object = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(mut object) => {
            object.managed_fields_mut().clear();
            Some(object)
        }
        Err(error) => {
            tracing::warn!(
                namespace = error.metadata.namespace,
                name = error.metadata.name,
                error = error.error,
                "an object cannot be read and is left alone"
            );
            None
        }
    };
    match event {
        Ok(Event::Apply(guard)) => object(guard).map(Event::Apply).map(Ok),
        Ok(Event::Delete(guard)) => object(guard).map(Event::Delete).map(Ok),
        Ok(Event::InitApply(guard)) => object(guard).map(Event::InitApply).map(Ok),
        Ok(Event::Init) => Some(Ok(Event::Init)),
        Ok(Event::InitDone) => Some(Ok(Event::InitDone)),
        Err(error) => Some(Err(error)),
    }
}
