//! Strategic merge of a patch into a pod's `spec`, as kubectl and the API server do it: maps merge, lists of named things merge by
//! their key, other lists are replaced, null removes.

use serde_json::{Map, Value};

/// The directive of a map or of an entry of a list.
const DIRECTIVE: &str = "$patch";

/// Merges `patch` into `target`; `at` is where both stand, for messages.
///
/// # Errors
/// With what is wrong in the patch: an entry without its key, an unknown directive, a list where there is a map.
pub fn merge(target: &mut Value, patch: Value, at: &str) -> Result<(), String> {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => merge_map(target, patch, at),
        (target @ (Value::Object(_) | Value::Array(_)), patch) if !same_form(target, &patch) => {
            Err(format!("{at} is {}; allowed is {}", form(&patch), form(target)))
        }
        (target, patch) => {
            *target = without_directives(patch, at)?;
            Ok(())
        }
    }
}

fn merge_map(target: &mut Map<String, Value>, mut patch: Map<String, Value>, at: &str) -> Result<(), String> {
    match directive(&mut patch, at)?.as_deref() {
        Some("replace") => target.clear(),
        Some(other) => return Err(format!("{at}.{DIRECTIVE} is {other:?}; allowed in a map is \"replace\"")),
        None => {}
    }
    for (field, value) in patch {
        let at = format!("{at}.{field}");
        if field.starts_with('$') {
            return Err(format!("{at} is not supported; allowed are fields and {DIRECTIVE}"));
        }
        match (value, list_key(&field)) {
            (Value::Null, _) => {
                target.remove(&field);
            }
            (Value::Array(entries), Some(key)) => {
                let list = target.entry(field).or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(list) = list else {
                    return Err(format!("{at} is a list; allowed is {}", form(list)));
                };
                merge_list(list, entries, key, &at)?;
            }
            (value, _) => match target.get_mut(&field) {
                Some(old) => merge(old, value, &at)?,
                None => {
                    target.insert(field, without_directives(value, &at)?);
                }
            },
        }
    }
    Ok(())
}

fn merge_list(list: &mut Vec<Value>, entries: Vec<Value>, key: &str, at: &str) -> Result<(), String> {
    for (index, entry) in entries.into_iter().enumerate() {
        let Value::Object(mut entry) = entry else {
            return Err(format!("{at}[{index}] is {}; allowed is a map with {key}", form(&entry)));
        };
        let action = directive(&mut entry, &format!("{at}[{index}]"))?;
        let Some(name) = entry.get(key).cloned() else { return Err(format!("{at}[{index}] lacks {key}")) };
        let at = format!("{at}[{}]", name.as_str().map_or_else(|| name.to_string(), str::to_owned));
        let position = list.iter().position(|old| old.get(key) == Some(&name));
        match (action.as_deref(), position) {
            (Some("delete"), position) => {
                position.map(|position| list.remove(position));
            }
            (Some("replace"), Some(position)) => {
                list[position] = without_directives(Value::Object(entry), &at)?;
            }
            (None, Some(position)) => merge(&mut list[position], Value::Object(entry), &at)?,
            (None | Some("replace"), None) => list.push(without_directives(Value::Object(entry), &at)?),
            (Some(other), _) => {
                return Err(format!("{at}.{DIRECTIVE} is {other:?}; allowed are \"delete\" and \"replace\""));
            }
        }
    }
    Ok(())
}

/// Takes the directive out of a map.
fn directive(map: &mut Map<String, Value>, at: &str) -> Result<Option<String>, String> {
    match map.remove(DIRECTIVE) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("{at}.{DIRECTIVE} is {}; allowed is text", form(&other))),
    }
}

/// A part of a patch that stands alone: merged into nothing, so that its nulls and directives have their effect.
fn without_directives(value: Value, at: &str) -> Result<Value, String> {
    match value {
        Value::Object(map) => {
            let mut target = Map::new();
            merge_map(&mut target, map, at)?;
            Ok(Value::Object(target))
        }
        value => Ok(value),
    }
}

