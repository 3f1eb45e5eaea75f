//! Which call a method and a path mean.

use std::borrow::Cow;

use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::error::ApiError;

/// A call of the admin API; names and ids are as in the path, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Broker,
    Declare,
    Queues,
    Queue(String),
    Messages(String),
    DeleteMessage(String, String),
    ReturnMessage(String, String),
    Purge(String),
    Rewind(String),
}

/// What all calls begin with.
pub(super) const PREFIX: &str = "/api/v1/";
/// The calls, for who asks for another.
const CALLS: &str = "GET /api/v1/broker, POST /api/v1/declare, GET /api/v1/queues, GET /api/v1/queues/{name}, GET /api/v1/queues/{name}/messages, \
    DELETE /api/v1/queues/{name}/messages/{ref}, POST /api/v1/queues/{name}/messages/{ref}/return, \
    POST /api/v1/queues/{name}/purge, POST /api/v1/queues/{name}/rewind";

/// The call of a method and a path.
pub(super) fn call(method: &Method, path: &str) -> Result<Call, ApiError> {
    let rest = path.strip_prefix(PREFIX).unwrap_or_default();
    let parts: Vec<Cow<'_, str>> = rest.split('/').map(decoded).collect::<Option<_>>().unwrap_or_default();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    let (allowed, found) = match parts[..] {
        ["broker"] => ("GET, HEAD", Call::Broker),
        ["declare"] => ("POST", Call::Declare),
        ["queues"] => ("GET, HEAD", Call::Queues),
        ["queues", name] if !name.is_empty() => ("GET, HEAD", Call::Queue(name.into())),
        ["queues", name, "messages"] => ("GET, HEAD", Call::Messages(name.into())),
        ["queues", name, "purge"] => ("POST", Call::Purge(name.into())),
        ["queues", name, "rewind"] => ("POST", Call::Rewind(name.into())),
        ["queues", name, "messages", id] if !id.is_empty() => {
            ("DELETE", Call::DeleteMessage(name.into(), id.into()))
        }
        ["queues", name, "messages", id, "return"] => ("POST", Call::ReturnMessage(name.into(), id.into())),
        _ => {
            let message = "no such call";
            return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_call", message).allowing(CALLS));
        }
    };
    if allowed.split(", ").any(|name| name == method.as_str()) {
        Ok(found)
    } else {
        let message = "this call has another method";
        Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).allowing(allowed))
    }
}

fn decoded(part: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(part).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let get = |path: &str| call(&Method::GET, path).map_err(|error| error.code);
        assert_eq!(get("/api/v1/queues"), Ok(Call::Queues));
        assert_eq!(get("/api/v1/broker"), Ok(Call::Broker));
        assert_eq!(get("/api/v1/declare"), Err("method_not_allowed"));
        assert_eq!(call(&Method::POST, "/api/v1/declare"), Ok(Call::Declare));
        assert_eq!(get("/api/v1/queues/a%20b"), Ok(Call::Queue("a b".into())));
        assert_eq!(get("/api/v1/queues/orders/messages"), Ok(Call::Messages("orders".into())));
        for path in ["/api/v1/", "/api/v1/queues/", "/api/v1/topics", "/api/v1/queues/%ff", "/api/v2/queues"]
        {
            assert_eq!(get(path), Err("unknown_call"), "{path}");
        }
        assert_eq!(get("/api/v1/queues/q/messages/7"), Err("method_not_allowed"));
        let path = "/api/v1/queues/q/messages/7";
        assert_eq!(call(&Method::DELETE, path), Ok(Call::DeleteMessage("q".into(), "7".into())));
        let path = "/api/v1/queues/q/messages/7/return";
        assert_eq!(call(&Method::POST, path), Ok(Call::ReturnMessage("q".into(), "7".into())));
    }
}
