//! `Broker`: the pods that serve queues. A Queue with pods of its own holds a [`BrokerSpec`] inline.

use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds::{
    BROKER_NAME_LENGTH_MAX, BROKER_NAME_PATTERN, BYTE_SIZE_LENGTH_MAX, BYTE_SIZE_PATTERN, CLOSED_SECONDS,
    IMAGE_LENGTH_MAX, REPLICAS, SHARDS,
};
use crate::reference::SecretRef;
use crate::rule::rule;
use network::{NamespaceSelection, NetworkPolicy, PodMonitor};
use placement::Placement;
use pods::{PodTemplate, Resources};
use security::{Access, Tls};
use storage::Storage;

pub mod network;
pub mod placement;
pub mod pods;
pub mod security;
pub mod status;
pub mod storage;

pub use status::BrokerStatus;

/// How many pods serve, with what, where and for whom. A broker that runs alone on a machine ignores all of it.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "cmq.dev",
    version = "v1alpha1",
    kind = "Broker",
    plural = "brokers",
    shortname = "cbr",
    category = "cmq",
    namespaced,
    doc = "Pods that serve queues, their volumes, and who may call them.",
    status = "BrokerStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Queues", type_ = "integer", json_path = ".status.queues"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1),
    printcolumn(
        name = "Storage",
        type_ = "string",
        json_path = ".status.storage.smallestCapacity",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    validation = broker_name()
)]
#[schemars(extend("x-kubernetes-validations" = [one_replica(), shards_never_shrink(), no_latest_image()]))]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerSpec {
    /// Pods. From three on a message survives the loss of a pod and its volume, and service goes on meanwhile.
    #[schemars(range(min = REPLICAS.min, max = REPLICAS.max))]
    pub replicas: i32,
    /// Shards, each a Raft group, over which the messages of a standard queue spread. Left out, as many as replicas, growing
    /// when they do. Can grow, never shrink, and once set stays set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = SHARDS.min, max = SHARDS.max))]
    pub shards: Option<i32>,
    /// Voters of a shard at most: with one or two replicas a shard has one, from three on three, from five on five if this
    /// is 5. Five survive the loss of two pods and make every send wait for three disks.
    #[schemars(extend("enum" = [3, 5]))]
    pub max_voters: i32,
    /// The volume of each pod.
    pub storage: Storage,
    /// Image of the broker, best with a digest. Left out, the one that the operator is configured with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = IMAGE_LENGTH_MAX))]
    pub image: Option<String>,
    /// When a node pulls the image. Left out, what Kubernetes does for such an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets with the credentials of the image's registry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<SecretRef>,
    /// What a pod asks of its node. Memory is given as limit and request alike, else the broker may be evicted.
    pub resources: Resources,
    /// Memory budget of the broker process, split over its caches and buffers. Left out, half of the memory limit, at most
    /// 512 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = BYTE_SIZE_LENGTH_MAX), regex(pattern = BYTE_SIZE_PATTERN))]
    pub memory: Option<String>,
    /// On which nodes the pods run.
    pub placement: Placement,
    /// Whether a node may be drained of a pod.
    pub disruption_budget: DisruptionBudget,
    /// Certificates. Left out, clients speak plain HTTP, and the pods trust an authority that the operator makes.
    pub tls: Tls,
    /// Whose calls are served. Left out, everybody's: no signature is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Whether calls may make queues beside the declared ones.
    pub api_queues: ApiQueues,
    /// Seconds for which a deleted queue's name cannot be used for a new queue. The hosted CMQ has 10 to 30, SQS 60.
    #[schemars(range(min = CLOSED_SECONDS.min, max = CLOSED_SECONDS.max))]
    pub recreate_wait_seconds: i32,
    /// Seconds for which a purged queue cannot be purged again. SQS has 60.
    #[schemars(range(min = CLOSED_SECONDS.min, max = CLOSED_SECONDS.max))]
    pub purge_wait_seconds: i32,
    /// The other namespaces whose objects may refer to this Broker. Left out, none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<NamespaceSelection>,
    /// Closes the pods' ports to all but those named here. Left out, no NetworkPolicy is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// Has Prometheus read the pods' metrics by a PodMonitor. Left out, none is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_monitor: Option<PodMonitor>,
    /// What the pods have beyond the fields above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// The operator writes nothing while this is true; deleting still works.
    pub paused: bool,
    /// No pod runs while this is true; the volumes stay, and so does the number of replicas to come back to.
    pub stopped: bool,
}

impl Default for BrokerSpec {
    fn default() -> Self {
        Self {
            replicas: 1,
            shards: None,
            max_voters: 3,
            storage: Storage::default(),
            image: None,
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            resources: Resources::default(),
            memory: None,
            placement: Placement::default(),
            disruption_budget: DisruptionBudget::default(),
            tls: Tls::default(),
            access: None,
            api_queues: ApiQueues::default(),
            recreate_wait_seconds: 0,
            purge_wait_seconds: 0,
            allowed_namespaces: None,
            network_policy: None,
            pod_monitor: None,
            pod_template: None,
            paused: false,
            stopped: false,
        }
    }
}

/// When a node pulls the image.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagePullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Never: it must be there.
    Never,
}

/// Whether a node may be drained of a pod.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DisruptionBudget {
    /// One pod at a time, at every number of replicas.
    #[default]
    OneAtATime,
    /// Never: a drain waits for a person.
    Block,
}

/// Whether calls may make queues beside the declared ones.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiQueues {
    /// `CreateQueue` makes queues that no object declares.
    #[default]
    Allow,
    /// `CreateQueue` of a queue that does not exist is refused.
    Deny,
}

/// What is said of fewer shards.
pub(crate) const SHARDS_NEVER_SHRINK: &str = "shards can grow, never shrink, and once set stays set";

fn broker_name() -> Rule {
    rule(
        &format!(
            "self.metadata.name.size() <= {BROKER_NAME_LENGTH_MAX} && \
             self.metadata.name.matches('{BROKER_NAME_PATTERN}')"
        ),
        &format!(
            "metadata.name of a Broker names its pods: at most {BROKER_NAME_LENGTH_MAX} lower-case letters, digits and \
             '-', a letter first and no '-' at the end"
        ),
    )
}

/// Pods do not replicate to each other yet: a second one would be a second, different broker.
fn one_replica() -> Rule {
    rule("self.replicas == 1", "replicas is 1: brokers of several pods are not served yet")
        .field_path(".replicas")
}

fn shards_never_shrink() -> Rule {
    rule(
        "has(oldSelf.shards) ? has(self.shards) && self.shards >= oldSelf.shards : \
         !has(self.shards) || self.shards >= oldSelf.replicas",
        SHARDS_NEVER_SHRINK,
    )
    .field_path(".shards")
}

fn no_latest_image() -> Rule {
    rule(
        "!has(self.image) || !self.image.endsWith(':latest')",
        "image names a version or a digest, not latest",
    )
    .field_path(".image")
}
