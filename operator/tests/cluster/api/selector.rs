//! Label and field selectors.

use serde_json::Value;

use super::refusal::Refusal;

/// What a list or a watch shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<Label>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug)]
enum Label {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selector {
    /// Reads the two parameters of a call; empty texts select everything.
    pub(crate) fn parse(labels: &str, fields: &str) -> Result<Self, Refusal> {
        let labels = split(labels).into_iter().map(label).collect::<Result<_, _>>()?;
        let fields = split(fields).into_iter().map(field).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|label| match label {
            Label::In(key, values) => labels[key].as_str().is_some_and(|v| values.iter().any(|w| w == v)),
            Label::NotIn(key, values) => !labels[key].as_str().is_some_and(|v| values.iter().any(|w| w == v)),
            Label::Exists(key) => labels[key].is_string(),
            Label::Absent(key) => !labels[key].is_string(),
        }) && self.fields.iter().all(|(path, equal, wanted)| {
            let found = path.split('.').fold(object, |value, key| &value[key]);
            (found.as_str().unwrap_or_default() == wanted) == *equal
        })
    }
}

/// Splits at the commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

fn label(text: &str) -> Result<Label, Refusal> {
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Label::NotIn(key.trim().into(), vec![value.trim().into()]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Label::In(key.trim().into(), vec![value.trim().into()]));
    }
    if let Some((head, values)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        return match head.split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => Ok(Label::In(key.into(), values)),
            [key, "notin"] => Ok(Label::NotIn(key.into(), values)),
            _ => Err(Refusal::bad_request(format!("unable to parse requirement: {text}"))),
        };
    }
    Ok(match text.strip_prefix('!') {
        Some(key) => Label::Absent(key.into()),
        None => Label::Exists(text.into()),
    })
}

/// Only the fields that the real server can select by.
fn field(text: &str) -> Result<(String, bool, String), Refusal> {
    let (path, equal, value) = match text.split_once("!=") {
        Some((path, value)) => (path, false, value),
        None => match text.split_once("==").or_else(|| text.split_once('=')) {
            Some((path, value)) => (path, true, value),
            None => return Err(Refusal::bad_request(format!("invalid field selector: {text}"))),
        },
    };
    let known =
        ["metadata.name", "metadata.namespace", "spec.nodeName", "status.phase", "spec.brokerRef.name"];
    if !known.contains(&path) {
        return Err(Refusal::bad_request(format!("field label not supported: {path}")));
    }
    Ok((path.into(), equal, value.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Selector;

    #[test]
    fn selectors_select() {
        let object = json!({ "metadata": { "name": "a", "labels": { "x": "1", "y": "2" } } });
        for (labels, fields, expected) in [
            ("", "", true),
            ("x=1,y==2", "metadata.name=a", true),
            ("x!=1", "", false),
            ("z!=1", "", true),
            ("x in (1, 2),y notin (3)", "", true),
            ("x in (2,3)", "", false),
            ("x,!z", "", true),
            ("z", "", false),
            ("", "metadata.name!=a", false),
        ] {
            let selector = Selector::parse(labels, fields).unwrap();
            assert_eq!(selector.matches(&object), expected, "{labels} {fields}");
        }
        assert_eq!(Selector::parse("", "spec.size=1").unwrap_err().code, 400);
        assert_eq!(Selector::parse("x among (1)", "").unwrap_err().code, 400);
    }
}
