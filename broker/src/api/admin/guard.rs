//! What keeps the pages of other sites, which a browser of the operator may have open, away from the admin API.
//!
//! A page can make a browser send requests anywhere. Reading is refused to names that only a hostile page would make up for
//! this address; changing asks for a header that a page cannot set for another origin, and for no other origin.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HOST, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::error::{ApiError, shortened};

/// The header that calls must have which change something; its value says who asks.
pub(super) const REQUESTED_BY: &str = "x-requested-by";
/// Ends of names that nobody can register.
const LOCAL_NAMES: &[&str] = &[".localhost", ".svc", ".cluster.local", ".internal"];

/// Refuses what a page of another site may have sent.
pub(super) fn check(head: &Parts) -> Result<(), ApiError> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let named = header(HOST.as_str()).or_else(|| head.uri.authority().map(|authority| authority.as_str()));
    let host = named.unwrap_or_default();
    if !is_local(host) {
        let message = format!("the host {} is not a name of this broker inside its network", shortened(host));
        return Err(ApiError::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
            .allowing("an IP address, localhost, a name without dots, or one that ends in .svc, .cluster.local or .internal"));
    }
    let is_own = |origin: &str| {
        let (_, origin_host) = origin.split_once("://").unwrap_or_default();
        origin_host == host
    };
    if let Some(origin) = head.headers.get(ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        if !is_own(origin) {
            let message = format!("requests from {} are not taken", shortened(origin));
            return Err(ApiError::new(StatusCode::FORBIDDEN, "origin_not_allowed", message));
        }
    }
    let changes = head.method != Method::GET && head.method != Method::HEAD;
    if changes && header(REQUESTED_BY).is_none_or(|by| by.trim().is_empty()) {
        let message = "a call that changes something needs the header X-Requested-By";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "header_missing", message)
            .allowing("X-Requested-By: any text that says who asks"));
    }
    Ok(())
}

/// Whether a host, with or without a port, is an address or a name that no stranger can point here.
fn is_local(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse::<IpAddr>().is_ok();
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    !name.is_empty() && (!name.contains('.') || name.parse::<IpAddr>().is_ok())
        || LOCAL_NAMES.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn local_hosts() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9326",
            "[::1]:9326",
            "::1",
            "localhost:9326",
            "orders-cmq-0:9326",
            "LOCALHOST",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["orders-cmq.shop.svc:9326", "orders-cmq-0.orders-cmq.shop.svc.cluster.local", "node.internal"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            ":9326",
            "evil.example",
            "evil.example:9326",
            "127.0.0.1.evil.example",
            "svc.evil.example",
            "[x]",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn what_pages_send_is_refused() {
        let code = |method: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri("/api/v1/queues");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            check(&request.body(()).unwrap().into_parts().0).err().map(|error| error.code)
        };
        let host = ("host", "127.0.0.1:9326");
        let by = ("x-requested-by", "me");
        assert_eq!(code("GET", &[host]), None);
        assert_eq!(code("GET", &[("host", "evil.example")]), Some("host_not_allowed"));
        assert_eq!(code("GET", &[]), Some("host_not_allowed"));
        assert_eq!(code("GET", &[host, ("origin", "http://evil.example")]), Some("origin_not_allowed"));
        assert_eq!(code("DELETE", &[host]), Some("header_missing"));
        assert_eq!(code("DELETE", &[host, ("x-requested-by", " ")]), Some("header_missing"));
        assert_eq!(code("DELETE", &[host, by]), None);
        assert_eq!(code("POST", &[host, by, ("origin", "null")]), Some("origin_not_allowed"));
        assert_eq!(code("POST", &[host, by, ("origin", "http://127.0.0.1:9326")]), None);
    }
}
