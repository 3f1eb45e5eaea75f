//! What the admin API reads: paths, parameters and declarations.

use hyper::Method;

use super::declare::Declaration;
use super::{query, route};
use crate::fuzzing::{Target, texts, texts_as_seeds};

pub(crate) const ADMIN_CALL: Target =
    Target { name: "admin_call", run: admin_call, seeds: || texts_as_seeds(&CALLS) };
pub(crate) const DECLARATION: Target =
    Target { name: "declaration", run: declaration, seeds: || texts_as_seeds(&DECLARATIONS) };

/// Path and query.
const CALLS: [&str; 4] = [
    "/api/v1/queues\nsearch=order&limit=1&cursor=b3JkZXJz",
    "/api/v1/queues/a%20b/messages\nstate=in_flight&limit=7&min_receives=3&body=prefix&prefix=8&contains=a%20b+c",
    "/api/v1/queues/orders/messages/18014398509502464/return\n",
    "/api/v1/queues/orders/messages\nsent_after=1795646997066&sent_before=1795646999066&id=7&group=g&body=full",
];

const DECLARATIONS: [&str; 3] = [
    r#"{"queues":[{"namespace":"shop","name":"orders","spec":{"broker":{},"deadLetter":{"queueRef":{"name":"dead"},"maxReceiveCount":5}}},{"namespace":"shop","name":"dead","adopt":true,"spec":{"broker":{}}}]}"#,
    r#"{"withdraw":[{"namespace":"shop","name":"orders","deletionPolicy":"Delete"},{"namespace":"shop","name":"dead"}]}"#,
    r#"{"queues":[{"namespace":"shop","name":"f","spec":{"brokerRef":{"name":"b"},"queueName":"f.fifo","fifo":{"deduplicationScope":"MessageGroup"},"delaySeconds":-1}}],"withdraw":[]}"#,
];

fn admin_call(input: &[u8]) {
    let [path, query] = texts(input).map(String::from_utf8_lossy);
    for method in [Method::GET, Method::POST, Method::DELETE] {
        // Whatever is refused says something.
        let refusal = route::call(&method, &path).err();
        assert!(refusal.is_none_or(|error| !error.message.is_empty()));
    }
    let messages = query::messages(&query, true);
    assert!(messages.is_ok_and(|query| query.limit > 0) || query::messages(&query, false).is_err());
    let queues = query::queues(&query);
    assert!(queues.is_ok_and(|list| list.limit > 0) || query::queues(&query).is_err());
}

fn declaration(input: &[u8]) {
    if let Ok(declaration) = Declaration::read(input, []) {
        declaration.check();
    }
}
