//! Server-side apply: who applies owns what it sends, and what it no longer sends goes unless somebody else owns it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fields::{self, Manager};
use super::kinds::Kind;
use super::refusal::Refusal;

/// Who applies, and how.
pub(crate) struct Applier<'a> {
    pub(crate) manager: &'a str,
    /// Whether the status is applied, and nothing else.
    pub(crate) status: bool,
    /// Whether fields are taken from other owners instead of a conflict.
    pub(crate) force: bool,
}

/// The object and its owners after a configuration is applied to the live object, or to nothing.
pub(super) fn apply(
    kind: &Kind,
    live: Option<(&Value, &[Manager])>,
    mut configuration: Value,
    by: &Applier<'_>,
) -> Result<(Value, Vec<Manager>), Refusal> {
    if !configuration["metadata"]["managedFields"].is_null() {
        return Err(Refusal::bad_request("metadata.managedFields must be nil"));
    }
    preconditions(live.map(|(value, _)| value), &configuration)?;
    scope(kind, &mut configuration, by.status);
    let applied: BTreeSet<String> = fields::leaves(kind, &configuration).into_keys().collect();
    let (mut object, mut owners) =
        live.map_or_else(|| (json!({}), Vec::new()), |(value, owners)| (value.clone(), owners.to_vec()));
    let ours = |owner: &Manager| owner.name == by.manager && owner.applies && owner.status == by.status;

    let changed: BTreeSet<String> = {
        let (before, after) = (fields::leaves(kind, &object), fields::leaves(kind, &configuration));
        after
            .iter()
            .filter(|(path, value)| before.get(*path) != Some(value))
            .map(|(path, _)| path.clone())
            .collect()
    };
    for owner in owners.iter_mut().filter(|owner| !ours(owner)) {
        let contested: Vec<&String> = owner.fields.intersection(&changed).collect();
        if let Some(path) = contested.first().filter(|_| !by.force) {
            let message = format!(
                "Apply failed with {} conflict: conflict with \"{}\": {path}",
                contested.len(),
                owner.name
            );
            return Err(Refusal::conflict(message));
        }
        owner.fields.retain(|path| !changed.contains(path));
    }

    fields::merge(kind, &mut object, &configuration);
    let dropped: BTreeSet<String> = owners
        .iter()
        .filter(|owner| ours(owner))
        .flat_map(|owner| owner.fields.difference(&applied).cloned())
        .collect();
    owners.retain(|owner| !ours(owner));
    let owned_elsewhere = |path: &str| {
        owners.iter().any(|owner| owner.fields.iter().any(|field| field == path || inside(field, path)))
    };
    fields::without(kind, &mut object, &|path| {
        dropped.contains(path) && !applied.contains(path) && !owned_elsewhere(path)
    });
    owners.push(Manager { name: by.manager.into(), applies: true, status: by.status, fields: applied });
    owners.retain(|owner| !owner.fields.is_empty());
    owners.sort_by_key(|owner| (owner.name.clone(), owner.applies, owner.status));
    Ok((object, owners))
}

/// Whether a field is in the item of a list that goes by `path`.
fn inside(field: &str, path: &str) -> bool {
    path.ends_with(']') && field.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

/// A uid or a resourceVersion in a configuration says which object is meant.
fn preconditions(live: Option<&Value>, configuration: &Value) -> Result<(), Refusal> {
    for field in ["uid", "resourceVersion"] {
        let Some(wanted) = configuration["metadata"][field].as_str() else { continue };
        let found = live.and_then(|live| live["metadata"][field].as_str());
        if found != Some(wanted) {
            let found = found.unwrap_or("no object");
            return Err(Refusal::conflict(format!("Precondition failed: {field} {wanted}, found {found}")));
        }
    }
    Ok(())
}

/// Leaves of a configuration what this way of writing can write.
fn scope(kind: &Kind, configuration: &mut Value, status: bool) {
    let Some(entries) = configuration.as_object_mut() else { return };
    if status {
        entries.retain(|key, _| ["apiVersion", "kind", "metadata", "status"].contains(&key.as_str()));
        if let Some(metadata) = entries.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| ["name", "namespace"].contains(&key.as_str()));
        }
    } else if kind.status {
        entries.remove("status");
    }
}
