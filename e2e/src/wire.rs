//! Single CMQ calls through the API server's proxy: enough to look at a queue, from anywhere.

use serde_json::Value;

use crate::failure::Result;
use crate::kubectl::Kubectl;

/// Code of a queue that does not exist.
const NO_QUEUE: i64 = 4440;

/// One call to the client Service of a Broker, with parameters that need no escapes.
pub(crate) fn call(
    kubectl: &Kubectl,
    broker: &str,
    action: &str,
    parameters: &[(&str, &str)],
) -> Result<Value> {
    let mut path = format!(
        "/api/v1/namespaces/{}/services/http:{broker}-cmq:client/proxy/v2/index.php?Action={action}",
        kubectl.namespace()
    );
    for (name, value) in parameters {
        path.push_str(&format!("&{name}={value}"));
    }
    Ok(serde_json::from_str(&kubectl.run(&["get", "--raw", &path])?)?)
}

/// The attributes of a queue, if it exists.
pub(crate) fn attributes(kubectl: &Kubectl, broker: &str, queue: &str) -> Result<Option<Value>> {
    let answer = call(kubectl, broker, "GetQueueAttributes", &[("queueName", queue)])?;
    Ok(if answer["code"] == NO_QUEUE { None } else { Some(answer) })
}

pub(crate) fn send(kubectl: &Kubectl, broker: &str, queue: &str) -> Result<Value> {
    call(kubectl, broker, "SendMessage", &[("queueName", queue), ("msgBody", "one")])
}

/// Receives one message and deletes it.
pub(crate) fn take(kubectl: &Kubectl, broker: &str, queue: &str) -> Result<Value> {
    let message =
        call(kubectl, broker, "ReceiveMessage", &[("queueName", queue), ("pollingWaitSeconds", "1")])?;
    let handle = message["receiptHandle"].as_str().unwrap_or_default();
    call(kubectl, broker, "DeleteMessage", &[("queueName", queue), ("receiptHandle", handle)])
}
