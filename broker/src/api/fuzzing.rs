//! Where requests go, and CMQ calls.

use bytes::Bytes;
use hyper::Request;

use super::admin;
use super::cmq;
use super::cmq::Parameters;
use super::route;
use crate::fuzzing::{Target, texts, texts_as_seeds};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "route", run: route, seeds: || texts_as_seeds(&ROUTES) },
    cmq::fuzzing::CALL,
    cmq::fuzzing::DEAD_LETTER_POLICY,
    cmq::fuzzing::PERCENT,
    admin::fuzzing::ADMIN_CALL,
    admin::fuzzing::DECLARATION,
];

/// Path, two headers, body.
const ROUTES: [&str; 6] = [
    "/v2/index.php?Action=ListQueue\n\n\n",
    "/v2/index.php/v2/index.php\n\n\nAction=SendMessage&queueName=q&msgBody=m",
    "/\nx-amz-target: AmazonSQS.SendMessage\n\n{}",
    "/000000000000/orders\nauthorization: AWS4-HMAC-SHA256 Credential=a\ncontent-type: application/x-amz-json-1.0\n{}",
    "/\n\n\nAction=CreateQueue&QueueName=q&Version=2012-11-05",
    "http://mq.example:80/favicon.ico\n\n\n",
];

fn route(input: &[u8]) {
    let [path, one, other, body] = texts(input);
    let mut request = Request::post(path);
    for header in [one, other] {
        let colon = header.iter().position(|byte| *byte == b':').unwrap_or(header.len());
        let (name, value) = header.split_at(colon);
        if !name.is_empty() {
            request = request.header(name, value.strip_prefix(b": ").unwrap_or_default());
        }
    }
    let Ok(request) = request.body(()) else { return };
    let (head, ()) = request.into_parts();
    let route = route::by_head(&head);
    let body = Bytes::copy_from_slice(body);
    if let Ok(parameters) = Parameters::parse(head.uri.query().unwrap_or_default(), &body)
        && route == route::Route::Parameters
    {
        assert!(matches!(route::by_parameters(&parameters), route::Route::Cmq | route::Route::SqsQuery));
    }
}
