//! Which kinds there are.

use serde_json::{Value, json};

use super::kinds::{KINDS, Kind};

/// The discovery document of a path, if it is one of discovery.
pub(super) fn document(path: &str, absent: &[&str]) -> Option<Value> {
    let present = || KINDS.iter().filter(|kind| !absent.contains(&kind.name));
    let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
    match steps[..] {
        ["version"] => Some(json!({
            "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "clean", "buildDate": "",
            "goVersion": "", "compiler": "", "platform": "linux/amd64",
        })),
        ["api"] => {
            Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }))
        }
        ["apis"] => {
            let mut groups: Vec<Value> = Vec::new();
            for kind in present().filter(|kind| !kind.group.is_empty()) {
                if !groups.iter().any(|group| group["name"] == kind.group) {
                    groups.push(group(kind));
                }
            }
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["api", version] => resources("", version, present()),
        ["apis", name] => present().find(|kind| kind.group == name).map(group),
        ["apis", group, version] => resources(group, version, present()),
        _ => None,
    }
}

fn group(kind: &Kind) -> Value {
    let version = json!({ "groupVersion": kind.api_version(), "version": kind.version });
    json!({ "kind": "APIGroup", "apiVersion": "v1", "name": kind.group, "versions": [version], "preferredVersion": version })
}

fn resources(group: &str, version: &str, present: impl Iterator<Item = &'static Kind>) -> Option<Value> {
    let mut resources = Vec::new();
    for kind in present.filter(|kind| (kind.group, kind.version) == (group, version)) {
        let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
        resources.push(json!({
            "name": kind.plural, "singularName": kind.name.to_lowercase(), "namespaced": kind.namespaced, "kind": kind.name,
            "verbs": verbs,
        }));
        if kind.status {
            resources.push(json!({
                "name": format!("{}/status", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                "kind": kind.name, "verbs": ["get", "patch", "update"],
            }));
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let list = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    });
    Some(list).filter(|list| list["resources"] != json!([]))
}
