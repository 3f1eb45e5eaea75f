//! The SQS protocol is not served yet. Its clients are told so in its own form, so that their error names the reason.

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::http::Response;

const JSON: &str = r#"{"__type":"com.amazonaws.sqs#UnsupportedOperation","message":"This broker does not serve the SQS protocol yet; CMQ clients call /v2/index.php."}"#;
const XML: &str = r#"<?xml version="1.0"?><ErrorResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><Error><Type>Sender</Type><Code>AWS.SimpleQueueService.UnsupportedOperation</Code><Message>This broker does not serve the SQS protocol yet; CMQ clients call /v2/index.php.</Message><Detail/></Error><RequestId/></ErrorResponse>"#;

/// For callers that speak JSON. A status of 400 keeps SDKs from trying again.
pub(super) fn not_served_json() -> Response {
    const CODE: HeaderName = HeaderName::from_static("x-amzn-query-error");
    let mut response = refusal("application/x-amz-json-1.0", JSON);
    let code = HeaderValue::from_static("AWS.SimpleQueueService.UnsupportedOperation;Sender");
    response.headers_mut().insert(CODE, code);
    response
}

/// For callers that speak the Query form.
pub(super) fn not_served_query() -> Response {
    refusal("text/xml", XML)
}

fn refusal(content_type: &'static str, body: &'static str) -> Response {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
