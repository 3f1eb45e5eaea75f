//! The server by itself, seen through kube.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, future};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::watcher::Event;
use kube::runtime::{Controller, finalizer, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::store::Store;
use super::{Server, created, kinds};

fn server() -> (Arc<Server>, Client) {
    let server = Server::new(Store::new());
    let client = server.plain_client();
    (server, client)
}

fn config_map(name: &str, data: Value) -> ConfigMap {
    let object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data });
    serde_json::from_value(object).unwrap()
}

async fn applied(api: &Api<ConfigMap>, manager: &str, force: bool, data: Value) -> kube::Result<ConfigMap> {
    let mut parameters = PatchParams::apply(manager);
    parameters.force = force;
    api.patch("c", &parameters, &Patch::Apply(config_map("c", data))).await
}

fn data(object: &ConfigMap) -> Value {
    json!(object.data)
}

#[tokio::test]
async fn what_is_no_longer_applied_goes_unless_somebody_else_owns_it() {
    let (_, client) = server();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    applied(&api, "a", false, json!({ "x": "1", "y": "1" })).await.unwrap();
    applied(&api, "b", false, json!({ "y": "1", "z": "1" })).await.unwrap();
    let both = applied(&api, "a", false, json!({ "w": "1" })).await.unwrap();
    assert_eq!(data(&both), json!({ "w": "1", "y": "1", "z": "1" }));
    let none = applied(&api, "b", false, json!({ "z": "1" })).await.unwrap();
    assert_eq!(data(&none), json!({ "w": "1", "z": "1" }));
}

#[tokio::test]
async fn a_field_of_another_owner_is_a_conflict_or_taken_by_force() {
    let (_, client) = server();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    applied(&api, "a", false, json!({ "x": "1" })).await.unwrap();
    let refused = applied(&api, "b", false, json!({ "x": "2" })).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_conflict()));
    assert_eq!(data(&applied(&api, "b", true, json!({ "x": "2" })).await.unwrap()), json!({ "x": "2" }));
    // It is no longer of "a", so that leaving it out takes nothing away.
    assert_eq!(
        data(&applied(&api, "a", false, json!({ "y": "1" })).await.unwrap()),
        json!({ "x": "2", "y": "1" })
    );
    // An update takes fields as well.
    api.patch("c", &PatchParams::default(), &Patch::Merge(json!({ "data": { "x": "3" } }))).await.unwrap();
    let refused = applied(&api, "b", false, json!({ "x": "2" })).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_conflict()));
}

#[tokio::test]
async fn the_same_applied_twice_is_one_write() {
    let (server, client) = server();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    applied(&api, "a", false, json!({ "x": "1" })).await.unwrap();
    let revision = server.read().revision();
    applied(&api, "a", false, json!({ "x": "1" })).await.unwrap();
    assert_eq!(server.read().revision(), revision);
}

#[tokio::test]
async fn lists_that_are_maps_merge_by_their_keys() {
    let (_, client) = server();
    let api: Api<Service> = Api::default_namespaced(client);
    let service = |ports: Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "ports": ports } });
    let apply = |manager: &'static str, ports: Value| {
        let api = api.clone();
        async move { api.patch("s", &PatchParams::apply(manager), &Patch::Apply(service(ports))).await.unwrap() }
    };
    apply("a", json!([{ "name": "x", "port": 1 }, { "name": "y", "port": 2 }])).await;
    apply("b", json!([{ "name": "z", "port": 3 }])).await;
    let last = apply("a", json!([{ "name": "x", "port": 1, "protocol": "TCP" }])).await;
    let ports: Vec<i32> = last.spec.unwrap().ports.unwrap().into_iter().map(|port| port.port).collect();
    assert_eq!(ports, [1, 3]);
}

#[tokio::test]
async fn an_apply_may_name_the_object_it_means() {
    let (_, client) = server();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let mut wanted = config_map("c", json!({}));
    wanted.metadata.uid = Some("another".into());
    let parameters = PatchParams::apply("a").force();
    assert!(api.patch("c", &parameters, &Patch::Apply(&wanted)).await.is_err(), "there is none");
    let made = api.create(&PostParams::default(), &config_map("c", json!({}))).await.unwrap();
    assert!(api.patch("c", &parameters, &Patch::Apply(&wanted)).await.is_err(), "it is another");
    wanted.metadata.uid = made.metadata.uid;
    api.patch("c", &parameters, &Patch::Apply(&wanted)).await.unwrap();
}

