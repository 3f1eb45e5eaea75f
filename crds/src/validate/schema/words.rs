//! What was found and what is allowed, in words.

use serde_json::Value;

/// Characters of a user's text that an error repeats at most.
const QUOTED_LENGTH_MAX: usize = 80;

/// What stands where something else is allowed.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "empty".into(),
        Value::Bool(flag) => format!("{flag}"),
        Value::Number(number) => format!("{number}"),
        Value::String(text) => format!("the text {}", quoted(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a set of fields".into(),
    }
}

/// A user's text in quotes, cut when it is long.
pub(super) fn quoted(text: &str) -> String {
    if text.chars().count() <= QUOTED_LENGTH_MAX {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(QUOTED_LENGTH_MAX).collect();
    format!("{cut:?}… ({} characters)", text.chars().count())
}

/// The values by which an item of a list is known.
pub(super) fn listed(id: &[Value]) -> String {
    id.iter().map(Value::to_string).collect::<Vec<_>>().join(" and ")
}

/// What a schema allows.
pub(super) fn allowed(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let names: Vec<String> = values
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        return if names.len() == 1 { names.concat() } else { format!("one of {}", names.join(", ")) };
    }
    match schema["type"].as_str() {
        Some("integer") => integer(schema),
        Some("boolean") => "true or false".into(),
        Some("string") => format!("text{}", form(schema)),
        Some("array") => match schema["maxItems"].as_u64() {
            Some(most) => format!("a list of at most {most} items"),
            None => "a list".into(),
        },
        Some("object") => object(schema),
        _ if schema["x-kubernetes-int-or-string"] == true => {
            format!("{}, or text{}", integer(schema), form(schema))
        }
        _ => "anything".into(),
    }
}

fn integer(schema: &Value) -> String {
    match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
        (Some(least), None) => format!("a whole number of at least {least}"),
        _ => "a whole number".into(),
    }
}

fn form(schema: &Value) -> String {
    let length = match (schema["minLength"].as_u64(), schema["maxLength"].as_u64()) {
        (Some(least), Some(most)) => format!(" of {least} to {most} characters"),
        (None, Some(most)) => format!(" of at most {most} characters"),
        _ => String::new(),
    };
    let pattern =
        schema["pattern"].as_str().map(|pattern| format!(" that matches {pattern}")).unwrap_or_default();
    length + &pattern
}

fn object(schema: &Value) -> String {
    if schema["properties"].is_object() {
        let none = if schema["required"].is_array() { "" } else { "{}, or " };
        return format!("{none}{}", fields(schema));
    }
    match schema["maxProperties"].as_u64() {
        Some(most) => format!("a set of at most {most} fields"),
        None => "a set of fields".into(),
    }
}

/// The fields that an object may have.
pub(super) fn fields(schema: &Value) -> String {
    let names: Vec<&str> = schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(|known| known.keys())
        .map(String::as_str)
        .collect();
    format!("the fields {}", names.join(", "))
}
