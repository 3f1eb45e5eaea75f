//! The pod template. A change of anything here restarts the pods of every Broker: see the golden files.

use std::collections::BTreeMap;

use cmq_crds::broker::ImagePullPolicy;
use cmq_crds::broker::placement::Spread;
use cmq_crds::broker::pods::{self, Resources};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapEnvSource, Container, ContainerPort, EnvFromSource, EnvVar,
    HTTPGetAction, KeyToPath, Lifecycle, LifecycleHandler, LocalObjectReference, PodAffinityTerm,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
    SecretVolumeSource, SecurityContext, SleepAction, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

use super::{config, overrides};
use crate::broker::model::Model;
use crate::labels::{self, CONFIG_HASH, RESTART_AT};
use crate::names::{
    self, ADMIN_PORT, ADMIN_PORT_NAME, CLIENT_PORT, CLIENT_PORT_NAME, CONTAINER, DATA_VOLUME, PEER_PORT,
    PEER_PORT_NAME,
};

/// Where the data is mounted.
pub const DATA_DIR: &str = "/data";
/// Below which everything else is mounted.
pub const CONFIG_DIR: &str = "/etc/cmq";
/// Volume of the certificates of the admin and peer ports.
pub const TLS_VOLUME: &str = "tls";
/// Volume of the client port's certificate.
pub const CLIENT_TLS_VOLUME: &str = "client-tls";
/// Volume of the access keys.
pub const ACCESS_VOLUME: &str = "access";

/// Environment variables that are the operator's, here and in the ConfigMap.
pub const OWN_VARIABLES: [&str; 14] = [
    "CMQ_ACCESS_KEYS",
    "CMQ_ADMIN_ADDR",
    "CMQ_ADMIN_TLS",
    "CMQ_API_QUEUES",
    "CMQ_CLIENT_ADDR",
    "CMQ_CLIENT_TLS",
    config::CLUSTER_ID,
    "CMQ_DATA_DIR",
    "CMQ_LOG_FORMAT",
    "CMQ_MEMORY",
    "CMQ_PEER_ADDR",
    "CMQ_PURGE_WAIT",
    "CMQ_RECREATE_WAIT",
    "CMQ_SHARDS",
];

/// Memory of a pod whose spec does not say, in bytes: the broker's budget of 512 MiB is half of it.
pub const MEMORY_DEFAULT: u64 = 1 << 30;
/// Processor time that a pod asks for where the spec does not say.
const CPU_DEFAULT: &str = "500m";
/// User and group of the images.
const USER: i64 = 65_532;
/// Seconds between the end of a pod's readiness and the end of its port, in which proxies forget its address.
const FORGET_SECONDS: i64 = 5;
/// Seconds that a pod has to end, the above among them.
const GRACE_SECONDS: i64 = 60;
/// Probes of two seconds until a start counts as failed: fifteen minutes for a long log to be replayed.
const STARTUP_PROBES: i32 = 450;

/// The pod template with its overrides.
///
/// # Errors
/// With what is wrong in the overrides.
pub fn template(model: &Model<'_>) -> Result<PodTemplateSpec, String> {
    let base = object(&spec(model));
    let spec = match &model.spec.pod_template {
        None => Value::Object(base),
        Some(overrides) => {
            let merged = overrides::apply(&base, &overrides.spec)?;
            let merged = merged.as_object().cloned().unwrap_or_default();
            // What the operator needs comes last, whatever a patch did.
            overrides::apply(&merged, &needs(&base))?
        }
    };
    let spec = serde_json::from_value(spec).map_err(|error| format!("spec.podTemplate.spec: {error}"))?;
    Ok(PodTemplateSpec { metadata: Some(metadata(model)), spec: Some(spec) })
}

fn object(spec: &PodSpec) -> Map<String, Value> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The part of a pod without which it is no broker.
fn needs(base: &Map<String, Value>) -> Map<String, Value> {
    let container = &base["containers"][0];
    let part = json!({
        "restartPolicy": "Always",
        "containers": [{
            "name": CONTAINER,
            "image": container["image"],
            "env": container["env"],
            "ports": container["ports"],
            "volumeMounts": container["volumeMounts"],
        }],
        "volumes": base.get("volumes").cloned().unwrap_or_else(|| json!([])),
    });
    part.as_object().cloned().unwrap_or_default()
}