/// The field by which entries of a list of a pod's `spec` are told apart; nothing for a list that is replaced as a whole.
pub fn list_key(field: &str) -> Option<&'static str> {
    match field {
        "containers" | "initContainers" | "volumes" | "imagePullSecrets" | "env" | "resourceClaims"
        | "schedulingGates" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "ports" => Some("containerPort"),
        "hostAliases" => Some("ip"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

fn same_form(one: &Value, other: &Value) -> bool {
    form(one) == form(other)
}

fn form(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "a map",
        Value::Array(_) => "a list",
        Value::String(_) => "text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "true or false",
        Value::Null => "null",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut target: Value, patch: Value) -> Result<Value, String> {
        merge(&mut target, patch, "spec").map(|()| target)
    }

    #[test]
    fn as_kubernetes_merges() {
        let cases = [
            ("maps merge", json!({"a": {"x": 1}}), json!({"a": {"y": 2}}), json!({"a": {"x": 1, "y": 2}})),
            ("null removes", json!({"a": 1, "b": 2}), json!({"a": null}), json!({"b": 2})),
            ("null of nothing", json!({}), json!({"a": null, "b": {"c": null}}), json!({"b": {}})),
            (
                "plain lists are replaced",
                json!({"args": ["a", "b"]}),
                json!({"args": ["c"]}),
                json!({"args": ["c"]}),
            ),
            (
                "containers by name",
                json!({"containers": [{"name": "broker", "image": "a", "env": [{"name": "A", "value": "1"}]}]}),
                json!({"containers": [
                    {"name": "broker", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}]},
                    {"name": "side", "image": "b"},
                ]}),
                json!({"containers": [
                    {"name": "broker", "image": "a", "env": [{"name": "A", "value": "3"}, {"name": "B", "value": "2"}]},
                    {"name": "side", "image": "b"},
                ]}),
            ),
            (
                "mounts by path",
                json!({"volumeMounts": [{"mountPath": "/data", "name": "data"}]}),
                json!({"volumeMounts": [{"mountPath": "/tmp", "name": "tmp"}]}),
                json!({"volumeMounts": [{"mountPath": "/data", "name": "data"}, {"mountPath": "/tmp", "name": "tmp"}]}),
            ),
            (
                "an entry is deleted",
                json!({"volumes": [{"name": "a"}, {"name": "b"}]}),
                json!({"volumes": [{"name": "a", "$patch": "delete"}, {"name": "c", "$patch": "delete"}]}),
                json!({"volumes": [{"name": "b"}]}),
            ),
            (
                "a map is replaced",
                json!({"securityContext": {"a": 1}}),
                json!({"securityContext": {"$patch": "replace", "b": 2}}),
                json!({"securityContext": {"b": 2}}),
            ),
            (
                "constraints by key",
                json!({"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1}]}),
                json!({"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 2}]}),
                json!({"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 2}]}),
            ),
        ];
        for (what, target, patch, expected) in cases {
            assert_eq!(merged(target, patch), Ok(expected), "{what}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let target = || json!({"containers": [{"name": "broker"}], "securityContext": {}});
        for (patch, expected) in [
            (json!({"containers": [{"image": "a"}]}), "spec.containers[0] lacks name"),
            (json!({"containers": ["a"]}), "spec.containers[0] is text; allowed is a map with name"),
            (json!({"containers": {"name": "a"}}), "spec.containers is a map; allowed is a list"),
            (json!({"securityContext": 3}), "spec.securityContext is a number; allowed is a map"),
            (json!({"securityContext": {"$patch": "delete"}}), "allowed in a map is \"replace\""),
            (
                json!({"containers": [{"name": "broker", "$patch": "merge"}]}),
                "spec.containers[broker].$patch is",
            ),
            (json!({"$setElementOrder/containers": []}), "spec.$setElementOrder/containers is not supported"),
            (json!({"new": {"$retainKeys": []}}), "spec.new.$retainKeys is not supported"),
        ] {
            let error = merged(target(), patch).unwrap_err();
            assert!(error.contains(expected), "{error} lacks {expected}");
        }
    }
}
