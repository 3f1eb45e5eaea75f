//! Every right that the operator uses: what the chart's roles give, and what `preflight` asks the API server for.

/// Where a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In each namespace that is looked after.
    Watched,
    /// On the cluster; done without where only some namespaces are looked after.
    Cluster,
    /// In the operator's own namespace, on its Lease.
    Lease,
}

/// Verbs on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Where.
    pub place: Place,
    /// API group; empty for the core.
    pub group: &'static str,
    /// Plural, with the subresource behind a slash.
    pub resource: &'static str,
    /// The only objects that are touched; none: any.
    pub names: &'static [&'static str],
    /// What is done.
    pub verbs: &'static [&'static str],
}

/// What is done with a child of a Broker.
const CHILD: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
/// What is done with what is only looked at.
const READ: &[&str] = &["get", "list", "watch"];

/// All of them.
pub const PERMISSIONS: &[Permission] = &[
    watched("cmq.dev", "brokers", CHILD),
    watched("cmq.dev", "queues", &["get", "list", "watch", "patch"]),
    watched("cmq.dev", "brokers/status", &["patch"]),
    watched("cmq.dev", "queues/status", &["patch"]),
    // Asked for by an owner reference that blocks deletion, where the API server enforces that.
    watched("cmq.dev", "brokers/finalizers", &["update"]),
    watched("cmq.dev", "queues/finalizers", &["update"]),
    watched("apps", "statefulsets", CHILD),
    watched("apps", "controllerrevisions", &["get", "list"]),
    watched("", "services", CHILD),
    watched("", "configmaps", CHILD),
    watched("", "serviceaccounts", CHILD),
    watched("policy", "poddisruptionbudgets", CHILD),
    watched("networking.k8s.io", "networkpolicies", CHILD),
    watched("monitoring.coreos.com", "podmonitors", CHILD),
    watched("cert-manager.io", "certificates", CHILD),
    // By name only: authorities and certificates of Brokers, and what their specs refer to.
    watched("", "secrets", &["get", "create", "patch", "delete"]),
    watched("", "pods", &["get", "list", "watch", "delete"]),
    watched("", "persistentvolumeclaims", &["get", "list", "watch", "patch", "delete"]),
    watched("events.k8s.io", "events", &["create", "patch"]),
    cluster("", "namespaces", &[], READ),
    cluster("storage.k8s.io", "storageclasses", &[], &["get"]),
    cluster("apiextensions.k8s.io", "customresourcedefinitions", &["brokers.cmq.dev", "queues.cmq.dev"], &["get"]),
    Permission { place: Place::Lease, group: "coordination.k8s.io", resource: "leases", names: &[], verbs: &["get", "update"] },
];

const fn watched(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Permission {
    Permission { place: Place::Watched, group, resource, names: &[], verbs }
}

const fn cluster(
    group: &'static str,
    resource: &'static str,
    names: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Permission {
    Permission { place: Place::Cluster, group, resource, names, verbs }
}
