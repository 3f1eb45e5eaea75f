//! Every right that the operator uses: what the chart's roles give, and what the preflight asks the API server for.

/// Where a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In each namespace that is looked after.
    Watched,
    /// On the cluster; done without where only some namespaces are looked after.
    Cluster,
    /// In the operator's own namespace.
    Own,
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
    /// What is done.
    pub verbs: &'static [&'static str],
}

/// What is done with a child that is watched.
const WATCHED_CHILD: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
/// What is done with a child that is looked at when its Broker is.
const CHILD: &[&str] = &["get", "create", "patch", "delete"];

/// All of them. The Lease and the resource definitions are touched by name only.
pub const PERMISSIONS: &[Permission] = &[
    watched("cmq.dev", "brokers", WATCHED_CHILD),
    watched("cmq.dev", "queues", &["get", "list", "watch", "patch"]),
    watched("cmq.dev", "brokers/status", &["patch"]),
    watched("cmq.dev", "queues/status", &["patch"]),
    // Asked for by an owner reference that blocks deletion, where the API server enforces that.
    watched("cmq.dev", "brokers/finalizers", &["update"]),
    watched("cmq.dev", "queues/finalizers", &["update"]),
    watched("apps", "statefulsets", WATCHED_CHILD),
    watched("apps", "controllerrevisions", &["get"]),
    watched("", "services", WATCHED_CHILD),
    watched("", "configmaps", WATCHED_CHILD),
    watched("", "serviceaccounts", WATCHED_CHILD),
    watched("policy", "poddisruptionbudgets", WATCHED_CHILD),
    watched("networking.k8s.io", "networkpolicies", WATCHED_CHILD),
    watched("monitoring.coreos.com", "podmonitors", CHILD),
    watched("cert-manager.io", "certificates", CHILD),
    watched("", "secrets", CHILD),
    watched("", "pods", &["get", "list", "watch", "delete"]),
    watched("", "persistentvolumeclaims", &["get", "list", "watch", "patch", "delete"]),
    watched("events.k8s.io", "events", &["create", "patch"]),
    watched("", "namespaces", &["get"]),
    cluster("storage.k8s.io", "storageclasses", &["get"]),
    cluster("apiextensions.k8s.io", "customresourcedefinitions", &["get"]),
    Permission {
        place: Place::Own,
        group: "coordination.k8s.io",
        resource: "leases",
        verbs: &["get", "update"],
    },
];

const fn watched(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Permission {
    Permission { place: Place::Watched, group, resource, verbs }
}

const fn cluster(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Permission {
    Permission { place: Place::Cluster, group, resource, verbs }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Group, resource and verb of every right that a golden file of the chart gives to the operator by roles of a kind.
    fn given(golden: &str, kind: &str, name: &str) -> BTreeSet<(String, String, String)> {
        let path = format!("{}/../charts/tests/golden/{golden}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let role = objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name).unwrap();
        let mut rights = BTreeSet::new();
        for rule in role["rules"].as_array().unwrap() {
            let words = |part: &str| {
                rule[part].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned())
            };
            for group in words("apiGroups") {
                for resource in words("resources") {
                    rights.extend(words("verbs").map(|verb| (group.clone(), resource.clone(), verb)));
                }
            }
        }
        rights
    }

    fn used(places: &[Place]) -> BTreeSet<(String, String, String)> {
        let of = |permission: &'static Permission| {
            permission
                .verbs
                .iter()
                .map(|verb| (permission.group.to_owned(), permission.resource.to_owned(), (*verb).to_owned()))
        };
        PERMISSIONS.iter().filter(|permission| places.contains(&permission.place)).flat_map(of).collect()
    }

    #[test]
    fn the_chart_gives_what_is_used_and_no_more() {
        let everywhere = used(&[Place::Watched, Place::Cluster]);
        assert_eq!(given("default.yaml", "ClusterRole", "cmq-operator"), everywhere);
        assert_eq!(given("default.yaml", "Role", "cmq-operator-lease"), used(&[Place::Own]));

        // These values let `helm uninstall` delete Queues.
        let mut in_namespaces = used(&[Place::Watched]);
        in_namespaces.insert(("cmq.dev".into(), "queues".into(), "delete".into()));
        assert_eq!(given("watch-namespaces.yaml", "Role", "cmq-operator"), in_namespaces);
    }
}
