//! What a request asks for.

use std::collections::HashMap;

use bytes::Bytes;
use http::{Method, Request};

use super::kinds::{KINDS, Kind};
use super::refusal::Refusal;
use super::selector::Selector;

/// A call of a resource.
pub(crate) struct Call {
    pub(crate) kind: &'static Kind,
    pub(crate) verb: Verb,
    /// Nothing for all namespaces, and for what is in none.
    pub(crate) namespace: String,
    /// Nothing for a collection.
    pub(crate) name: String,
    /// Whether it is about `/status`.
    pub(crate) status: bool,
    pub(super) selector: Selector,
    pub(super) parameters: HashMap<String, String>,
    /// Whether only `metadata` is wanted.
    pub(super) metadata_only: bool,
    pub(super) body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Replace,
    Patch(Patch),
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Patch {
    Apply,
    Merge,
    Json,
}

impl Verb {
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Verb::Get | Verb::List | Verb::Watch)
    }
}

impl Call {
    /// Reads a request; nothing of the store is looked at.
    pub(crate) fn parse(request: Request<Bytes>, absent: &[&str]) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let unknown = || Refusal::no_such_path(path);
        let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match steps[..] {
            ["api", version, ref rest @ ..] => ("", version, rest),
            ["apis", group, version, ref rest @ ..] => (group, version, rest),
            _ => return Err(unknown()),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() && rest[0] != "status" => {
                (*namespace, rest)
            }
            rest => ("", rest),
        };
        let (plural, name, sub) = match *rest {
            [plural] => (plural, "", ""),
            [plural, name] => (plural, name, ""),
            [plural, name, sub] => (plural, name, sub),
            _ => return Err(unknown()),
        };
        let kind = KINDS
            .iter()
            .find(|kind| {
                (kind.group, kind.version, kind.plural) == (group, version, plural)
                    && !absent.contains(&kind.name)
            })
            .ok_or_else(unknown)?;
        let status = match sub {
            "" => false,
            "status" if kind.status => true,
            _ => return Err(unknown()),
        };
        let parameters: HashMap<String, String> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        if parameters.contains_key("dryRun") {
            return Err(Refusal::bad_request("dryRun is not simulated"));
        }
        let header =
            |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let verb = match (&parts.method, name.is_empty()) {
            (&Method::GET, false) => Verb::Get,
            (&Method::GET, true) if parameters.get("watch").is_some_and(|watch| watch == "true") => {
                Verb::Watch
            }
            (&Method::GET, true) => Verb::List,
            (&Method::POST, true) => Verb::Create,
            (&Method::PUT, false) => Verb::Replace,
            (&Method::DELETE, false) => Verb::Delete,
            (&Method::PATCH, false) => Verb::Patch(match header("content-type") {
                "application/apply-patch+yaml" => Patch::Apply,
                "application/merge-patch+json" => Patch::Merge,
                "application/json-patch+json" => Patch::Json,
                other => {
                    return Err(Refusal::bad_request(format!("patches of type {other} are not simulated")));
                }
            }),
            _ => return Err(Refusal::bad_request(format!("{} of {path} is not simulated", parts.method))),
        };
        let text = |name: &str| parameters.get(name).map_or("", String::as_str);
        let selector = Selector::parse(text("labelSelector"), text("fieldSelector"))?;
        let metadata_only = header("accept").contains("as=PartialObjectMetadata");
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Ok(Self { kind, verb, namespace, name, status, selector, parameters, metadata_only, body })
    }

    pub(super) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// Whether an object is among those that a list or watch shows.
    pub(super) fn shows(&self, object: &serde_json::Value) -> bool {
        (self.namespace.is_empty() || object["metadata"]["namespace"] == self.namespace.as_str())
            && self.selector.matches(object)
    }
}