#[tokio::test]
async fn a_replace_of_an_old_revision_is_a_conflict() {
    let (_, client) = server();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let first = api.create(&PostParams::default(), &config_map("c", json!({ "x": "1" }))).await.unwrap();
    let mut changed = first.clone();
    changed.data = Some([("x".into(), "2".into())].into());
    api.replace("c", &PostParams::default(), &changed).await.unwrap();
    let refused = api.replace("c", &PostParams::default(), &first).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_conflict()));
    let refused = api.create(&PostParams::default(), &config_map("c", json!({}))).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_already_exists()));
}

#[tokio::test]
async fn our_kinds_have_their_defaults_and_rules() {
    let (server, _) = server();
    let queue = json!({
        "apiVersion": "cmq.dev/v1alpha1", "kind": "Queue", "metadata": { "name": "q", "namespace": "default" },
        "spec": { "broker": {} }, "status": { "replicas": 7 },
    });
    let made = server.write(|store| created(store, queue));
    assert_eq!(made["spec"]["visibilityTimeoutSeconds"], 30);
    assert_eq!(made["spec"]["broker"]["storage"]["size"], "10Gi");
    assert_eq!(made["status"], json!({ "observedGeneration": -1 }), "a status comes by its own call");
    let kind = kinds::named("Queue");
    let change = |status: bool, pointer: &'static str, value: Value| {
        server.write(|store| {
            store.change(kind, "default", "q", "test", status, |object| {
                *object.pointer_mut(pointer).unwrap() = value;
                Ok(())
            })
        })
    };
    assert_eq!(change(false, "/spec/delaySeconds", json!(-1)).unwrap_err().code, 422);
    assert_eq!(change(false, "/spec/delaySeconds", json!(5)).unwrap()["metadata"]["generation"], 2);
    let moved = change(false, "/spec", json!({ "brokerRef": { "name": "b" } }));
    assert_eq!(moved.unwrap_err().code, 422, "a queue cannot move");
    assert_eq!(change(true, "/status/observedGeneration", json!("two")).unwrap_err().code, 422);
    let seen = change(true, "/status/observedGeneration", json!(2)).unwrap();
    assert_eq!(seen["metadata"]["generation"], 2, "a status is no new generation");
    assert_eq!(
        change(true, "/spec/delaySeconds", json!(9)).unwrap()["spec"]["delaySeconds"],
        5,
        "only the status"
    );
}

#[tokio::test]
async fn a_built_in_kind_refuses_what_its_type_does_not_know() {
    let (server, _) = server();
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c", "namespace": "default" }, "dota": { "x": "1" },
    });
    let refused = server.write(|store| store.create(kinds::named("ConfigMap"), map, "test")).unwrap_err();
    assert!(refused.message.contains(".dota: field not declared"), "{refused:?}");
}

#[tokio::test]
async fn a_claim_grows_where_its_class_does() {
    let (server, client) = server();
    for (name, grows) in [("grows", true), ("fixed", false)] {
        server.write(|store| {
            created(
                store,
                json!({
                    "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": name },
                    "provisioner": "test", "allowVolumeExpansion": grows,
                }),
            );
            created(
                store,
                json!({
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "metadata": { "name": name, "namespace": "default" },
                    "spec": { "storageClassName": name, "resources": { "requests": { "storage": "1Gi" } } },
                }),
            );
        });
    }
    let api: Api<PersistentVolumeClaim> = Api::default_namespaced(client);
    let more = Patch::Merge(json!({ "spec": { "resources": { "requests": { "storage": "2Gi" } } } }));
    api.patch("grows", &PatchParams::default(), &more).await.unwrap();
    let refused = api.patch("fixed", &PatchParams::default(), &more).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_forbidden()));
}

