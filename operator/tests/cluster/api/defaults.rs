//! What the server fills in: the defaults of our definitions, and those of built-in kinds that a reader could stumble over.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::kinds::Kind;

pub(super) fn complete(kind: &Kind, old: Option<&Value>, object: &mut Value) {
    match kind.name {
        "Broker" | "Queue" => from_schema(schema(kind.name), object),
        "StatefulSet" => stateful_set(object),
        "Pod" => pod_spec(&mut object["spec"]),
        "Service" => service(old, object),
        "PersistentVolumeClaim" => claim(old, object),
        "Secret" => default(object, "type", json!("Opaque")),
        _ => {}
    }
}

/// The schema of a kind of ours, from its generated manifest.
fn schema(kind: &str) -> &'static Value {
    static SCHEMAS: OnceLock<[Value; 2]> = OnceLock::new();
    let [broker, queue] = SCHEMAS.get_or_init(|| {
        [cmq_crds::manifest::broker(), cmq_crds::manifest::queue()].map(|definition| {
            let mut definition = serde_json::to_value(definition).expect("a definition is plain data");
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take()
        })
    });
    if kind == "Broker" { broker } else { queue }
}

fn from_schema(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = property.get("default")
                    && entries.get(key).is_none_or(Value::is_null)
                {
                    entries.insert(key.clone(), default.clone());
                }
                if let Some(value) = entries.get_mut(key) {
                    from_schema(property, value);
                }
            }
            // An explicit null is as good as nothing.
            entries.retain(|_, value| !value.is_null());
        }
        Value::Array(items) => items.iter_mut().for_each(|item| from_schema(&schema["items"], item)),
        _ => {}
    }
}

fn default(object: &mut Value, field: &str, value: Value) {
    if object[field].is_null() {
        object[field] = value;
    }
}

fn each<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn stateful_set(object: &mut Value) {
    let spec = &mut object["spec"];
    default(spec, "podManagementPolicy", json!("OrderedReady"));
    default(spec, "revisionHistoryLimit", json!(10));
    default(spec, "replicas", json!(1));
    default(spec, "updateStrategy", json!({ "type": "RollingUpdate" }));
    if spec["updateStrategy"]["type"] == "RollingUpdate" {
        default(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
        default(&mut spec["updateStrategy"]["rollingUpdate"], "partition", json!(0));
    }
    default(
        spec,
        "persistentVolumeClaimRetentionPolicy",
        json!({ "whenDeleted": "Retain", "whenScaled": "Retain" }),
    );
    for template in each(spec, "volumeClaimTemplates") {
        default(template, "apiVersion", json!("v1"));
        default(template, "kind", json!("PersistentVolumeClaim"));
        default(&mut template["spec"], "volumeMode", json!("Filesystem"));
        default(template, "status", json!({ "phase": "Pending" }));
    }
    pod_spec(&mut spec["template"]["spec"]);
}

fn pod_spec(spec: &mut Value) {
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "schedulerName", json!("default-scheduler"));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "securityContext", json!({}));
    if let Some(account) = spec["serviceAccountName"].as_str().map(str::to_owned) {
        default(spec, "serviceAccount", json!(account));
    }
    for volume in each(spec, "volumes") {
        for source in ["secret", "configMap", "projected"] {
            if volume[source].is_object() {
                default(&mut volume[source], "defaultMode", json!(420));
            }
        }
    }
    for container in each(spec, "containers") {
        default(container, "terminationMessagePath", json!("/dev/termination-log"));
        default(container, "terminationMessagePolicy", json!("File"));
        default(container, "imagePullPolicy", json!("IfNotPresent"));
        default(container, "resources", json!({}));
        each(container, "ports").for_each(|port| default(port, "protocol", json!("TCP")));
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            if container[probe].is_object() {
                let numbers = [
                    ("timeoutSeconds", 1),
                    ("periodSeconds", 10),
                    ("successThreshold", 1),
                    ("failureThreshold", 3),
                ];
                numbers
                    .into_iter()
                    .for_each(|(field, number)| default(&mut container[probe], field, json!(number)));
            }
        }
        for variable in each(container, "env") {
            if variable["valueFrom"]["fieldRef"].is_object() {
                default(&mut variable["valueFrom"]["fieldRef"], "apiVersion", json!("v1"));
            }
        }
    }
}

fn service(old: Option<&Value>, object: &mut Value) {
    let spec = &mut object["spec"];
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    default(spec, "internalTrafficPolicy", json!("Cluster"));
    default(spec, "ipFamilyPolicy", json!("SingleStack"));
    default(spec, "ipFamilies", json!(["IPv4"]));
    let address = old.map_or(json!("10.96.0.10"), |old| old["spec"]["clusterIP"].clone());
    default(spec, "clusterIP", address);
    let addresses = json!([spec["clusterIP"]]);
    default(spec, "clusterIPs", addresses);
    for port in each(spec, "ports") {
        default(port, "protocol", json!("TCP"));
        let target = port["port"].clone();
        default(port, "targetPort", target);
    }
}

fn claim(old: Option<&Value>, object: &mut Value) {
    default(&mut object["spec"], "volumeMode", json!("Filesystem"));
    default(&mut object["spec"], "storageClassName", json!("grows"));
    if old.is_none() {
        object["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
        default(object, "status", json!({ "phase": "Pending" }));
    }
}
