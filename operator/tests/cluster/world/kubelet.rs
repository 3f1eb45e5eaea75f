//! A node: containers start after two seconds and end after one; what keeps a container from running shows in the status.

use serde_json::{Value, json};

use crate::api::kinds::named;
use crate::api::store::{Store, place};
use crate::broker::{Brokers, Launch};

use super::claims::claim_of;
use super::{Timers, all, change, ends, uid};

/// Seconds until a changed Secret has reached the files in a pod, and the process has read them.
const SECRET_SECONDS: i64 = 5;

pub(super) fn step(store: &mut Store, brokers: &mut Brokers, timers: &mut Timers) {
    for pod in all(store, "Pod") {
        let (namespace, name) = place(&pod);
        if ends(&pod) {
            if timers.over(format!("stop {}", uid(&pod)), 1) {
                brokers.stop(&uid(&pod));
                store.finish(named("Pod"), &namespace, &name);
            }
            continue;
        }
        let state = match start(store, brokers, timers, &pod) {
            Ok(()) => State::Running,
            Err(state) => state,
        };
        if matches!(state, State::Running) {
            reload(store, brokers, timers, &pod);
        }
        let status = status(&pod, &state);
        change(store, &pod, true, |pod| pod["status"] = status);
    }
    let kept = all(store, "Pod").iter().map(|pod| uid(pod)).collect();
    brokers.keep_processes(&kept);
}

enum State {
    Pending,
    /// Why the container waits.
    Waiting(&'static str, String),
    /// What the process said when it ended.
    Crashed(String),
    Running,
}

/// Starts the process of a pod unless it runs.
fn start(store: &Store, brokers: &mut Brokers, timers: &mut Timers, pod: &Value) -> Result<(), State> {
    if brokers.runs(&uid(pod)) {
        return Ok(());
    }
    let (namespace, name) = place(pod);
    let claim = claim_of(pod).and_then(|claim| store.get(named("PersistentVolumeClaim"), &namespace, claim));
    let claim =
        claim.filter(|claim| claim["status"]["phase"] == "Bound" && !ends(claim)).ok_or(State::Pending)?;
    let container = &pod["spec"]["containers"][0];
    let image = container["image"].as_str().unwrap_or_default();
    if image.contains("bad") {
        return Err(State::Waiting("ImagePullBackOff", format!("Back-off pulling image \"{image}\"")));
    }
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        if let Some(secret) = volume["secret"]["secretName"].as_str() {
            let optional = volume["secret"]["optional"] == true;
            if store.get(named("Secret"), &namespace, secret).is_none() && !optional {
                return Err(State::Waiting("ContainerCreating", format!("secret \"{secret}\" not found")));
            }
        }
    }
    let environment = environment(store, &namespace, container)?;
    if !timers.over(format!("start {}", uid(pod)), 2) {
        return Err(State::Waiting("ContainerCreating", String::new()));
    }
    let launch = Launch {
        uid: uid(pod),
        namespace: namespace.clone(),
        pod: name,
        volume: uid(claim),
        cluster_id: environment.get("CMQ_CLUSTER_ID").and_then(Value::as_str).map(str::to_owned),
        tls: secret_of(store, pod, "/etc/cmq/tls"),
        client_tls: secret_of(store, pod, "/etc/cmq/client-tls"),
    };
    brokers.start(launch).map_err(State::Crashed)
}

/// The environment of a container by name: from ConfigMaps, then its own, which wins.
fn environment(
    store: &Store,
    namespace: &str,
    container: &Value,
) -> Result<serde_json::Map<String, Value>, State> {
    let mut environment = serde_json::Map::new();
    let map = |name: &str, optional: &Value| {
        let found = store.get(named("ConfigMap"), namespace, name).map(|map| map["data"].clone());
        match found {
            None if optional != true => {
                Err(State::Waiting("CreateContainerConfigError", format!("configmap \"{name}\" not found")))
            }
            found => Ok(found.unwrap_or_default()),
        }
    };
    for source in container["envFrom"].as_array().into_iter().flatten() {
        let source = &source["configMapRef"];
        let data = map(source["name"].as_str().unwrap_or_default(), &source["optional"])?;
        environment.extend(data.as_object().cloned().unwrap_or_default());
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default().to_owned();
        let source = &variable["valueFrom"]["configMapKeyRef"];
        if let Some(config) = source["name"].as_str() {
            let data = map(config, &source["optional"])?;
            if let Some(value) = data.get(source["key"].as_str().unwrap_or_default()) {
                environment.insert(name, value.clone());
            }
        } else {
            environment.insert(name, variable["value"].clone());
        }
    }
    Ok(environment)
}

/// The data of the Secret that is mounted at a path.
fn secret_of(store: &Store, pod: &Value, path: &str) -> Option<Value> {
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array()?;
    let volume = &mounts.iter().find(|mount| mount["mountPath"] == path)?["name"];
    let volume = pod["spec"]["volumes"].as_array()?.iter().find(|found| found["name"] == *volume)?;
    let secret = store.get(named("Secret"), &place(pod).0, volume["secret"]["secretName"].as_str()?)?;
    Some(secret["data"].clone())
}

/// Has a running process see Secrets that changed.
fn reload(store: &Store, brokers: &mut Brokers, timers: &mut Timers, pod: &Value) {
    let (tls, client) = (secret_of(store, pod, "/etc/cmq/tls"), secret_of(store, pod, "/etc/cmq/client-tls"));
    if brokers.differs(&uid(pod), &tls, &client) && timers.over(format!("load {}", uid(pod)), SECRET_SECONDS)
    {
        brokers.load(&uid(pod), tls, client);
    }
}

fn status(pod: &Value, state: &State) -> Value {
    let name = &pod["spec"]["containers"][0]["name"];
    let image = &pod["spec"]["containers"][0]["image"];
    let serves = matches!(state, State::Running);
    let waiting =
        |reason: &str, message: &str| json!({ "waiting": { "reason": reason, "message": message } });
    let (phase, current) = match state {
        State::Pending => ("Pending", None),
        State::Waiting(reason, message) => ("Pending", Some(waiting(reason, message))),
        State::Crashed(_) => {
            ("Running", Some(waiting("CrashLoopBackOff", "back-off restarting failed container")))
        }
        State::Running => ("Running", Some(json!({ "running": {} }))),
    };
    let ready = if serves { "True" } else { "False" };
    let containers = current.map(|current| {
        let mut container = json!({
            "name": name, "image": image, "imageID": "", "ready": serves, "started": serves, "state": current,
            "restartCount": u8::from(matches!(state, State::Crashed(_))),
        });
        if let State::Crashed(message) = state {
            container["lastState"] =
                json!({ "terminated": { "exitCode": 1, "reason": "Error", "message": message } });
        }
        json!([container])
    });
    json!({
        "phase": phase,
        "conditions": [{ "type": "Ready", "status": ready }, { "type": "ContainersReady", "status": ready }],
        "containerStatuses": containers.unwrap_or(json!([])),
        "podIP": "10.0.0.1",
    })
}