#[tokio::test]
async fn deleting_minds_preconditions_finalizers_and_orphans() {
    let (server, client) = server();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let owner = api.create(&PostParams::default(), &config_map("owner", json!({}))).await.unwrap();
    let mut child = config_map("child", json!({}));
    child.metadata.finalizers = Some(vec!["test/wait".into()]);
    child.metadata.owner_references = Some(vec![kube::Resource::owner_ref(&owner, &()).unwrap()]);
    api.create(&PostParams::default(), &child).await.unwrap();

    let other = Preconditions { uid: Some("another".into()), resource_version: None };
    assert!(api.delete("owner", &DeleteParams::orphan().preconditions(other)).await.is_err());
    api.delete("owner", &DeleteParams::orphan()).await.unwrap();
    assert_eq!(api.get("child").await.unwrap().owner_references().len(), 0);

    let left = api.delete("child", &DeleteParams::default()).await.unwrap().left().expect("it waits");
    assert!(left.metadata.deletion_timestamp.is_some());
    let remove = json!([{ "op": "test", "path": "/metadata/finalizers/0", "value": "test/wait" },
        { "op": "remove", "path": "/metadata/finalizers/0" }]);
    let remove = Patch::Json::<()>(serde_json::from_value(remove).unwrap());
    api.patch("child", &PatchParams::default(), &remove).await.unwrap();
    assert!(server.read().list(kinds::named("ConfigMap"), None).next().is_none());
}

#[tokio::test]
async fn lists_come_in_pages_and_as_metadata() {
    let (_, client) = server();
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &config_map(name, json!({ "x": "1" }))).await.unwrap();
    }
    let page = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(page.items.len(), 2);
    let rest = api
        .list(&ListParams::default().limit(2).continue_token(&page.metadata.continue_.unwrap()))
        .await
        .unwrap();
    assert_eq!(rest.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["c"]);
    let metadata = api.list_metadata(&ListParams::default().fields("metadata.name!=b")).await.unwrap();
    assert_eq!(metadata.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_every_change_and_begins_anew_when_it_was_away_too_long() {
    let (server, client) = server();
    let api: Api<PartialObjectMeta<ConfigMap>> = Api::default_namespaced(client.clone());
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let config = watcher::Config::default().labels("watched=yes").timeout(30);
    let mut events = watcher(api, config).boxed();
    let labelled = |watched: &str| {
        let mut map = config_map("c", json!({}));
        map.metadata.labels = Some([("watched".into(), watched.into())].into());
        map
    };
    assert!(matches!(events.try_next().await.unwrap(), Some(Event::Init)));
    assert!(matches!(events.try_next().await.unwrap(), Some(Event::InitDone)));
    maps.create(&PostParams::default(), &labelled("yes")).await.unwrap();
    assert!(matches!(events.try_next().await.unwrap(), Some(Event::Apply(map)) if map.name_any() == "c"));
    let apply = PatchParams::apply("a").force();
    maps.patch("c", &apply, &Patch::Apply(labelled("no"))).await.unwrap();
    assert!(matches!(events.try_next().await.unwrap(), Some(Event::Delete(_))), "it left the selection");
    maps.patch("c", &apply, &Patch::Apply(labelled("yes"))).await.unwrap();
    assert!(matches!(events.try_next().await.unwrap(), Some(Event::Apply(_))));
    server.write(|store| {
        store.create_namespace("other");
        store.compact();
    });
    let mut names = Vec::new();
    for _ in 0..4 {
        match events.try_next().await {
            Ok(Some(Event::InitApply(map))) => names.push(map.name_any()),
            Ok(Some(Event::Init | Event::InitDone)) | Err(watcher::Error::WatchError(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names, ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_controller_with_a_finalizer_works_as_on_the_real_server() {
    let (server, client) = server();
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let cleaned = Arc::new(AtomicUsize::new(0));
    let context = Arc::new((api.clone(), cleaned.clone()));
    let controller = Controller::new(Api::<ConfigMap>::all(client), watcher::Config::default()).run(
        |map, context| async move {
            let act = |event| {
                if let finalizer::Event::Cleanup(_) = event {
                    context.1.fetch_add(1, Ordering::Relaxed);
                }
                future::ready(Ok::<_, kube::Error>(Action::await_change()))
            };
            finalizer::finalizer(&context.0, "test/clean-up", map, act).await
        },
        |_, _, _| Action::await_change(),
        context,
    );
    let running = tokio::spawn(controller.for_each(|_| async {}));
    api.create(&PostParams::default(), &config_map("c", json!({}))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(api.get("c").await.unwrap().finalizers(), ["test/clean-up"]);
    assert!(api.delete("c", &DeleteParams::default()).await.unwrap().is_left(), "it waits for the finalizer");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cleaned.load(Ordering::Relaxed), 1);
    assert!(server.read().get(kinds::named("ConfigMap"), "default", "c").is_none());
    running.abort();
}
