//! What users may change of the pods beyond the fields of the spec. What the operator needs is theirs to leave alone: a patch
//! that touches it is refused with the field, and the result is checked to be a pod in full.

use cmq_crds::broker::BrokerSpec;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Map, Value};

use super::merge::merge;
use super::pod;
use crate::labels;
use crate::names::{
    ADMIN_PORT, ADMIN_PORT_NAME, CLIENT_PORT, CLIENT_PORT_NAME, CONTAINER, DATA_VOLUME, PEER_PORT,
    PEER_PORT_NAME,
};

/// Where the patch stands in a Broker.
const AT: &str = "spec.podTemplate.spec";
/// Fields of a pod that follow from what the StatefulSet is.
const FIXED_FIELDS: [&str; 3] = ["hostname", "restartPolicy", "subdomain"];
/// Volumes that the operator makes.
pub const OWN_VOLUMES: [&str; 4] = [DATA_VOLUME, pod::TLS_VOLUME, pod::CLIENT_TLS_VOLUME, pod::ACCESS_VOLUME];
/// Where the operator mounts them; nothing else may be mounted there, below, or above.
const OWN_PATHS: [&str; 2] = [pod::DATA_DIR, pod::CONFIG_DIR];

/// Checks the overrides of a spec by themselves, and that they can be merged.
///
/// # Errors
/// With the field that is wrong, and what is allowed.
pub fn check(spec: &BrokerSpec) -> Result<(), String> {
    let Some(template) = &spec.pod_template else { return Ok(()) };
    for (map, values) in
        template.metadata.iter().flat_map(|m| [("labels", &m.labels), ("annotations", &m.annotations)])
    {
        if let Some(key) = values.keys().find(|key| is_own_key(key)) {
            return Err(format!(
                "spec.podTemplate.metadata.{map}[{key}] is the operator's; allowed are other keys"
            ));
        }
    }
    let patch = &template.spec;
    if let Some(field) = FIXED_FIELDS.iter().find(|field| patch.contains_key(**field)) {
        return Err(format!("{AT}.{field} is the operator's; leave it out"));
    }
    for volume in entries(patch, "volumes") {
        if let Some(name) = name(volume).filter(|name| OWN_VOLUMES.contains(name)) {
            return Err(format!("{AT}.volumes[{name}] is the operator's; allowed are other names"));
        }
    }
    for list in ["containers", "initContainers"] {
        for container in entries(patch, list) {
            check_container(container, list)?;
        }
    }
    apply(&Map::new(), patch).map(drop)
}

fn is_own_key(key: &str) -> bool {
    let ours = [labels::NAME, labels::INSTANCE, labels::COMPONENT, labels::MANAGED_BY, labels::PART_OF];
    ours.contains(&key) || key.starts_with("cmq.dev/")
}

fn check_container(container: &Value, list: &str) -> Result<(), String> {
    let name = name(container).unwrap_or_default();
    let at = format!("{AT}.{list}[{name}]");
    let own = list == "containers" && name == CONTAINER;
    if own {
        for (field, instead) in [("image", "spec.image"), ("command", "nothing"), ("$patch", "nothing")] {
            if container.get(field).is_some() {
                return Err(format!("{at}.{field} is the operator's; allowed is {instead} instead"));
            }
        }
    }
    for port in entries_of(container, "ports") {
        let (number, port_name) = (port.get("containerPort").and_then(Value::as_i64), self::name(port));
        let taken =
            [(CLIENT_PORT, CLIENT_PORT_NAME), (PEER_PORT, PEER_PORT_NAME), (ADMIN_PORT, ADMIN_PORT_NAME)]
                .into_iter()
                .any(|(own, own_name)| number == Some(own.into()) || port_name == Some(own_name));
        if taken {
            return Err(format!(
                "{at}.ports: {CLIENT_PORT} to {ADMIN_PORT} and their names are the broker's"
            ));
        }
    }
    for variable in entries_of(container, "env").filter(|_| own) {
        if let Some(name) = self::name(variable).filter(|name| pod::OWN_VARIABLES.contains(name)) {
            return Err(format!("{at}.env[{name}] is the operator's; the fields of spec decide it"));
        }
    }
    for mount in entries_of(container, "volumeMounts").filter(|_| own) {
        let path = mount.get("mountPath").and_then(Value::as_str).unwrap_or_default();
        if let Some(taken) = OWN_PATHS.iter().find(|own| overlaps(path, own)) {
            return Err(format!("{at}.volumeMounts[{path}] collides with {taken}, which is the operator's"));
        }
    }
    Ok(())
}

/// Whether one path is the other, or lies below it.
fn overlaps(one: &str, other: &str) -> bool {
    let parts =
        |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (parts(one), parts(other));
    one.iter().zip(&other).all(|(a, b)| a == b)
}

fn entries<'a>(map: &'a Map<String, Value>, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    map.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn entries_of<'a>(value: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.as_object().into_iter().flat_map({
        let list = list.to_owned();
        move |map| entries(map, &list)
    })
}

fn name(value: &Value) -> Option<&str> {
    value.get("name").and_then(Value::as_str)
}