fn metadata(model: &Model<'_>) -> ObjectMeta {
    let overrides = model.spec.pod_template.as_ref().and_then(|template| template.metadata.clone());
    let overrides = overrides.unwrap_or_default();
    let (mut labels, mut annotations) = (overrides.labels, overrides.annotations);
    labels.extend(labels::of_pods(model.name));
    annotations.insert(CONFIG_HASH.into(), config::hash(model));
    annotations.extend(model.restart_at.map(|order| (RESTART_AT.to_owned(), order.to_owned())));
    ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() }
}

fn spec(model: &Model<'_>) -> PodSpec {
    let spec = model.spec;
    let placement = &spec.placement;
    let pull_secrets: Vec<_> = spec
        .image_pull_secrets
        .iter()
        .map(|secret| LocalObjectReference { name: secret.name.clone() })
        .collect();
    PodSpec {
        affinity: affinity(model),
        automount_service_account_token: Some(false),
        containers: vec![container(model)],
        // A variable for each Service of the namespace would change with the neighbours, and may look like a setting.
        enable_service_links: Some(false),
        image_pull_secrets: Some(pull_secrets).filter(|secrets| !secrets.is_empty()),
        node_selector: Some(placement.node_selector.clone()).filter(|labels| !labels.is_empty()),
        priority_class_name: placement.priority_class_name.clone(),
        security_context: Some(PodSecurityContext {
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".into()),
            run_as_group: Some(USER),
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        service_account_name: Some(names::child(model.name)),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        tolerations: Some(placement.tolerations.clone()).filter(|tolerations| !tolerations.is_empty()),
        topology_spread_constraints: Some(spread(model)),
        volumes: Some(volumes(model)),
        ..PodSpec::default()
    }
}

fn container(model: &Model<'_>) -> Container {
    let default = model.settings.broker_image_pull_policy.filter(|_| model.spec.image.is_none());
    let pull_policy = model.spec.image_pull_policy.or(default);
    Container {
        name: CONTAINER.into(),
        image: Some(model.image().to_owned()),
        image_pull_policy: pull_policy.map(|policy| match policy {
            ImagePullPolicy::Always => "Always".into(),
            ImagePullPolicy::IfNotPresent => "IfNotPresent".into(),
            ImagePullPolicy::Never => "Never".into(),
        }),
        env: Some(environment(model)),
        env_from: Some(vec![EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource { name: names::child(model.name), optional: None }),
            ..EnvFromSource::default()
        }]),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: FORGET_SECONDS }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        liveness_probe: Some(probe("/livez", 10, 5, 6)),
        ports: Some(ports()),
        readiness_probe: Some(probe("/readyz", 5, 3, 2)),
        resources: Some(resources(&model.spec.resources)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        startup_probe: Some(probe("/livez", 2, 2, STARTUP_PROBES)),
        // The reason of a start that failed is on standard error, and is shown in the status.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(mounts(model)),
        ..Container::default()
    }
}

fn ports() -> Vec<ContainerPort> {
    [(CLIENT_PORT_NAME, CLIENT_PORT), (PEER_PORT_NAME, PEER_PORT), (ADMIN_PORT_NAME, ADMIN_PORT)]
        .map(|(name, number)| ContainerPort {
            name: Some(name.into()),
            container_port: number,
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        })
        .into()
}

