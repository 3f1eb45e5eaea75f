//! Which protocol a request speaks.

use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Parts;

use super::cmq::Parameters;

/// The path of CMQ calls.
const CMQ_PATH: &str = "/v2/index.php";
/// Digits of an account id, the first part of an SQS queue URL's path.
const ACCOUNT_DIGITS: usize = 12;
/// The version of the SQS Query protocol.
const SQS_VERSION: &str = "2012-11-05";

/// What the head of a request says of its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Cmq,
    SqsJson,
    SqsQuery,
    /// The parameters decide.
    Parameters,
    /// No protocol has this path.
    Nowhere,
}

/// Looks at headers, then at the path.
pub(super) fn by_head(head: &Parts) -> Route {
    if head.headers.contains_key("x-amz-target") {
        return Route::SqsJson;
    }
    let begins = |name, prefix: &str| {
        head.headers.get(name).is_some_and(|value| value.as_bytes().starts_with(prefix.as_bytes()))
    };
    if begins(AUTHORIZATION, "AWS4-HMAC-SHA256") {
        let json = begins(CONTENT_TYPE, "application/x-amz-json");
        return if json { Route::SqsJson } else { Route::SqsQuery };
    }
    match head.uri.path() {
        "" | "/" => Route::Parameters,
        path if is_cmq(path) => Route::Cmq,
        path if is_queue_url(path) => Route::SqsQuery,
        _ => Route::Nowhere,
    }
}

/// Looks at the names of parameters. What fits neither protocol is answered in the words of CMQ.
pub(super) fn by_parameters(parameters: &Parameters<'_>) -> Route {
    let is_cmq = ["SecretId", "queueName", "topicName"].iter().any(|name| parameters.has(name));
    let is_sqs = ["QueueUrl", "QueueName"].iter().any(|name| parameters.has(name))
        || parameters.text("Version").is_ok_and(|version| version == Some(SQS_VERSION));
    if is_sqs && !is_cmq { Route::SqsQuery } else { Route::Cmq }
}

/// The path of CMQ. One public client sends it twice in a row.
fn is_cmq(path: &str) -> bool {
    let once = path.strip_prefix(CMQ_PATH).unwrap_or(path);
    let twice = once.strip_prefix(CMQ_PATH).unwrap_or(once);
    once.len() < path.len() && matches!(twice, "" | "/")
}

/// Account and name, as in the queue URLs of SQS.
fn is_queue_url(path: &str) -> bool {
    let mut parts = path[1..].split('/');
    let (account, name, end) = (parts.next(), parts.next(), parts.next());
    let is_account =
        account.is_some_and(|id| id.len() == ACCOUNT_DIGITS && id.bytes().all(|c| c.is_ascii_digit()));
    is_account && name.is_some_and(|name| !name.is_empty()) && end.is_none()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::Request;

    use super::*;

    fn check(path: &str, headers: &[(&str, &str)], route: Route) {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(by_head(&head), route, "{path} {headers:?}");
    }

    #[test]
    fn heads() {
        check("/v2/index.php", &[], Route::Cmq);
        check("/v2/index.php/", &[], Route::Cmq);
        check("/v2/index.php?Action=ListQueue", &[], Route::Cmq);
        check("/v2/index.php/v2/index.php", &[], Route::Cmq);
        check("http://mq.example/v2/index.php", &[], Route::Cmq);
        check("/v2/index.php/v2/index.php/v2/index.php", &[], Route::Nowhere);
        check("/", &[], Route::Parameters);
        check("/?Action=ListQueue", &[], Route::Parameters);
        check("http://mq.example", &[], Route::Parameters);
        check("/", &[("x-amz-target", "AmazonSQS.SendMessage")], Route::SqsJson);
        check("/", &[("authorization", "AWS4-HMAC-SHA256 Credential=a")], Route::SqsQuery);
        check(
            "/",
            &[("authorization", "AWS4-HMAC-SHA256 Cred"), ("content-type", "application/x-amz-json-1.0")],
            Route::SqsJson,
        );
        check("/000000000000/orders", &[], Route::SqsQuery);
        check("/000000000000/", &[], Route::Nowhere);
        check("/000000000000/orders/more", &[], Route::Nowhere);
        check("/12/orders", &[], Route::Nowhere);
        check("/favicon.ico", &[], Route::Nowhere);
        check("//", &[], Route::Nowhere);
    }

    #[test]
    fn parameters() {
        for (form, route) in [
            ("Action=ListQueue", Route::Cmq),
            ("Action=SendMessage&queueName=q&msgBody=m", Route::Cmq),
            ("Action=ListQueues&Version=2012-11-05", Route::SqsQuery),
            ("Action=CreateQueue&QueueName=q", Route::SqsQuery),
            ("Action=SendMessage&QueueUrl=q&MessageBody=m", Route::SqsQuery),
            ("Action=CreateQueue&queueName=q&QueueName=q", Route::Cmq),
            ("Action=ListQueue&SecretId=AKID&Version=2012-11-05", Route::Cmq),
            ("", Route::Cmq),
        ] {
            let body = Bytes::from_static(form.as_bytes());
            assert_eq!(by_parameters(&Parameters::parse("", &body).unwrap()), route, "{form}");
        }
    }
}
