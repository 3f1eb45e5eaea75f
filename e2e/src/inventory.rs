//! Every object of the cluster by name, to see what an uninstall leaves behind.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::command;
use crate::failure::Result;
use crate::kubectl;

/// Kinds that come and go by themselves.
const RESTLESS: [&str; 6] = [
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "endpoints",
    "componentstatuses",
    "ipaddresses.networking.k8s.io",
];

/// Objects as `kind namespace/name`.
pub(crate) struct Inventory(BTreeSet<String>);

impl Inventory {
    pub(crate) fn take() -> Result<Self> {
        let kinds = command::output("kubectl", &["api-resources", "--verbs=list", "--output=name"])?;
        let kinds: Vec<_> = kinds.lines().filter(|kind| !RESTLESS.contains(kind)).collect();
        let text =
            command::output("kubectl", &["get", &kinds.join(","), "--all-namespaces", "--output=json"])?;
        let list: Value = serde_json::from_str(&text)?;
        let items = list["items"].as_array().into_iter().flatten();
        Ok(Self(
            items
                .map(|item| {
                    let of = |pointer| kubectl::text(item, pointer);
                    format!("{} {}/{}", of("/kind"), of("/metadata/namespace"), of("/metadata/name"))
                })
                .collect(),
        ))
    }

    /// What is there now and was not before.
    pub(crate) fn beyond(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }

    /// What was there before and is not now.
    pub(crate) fn missing_from(&self, now: &Self) -> Vec<String> {
        self.0.difference(&now.0).cloned().collect()
    }
}