fn probe(path: &str, period_seconds: i32, timeout_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String(ADMIN_PORT_NAME.into()),
            scheme: Some("HTTPS".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(timeout_seconds),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn environment(model: &Model<'_>) -> Vec<EnvVar> {
    let every = if model.settings.ipv6 { "[::]" } else { "0.0.0.0" };
    let access = model.spec.access.as_ref().map(|access| &access.keys_secret_ref.key);
    [
        ("CMQ_DATA_DIR", Some(DATA_DIR.to_owned())),
        ("CMQ_CLIENT_ADDR", Some(format!("{every}:{CLIENT_PORT}"))),
        ("CMQ_PEER_ADDR", Some(format!("{every}:{PEER_PORT}"))),
        ("CMQ_ADMIN_ADDR", Some(format!("{every}:{ADMIN_PORT}"))),
        ("CMQ_ADMIN_TLS", Some(format!("{CONFIG_DIR}/{TLS_VOLUME}"))),
        (
            "CMQ_CLIENT_TLS",
            model.spec.tls.client.as_ref().map(|_| format!("{CONFIG_DIR}/{CLIENT_TLS_VOLUME}")),
        ),
        ("CMQ_ACCESS_KEYS", access.map(|key| format!("{CONFIG_DIR}/{ACCESS_VOLUME}/{key}"))),
        ("CMQ_LOG_FORMAT", Some("json".to_owned())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(EnvVar { name: name.into(), value: Some(value?), ..EnvVar::default() }))
    .collect()
}

/// The Secrets that are mounted: volume, Secret, and the one key where not all are.
fn secrets(model: &Model<'_>) -> Vec<(&'static str, String, Option<String>)> {
    let spec = model.spec;
    let client = spec.tls.client.as_ref().map(|client| {
        let given = client.secret_ref.as_ref().map(|secret| secret.name.clone());
        (CLIENT_TLS_VOLUME, given.unwrap_or_else(|| names::client_tls_secret(model.name)), None)
    });
    let access = spec.access.as_ref().map(|access| {
        let keys = &access.keys_secret_ref;
        (ACCESS_VOLUME, keys.name.clone(), Some(keys.key.clone()))
    });
    [Some((TLS_VOLUME, names::tls_secret(model.name), None)), client, access].into_iter().flatten().collect()
}

fn volumes(model: &Model<'_>) -> Vec<Volume> {
    let volume = |(name, secret, key): (&str, String, Option<String>)| Volume {
        name: name.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
            items: key.map(|key| vec![KeyToPath { path: key.clone(), key, mode: None }]),
            default_mode: Some(0o440),
            optional: None,
        }),
        ..Volume::default()
    };
    secrets(model).into_iter().map(volume).collect()
}

fn mounts(model: &Model<'_>) -> Vec<VolumeMount> {
    let mount = |name: &str, path: String, read_only: bool| VolumeMount {
        name: name.into(),
        mount_path: path,
        read_only: Some(read_only).filter(|only| *only),
        ..VolumeMount::default()
    };
    let secrets = secrets(model);
    let secrets = secrets.iter().map(|(name, ..)| mount(name, format!("{CONFIG_DIR}/{name}"), true));
    std::iter::once(mount(DATA_VOLUME, DATA_DIR.into(), false)).chain(secrets).collect()
}

/// Memory is limit and request alike, so that no neighbour's need ends the broker; processor time has no limit by default.
fn resources(wanted: &Resources) -> ResourceRequirements {
    let quantities = |map: &BTreeMap<String, pods::Quantity>| {
        let quantity = |quantity: &pods::Quantity| match quantity {
            pods::Quantity::Number(number) => Quantity(number.to_string()),
            pods::Quantity::Text(text) => Quantity(text.clone()),
        };
        map.iter().map(|(name, value)| (name.clone(), quantity(value))).collect::<BTreeMap<_, _>>()
    };
    let (mut requests, mut limits) = (quantities(&wanted.requests), quantities(&wanted.limits));
    let memory = limits.get("memory").or(requests.get("memory")).cloned();
    let memory = memory.unwrap_or_else(|| Quantity(format!("{}Gi", MEMORY_DEFAULT >> 30)));
    requests.entry("memory".into()).or_insert_with(|| memory.clone());
    limits.entry("memory".into()).or_insert(memory);
    let processor = limits.get("cpu").cloned().unwrap_or_else(|| Quantity(CPU_DEFAULT.into()));
    requests.entry("cpu".into()).or_insert(processor);
    ResourceRequirements { requests: Some(requests), limits: Some(limits), claims: None }
}

/// Keeps pods on different nodes and in different zones. Zones are never a must: a node without the label would take no pod.
fn spread(model: &Model<'_>) -> Vec<TopologySpreadConstraint> {
    let given = &model.spec.placement.topology_spread_constraints;
    if !given.is_empty() {
        return given.clone();
    }
    ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.into(),
            when_unsatisfiable: "ScheduleAnyway".into(),
            label_selector: Some(labels::label_selector(model.name)),
            ..TopologySpreadConstraint::default()
        })
        .into()
}

/// The user's rules, and for `Require` one that keeps two pods of this Broker off one node.
fn affinity(model: &Model<'_>) -> Option<Affinity> {
    let placement = &model.spec.placement;
    let mut affinity = placement.affinity.clone();
    if placement.spread == Spread::Require {
        let anti = affinity.get_or_insert_default().pod_anti_affinity.get_or_insert_default();
        anti.required_during_scheduling_ignored_during_execution.get_or_insert_default().push(
            PodAffinityTerm {
                topology_key: "kubernetes.io/hostname".into(),
                label_selector: Some(labels::label_selector(model.name)),
                ..PodAffinityTerm::default()
            },
        );
    }
    affinity
}