/// A pod with a patch merged into it.
///
/// # Errors
/// With what cannot be merged, or is not a field of a pod.
pub fn apply(base: &Map<String, Value>, patch: &Map<String, Value>) -> Result<Value, String> {
    let mut merged = Value::Object(base.clone());
    merge(&mut merged, Value::Object(patch.clone()), AT)?;
    // A pod without containers cannot be read; an override by itself may have none.
    let mut whole = merged.clone();
    if whole.get("containers").is_none() {
        whole["containers"] = Value::Array(Vec::new());
    }
    let pod: PodSpec = serde_json::from_value(whole.clone()).map_err(|error| format!("{AT}: {error}"))?;
    let read = serde_json::to_value(pod).map_err(|error| format!("{AT}: {error}"))?;
    match unknown(&whole, &read, AT) {
        Some(field) => Err(format!("{field} is not a field of a pod")),
        None => Ok(merged),
    }
}

/// The first field that got lost when a pod was read: nobody knows it.
fn unknown(written: &Value, read: &Value, at: &str) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written.iter().find_map(|(field, value)| {
            let at = format!("{at}.{field}");
            match read.get(field) {
                Some(read) => unknown(value, read, &at),
                None => (!value.is_null()).then_some(at),
            }
        }),
        (Value::Array(written), Value::Array(read)) => {
            let pairs = written.iter().zip(read).enumerate();
            pairs
                .into_iter()
                .find_map(|(index, (written, read))| unknown(written, read, &format!("{at}[{index}]")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cmq_crds::broker::pods::PodTemplate;
    use serde_json::json;

    use super::*;

    fn checked(template: Value) -> Result<(), String> {
        let template: PodTemplate = serde_json::from_value(template).unwrap();
        check(&BrokerSpec { pod_template: Some(template), ..BrokerSpec::default() })
    }

    #[test]
    fn what_users_may_change() {
        for template in [
            json!({}),
            json!({"metadata": {"labels": {"team": "shop"}, "annotations": {"a.example/b": "c"}}}),
            json!({"spec": {"containers": [{"name": "broker", "env": [{"name": "CMQ_METRICS_QUEUES", "value": "10"}]}]}}),
            json!({"spec": {"containers": [{"name": "side", "image": "x:1", "ports": [{"containerPort": 80}]}]}}),
            json!({"spec": {"containers": [{"name": "broker", "volumeMounts": [{"name": "t", "mountPath": "/tmp"}]}],
                            "volumes": [{"name": "t", "emptyDir": {}}]}}),
            json!({"spec": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}], "priority": null}}),
        ] {
            assert_eq!(checked(template.clone()), Ok(()), "{template}");
        }
    }

    #[test]
    fn what_is_the_operators_is_refused() {
        for (template, field) in [
            (
                json!({"metadata": {"labels": {"app.kubernetes.io/instance": "x"}}}),
                "labels[app.kubernetes.io/instance]",
            ),
            (
                json!({"metadata": {"annotations": {"cmq.dev/config-hash": "x"}}}),
                "annotations[cmq.dev/config-hash]",
            ),
            (json!({"spec": {"restartPolicy": "Never"}}), "spec.podTemplate.spec.restartPolicy"),
            (json!({"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}}), "volumes[data]"),
            (
                json!({"spec": {"containers": [{"name": "broker", "image": "x:1"}]}}),
                "containers[broker].image",
            ),
            (
                json!({"spec": {"containers": [{"name": "broker", "$patch": "delete"}]}}),
                "containers[broker].$patch",
            ),
            (
                json!({"spec": {"containers": [{"name": "side", "ports": [{"containerPort": 9324}]}]}}),
                "containers[side].ports",
            ),
            (
                json!({"spec": {"containers": [{"name": "broker", "env": [{"name": "CMQ_DATA_DIR", "value": "/x"}]}]}}),
                "containers[broker].env[CMQ_DATA_DIR]",
            ),
            (
                json!({"spec": {"containers": [{"name": "broker", "volumeMounts": [{"name": "t", "mountPath": "/data/x"}]}]}}),
                "volumeMounts[/data/x]",
            ),
            (
                json!({"spec": {"containers": [{"name": "broker", "volumeMounts": [{"name": "t", "mountPath": "/etc"}]}]}}),
                "volumeMounts[/etc]",
            ),
            (
                json!({"spec": {"nodeSelectorr": {"a": "b"}}}),
                "spec.podTemplate.spec.nodeSelectorr is not a field",
            ),
            (
                json!({"spec": {"containers": [{"name": "side", "resources": {"limit": {}}}]}}),
                "spec.podTemplate.spec.containers[0].resources.limit is not a field",
            ),
            (json!({"spec": {"priority": "high"}}), "spec.podTemplate.spec: invalid type"),
        ] {
            let error = checked(template).unwrap_err();
            assert!(error.contains(field), "{error} lacks {field}");
        }
    }

    #[test]
    fn paths_overlap_by_their_parts() {
        for (one, other, expected) in [
            ("/data", "/data", true),
            ("/data/", "/data", true),
            ("/data/x", "/data", true),
            ("/", "/data", true),
            ("/database", "/data", false),
            ("/tmp", "/etc/cmq", false),
        ] {
            assert_eq!(overlaps(one, other), expected, "{one} {other}");
        }
    }
}
