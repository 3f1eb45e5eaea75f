//! The calls that the kill loop makes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::state::{Change, Queue, State, now_ms};

/// Name and value of each parameter.
type Form = [(String, String)];

/// The answer to a call, and how long an empty one waits for something to come.
pub(crate) fn call(state: &mut State, form: &Form) -> (Value, Duration) {
    let name = get(form, "queueName").unwrap_or_default();
    let at_once = |reply| (reply, Duration::ZERO);
    match get(form, "Action").unwrap_or_default() {
        "CreateQueue" => at_once(create(state, name, form)),
        _ if !state.queues.contains_key(name) => {
            at_once(error(4440, "(10100)queue is not existed, or deleted"))
        }
        "SendMessage" | "BatchSendMessage" => at_once(send(state, name, form)),
        "ReceiveMessage" => receive(state, name, form, None),
        "BatchReceiveMessage" => receive(state, name, form, Some(number(form, "numOfMsg", 1))),
        "DeleteMessage" | "BatchDeleteMessage" => at_once(delete(state, name, form)),
        "GetQueueAttributes" => at_once(state.queues.get(name).map_or(Value::Null, counts)),
        other => at_once(error(4000, &format!("(10430)action name {other} is not existed"))),
    }
}

fn create(state: &mut State, name: &str, form: &Form) -> Value {
    let visibility_ms = number(form, "visibilityTimeout", 30) * 1000;
    state.commit(vec![Change::Create { queue: name.to_owned(), visibility_ms }]);
    json!({"code": 0, "message": "", "queueId": "queue-1"})
}

fn send(state: &mut State, name: &str, form: &Form) -> Value {
    let visible_ms = now_ms() + number(form, "delaySeconds", 0) * 1000;
    let bodies = form.iter().filter(|(key, _)| key.starts_with("msgBody")).map(|(_, body)| body.clone());
    let numbered = bodies.zip(state.next_id..);
    let changes: Vec<Change> =
        numbered.map(|(body, id)| Change::Send { queue: name.to_owned(), id, body, visible_ms }).collect();
    let sent = (state.next_id..).take(changes.len()).map(|id| json!({"msgId": id.to_string()}));
    let list: Vec<Value> = sent.collect();
    state.commit(changes);
    if get(form, "msgBody").is_some() {
        json!({"code": 0, "message": "", "msgId": list[0]["msgId"]})
    } else {
        json!({"code": 0, "message": "", "msgList": list})
    }
}

fn receive(state: &mut State, name: &str, form: &Form, batch: Option<u64>) -> (Value, Duration) {
    let now = now_ms();
    let queue = &state.queues[name];
    let until_ms = now + queue.visibility_ms;
    let ready = queue.messages.iter().filter(|(_, message)| message.visible_ms <= now);
    let ids: Vec<u64> = ready.map(|(id, _)| *id).take(batch.unwrap_or(1) as usize).collect();
    if ids.is_empty() {
        let wait = Duration::from_secs(number(form, "pollingWaitSeconds", 0));
        return (error(7000, "(10200)no message"), wait);
    }
    state.commit(ids.iter().map(|id| Change::Lease { queue: name.to_owned(), id: *id, until_ms }).collect());
    let handed = ids.iter().map(|id| {
        let message = &state.queues[name].messages[id];
        json!({
            "msgId": id.to_string(),
            "receiptHandle": format!("{id}-{}", message.receives),
            "msgBody": message.body,
            "dequeueCount": message.receives,
        })
    });
    let mut handed: Vec<Value> = handed.collect();
    let mut reply = if batch.is_some() { json!({"msgInfoList": handed}) } else { handed.remove(0) };
    reply["code"] = json!(0);
    reply["message"] = json!("");
    (reply, Duration::ZERO)
}

fn delete(state: &mut State, name: &str, form: &Form) -> Value {
    let now = now_ms();
    let (mut changes, mut failed) = (Vec::new(), Vec::new());
    for (_, handle) in form.iter().filter(|(key, _)| key.starts_with("receiptHandle")) {
        let id = handle.split('-').next().and_then(|id| id.parse().ok()).unwrap_or_default();
        let message = state.queues[name].messages.get(&id);
        let is_valid = message.is_some_and(|message| {
            message.visible_ms > now && *handle == format!("{id}-{}", message.receives)
        });
        if is_valid {
            changes.push(Change::Delete { queue: name.to_owned(), id });
        } else {
            let text = "(10260)receipt handle is invalid";
            failed.push(json!({"code": 4430, "message": text, "receiptHandle": handle}));
        }
    }
    let is_single = get(form, "receiptHandle").is_some();
    let reply = match (failed.is_empty(), changes.is_empty()) {
        (true, _) => json!({"code": 0, "message": ""}),
        (false, _) if is_single => error(4430, "(10260)receipt handle is invalid"),
        (false, false) => {
            json!({"code": 6010, "message": "delete message partially failed", "errorList": failed})
        }
        (false, true) => json!({"code": 6020, "message": "batch delete message failed", "errorList": failed}),
    };
    state.commit(changes);
    reply
}

fn counts(queue: &Queue) -> Value {
    let now = now_ms();
    let hidden = |received: bool| {
        let messages = queue.messages.values();
        messages.filter(|message| message.visible_ms > now && (message.receives > 0) == received).count()
    };
    let (in_flight, delayed) = (hidden(true), hidden(false));
    let active = queue.messages.len() - in_flight - delayed;
    json!({
        "code": 0,
        "message": "",
        "activeMsgNum": active,
        "inactiveMsgNum": in_flight,
        "delayMsgNum": delayed,
    })
}

fn get<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn number(form: &Form, name: &str, default: u64) -> u64 {
    get(form, name).and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn error(code: u64, message: &str) -> Value {
    json!({"code": code, "message": message})
}
