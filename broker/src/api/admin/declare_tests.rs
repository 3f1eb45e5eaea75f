//! The declare call over a whole broker: what comes true, what is told, and that telling it again is harmless.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::testing::{BY, Broker};
use super::*;
use crate::service::types::ServiceError;

impl Broker {
    async fn declare(&self, body: &Value) -> Value {
        let (status, answer) = self.ask_with("POST", "/api/v1/declare", BY, &body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Status and code of a body that is refused as a whole.
    async fn declare_refused(&self, body: &str) -> String {
        let (status, answer) = self.ask_with("POST", "/api/v1/declare", BY, body).await;
        assert!(answer["error"]["message"].is_string(), "{answer}");
        format!("{status} {}", answer["error"]["code"].as_str().unwrap())
    }

    /// The queues, each with its owner and its dead-letter queue where it has them, and `!` where it is closed.
    fn shown(&self) -> Vec<String> {
        let entries = self.service.queues();
        let show = |entry: &std::sync::Arc<QueueEntry>| {
            let owner = entry.owner.as_ref().map_or(String::new(), |owner| format!(" by {}", owner.name));
            let target = entry.attributes.dead_letter.and_then(|policy| {
                let target = entries.iter().find(|target| target.id == policy.queue)?;
                Some(format!(" > {}", target.name))
            });
            let closed = if entry.attributes.closed { "!" } else { "" };
            format!("{}{closed}{}{owner}", entry.name, target.unwrap_or_default())
        };
        entries.iter().map(show).collect()
    }
}

/// A queue of namespace `shop` with more fields of its spec.
fn queue(name: &str, spec: Value) -> Value {
    let mut whole = json!({ "brokerRef": { "name": "orders" } });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({ "namespace": "shop", "name": name, "spec": whole })
}

fn source(name: &str, target: &str) -> Value {
    queue(name, json!({ "deadLetter": { "queueRef": { "name": target }, "maxReceiveCount": 3 } }))
}

fn queues(queues: &[Value]) -> Value {
    json!({ "queues": queues })
}

fn withdraw(names: &[&str]) -> Value {
    let names: Vec<Value> = names.iter().map(|name| json!({ "namespace": "shop", "name": name })).collect();
    json!({ "withdraw": names })
}

/// `name: what` of each row, in the order of names.
fn rows(answer: &Value, list: &str, what: &[&str]) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |row: &Value| {
        assert_eq!(row["namespace"], "shop", "{answer}");
        let each: Vec<String> = what.iter().map(|field| text(&row[*field])).collect();
        format!("{}: {}", row["name"].as_str().unwrap(), each.join(" "))
    };
    let mut rows: Vec<String> = answer[list].as_array().unwrap().iter().map(row).collect();
    rows.sort();
    rows
}

fn problems(answer: &Value) -> Vec<String> {
    rows(answer, "problems", &["code"])
}

fn changed(answer: &Value) -> Vec<String> {
    rows(answer, "changed", &["queueName", "change"])
}

fn withdrawn(answer: &Value) -> Vec<String> {
    rows(answer, "withdrawn", &["state", "messages", "reason"])
}

const NOTHING: [&str; 0] = [];

#[tokio::test]
async fn queues_are_created_changed_and_left_alone() {
    let broker = Broker::start(2, true).await;
    // Sources before and behind their dead-letter queue.
    let all = queues(&[
        source("a", "dead"),
        queue("dead", json!({ "queueName": "Dead_1" })),
        source("b", "dead"),
        queue("plain", json!({ "delaySeconds": 7 })),
    ]);
    let answer = broker.declare(&all).await;
    assert_eq!(problems(&answer), NOTHING);
    assert_eq!(
        changed(&answer),
        ["a: a created", "b: b created", "dead: Dead_1 created", "plain: plain created"]
    );
    let shown = [
        "Dead_1 by Queue shop/dead (cluster)",
        "a > Dead_1 by Queue shop/a (cluster)",
        "b > Dead_1 by Queue shop/b (cluster)",
        "plain by Queue shop/plain (cluster)",
    ];
    assert_eq!(broker.shown(), shown);
    // Again, and nothing is to be done; less, and what is not named stays.
    for body in [&all, &queues(&[source("a", "dead")]), &json!({})] {
        let answer = broker.declare(body).await;
        assert_eq!(answer, json!({ "changed": [], "problems": [], "withdrawn": [] }));
        assert_eq!(broker.shown(), shown);
    }
    // A dead-letter queue that was declared before; a relation that is turned round.
    let answer = broker.declare(&queues(&[source("plain", "dead")])).await;
    assert_eq!(changed(&answer), ["plain: plain updated"]);
    assert_eq!(broker.shown()[3], "plain > Dead_1 by Queue shop/plain (cluster)");
    let answer = broker.declare(&queues(&[
        queue("a", json!({})),
        queue("b", json!({})),
        queue("plain", json!({})),
        queue("dead", json!({ "queueName": "Dead_1", "deadLetter": { "queueRef": { "name": "a" }, "maxReceiveCount": 1 } })),
    ]))
    .await;
    assert_eq!((problems(&answer), changed(&answer).len()), (vec![], 4));
    assert_eq!(broker.shown()[0], "Dead_1 > a by Queue shop/dead (cluster)");
    broker.end().await;
}

#[tokio::test]
async fn each_problem_is_told_and_stops_nothing_else() {
    let broker = Broker::start(1, true).await;
    broker.queue("by-call", |_| ()).await;
    let first = queues(&[
        queue("taken", json!({})),
        queue("fixed", json!({})),
        queue("named", json!({ "queueName": "one" })),
        queue("fifo", json!({ "queueName": "f.fifo", "fifo": {} })),
        queue("dead", json!({})),
        source("source", "dead"),
    ]);
    assert_eq!(problems(&broker.declare(&first).await), NOTHING);
    for n in 0..5 {
        assert_eq!(problems(&broker.declare(&queues(&[source(&format!("s{n}"), "dead")])).await), NOTHING);
    }
    let long: serde_json::Map<String, Value> = (0..20).map(|n| (format!("x{n}"), json!(1))).collect();
    let answer = broker
        .declare(&queues(&[
            queue("good", json!({})),
            queue("bounds", json!({ "delaySeconds": -1 })),
            queue("unknown", json!({ "delaySecond": 1 })),
            queue("long", Value::Object(long)),
            json!({ "namespace": "shop", "name": "none", "spec": null }),
            queue("thief", json!({ "queueName": "taken" })),
            queue("case", json!({ "queueName": "Taken" })),
            queue("by-call", json!({})),
            queue("case-of-call", json!({ "queueName": "By-Call" })),
            queue("fixed", json!({ "queueName": "fixed.fifo", "fifo": {} })),
            queue("named", json!({ "queueName": "two" })),
            source("lost", "nowhere"),
            source("lost-bad", "bounds"),
            source("chain", "source"),
            source("seventh", "dead"),
            source("type", "fifo"),
            queue("late", json!({ "queueName": "first" })),
            queue("first", json!({})),
            queue("twice", json!({})),
            queue("twice", json!({ "delaySeconds": 1 })),
        ]))
        .await;
    assert_eq!(
        problems(&answer),
        [
            "bounds: invalid",
            "by-call: exists",
            "case-of-call: exists",
            "case: name_taken",
            "chain: dead_letter_chain",
            "first: name_taken",
            "fixed: immutable",
            "long: invalid",
            "lost-bad: dead_letter_missing",
            "lost: dead_letter_missing",
            "named: immutable",
            "none: invalid",
            "seventh: dead_letter_sources",
            "thief: name_taken",
            "twice: invalid",
            "type: dead_letter_type",
            "unknown: invalid",
        ]
    );
    assert_eq!(changed(&answer), ["good: good created", "late: first created", "twice: twice created"]);
    let told = |name: &str| {
        let rows = answer["problems"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        (row["message"].as_str().unwrap(), row["allowed"].as_str().unwrap_or_default())
    };
    assert_eq!(told("bounds"), ("spec.delaySeconds: is -1", "a whole number from 0 to 3600"));
    assert_eq!(told("thief").0, "queue taken is declared by Queue shop/taken (cluster); change it there");
    assert_eq!(told("lost").0, "spec.deadLetter.queueRef.name: \"nowhere\" is not declared");
    assert!(told("by-call").1.contains("adopt: true"), "{answer}");
    assert!(told("case-of-call").1.contains("more than case"), "{answer}");
    assert!(told("named").0.starts_with("spec.queueName: queueName cannot be changed"), "{answer}");
    assert!(told("long").0.contains("and 12 more"), "{answer}");
    // What was refused left nothing behind, and the one that has a name keeps it whatever the order.
    assert!(broker.shown().iter().all(|queue| !queue.contains("thief") && !queue.contains("lost")));
    let answer = broker
        .declare(&queues(&[queue("first", json!({})), queue("late", json!({ "queueName": "first" }))]))
        .await;
    assert_eq!((problems(&answer), changed(&answer)), (vec!["first: name_taken".to_owned()], vec![]));
    broker.end().await;
}

#[tokio::test]
async fn queues_of_calls_are_adopted_only_when_asked() {
    let broker = Broker::start(1, true).await;
    broker.queue("orders", |attributes| attributes.visibility_timeout_seconds = 77).await;
    broker.send("orders", &[b"kept"], None).await;
    let mut wanted = queue("orders", json!({ "delaySeconds": 3 }));
    assert_eq!(problems(&broker.declare(&queues(&[wanted.clone()])).await), ["orders: exists"]);
    assert_eq!(broker.shown(), ["orders"]);
    wanted["adopt"] = json!(true);
    let answer = broker.declare(&queues(&[wanted.clone()])).await;
    assert_eq!(changed(&answer), ["orders: orders adopted"]);
    let described = broker.service.describe_queue("orders").await.unwrap();
    assert_eq!((described.attributes.visibility_timeout_seconds, described.counts.active), (30, 1));
    // From then on it is its own, whatever it says of adopting; another one gets it in no case.
    wanted["adopt"] = json!(false);
    assert_eq!(broker.declare(&queues(&[wanted])).await["changed"], json!([]));
    let mut other = queue("other", json!({ "queueName": "orders" }));
    other["adopt"] = json!(true);
    assert_eq!(problems(&broker.declare(&queues(&[other])).await), ["other: name_taken"]);
    broker.end().await;
}

#[tokio::test]
async fn queues_leave_by_their_policy() {
    let broker = Broker::start(2, true).await;
    let with = |name: &str, policy: &str| queue(name, json!({ "deletionPolicy": policy }));
    let all = queues(&[
        with("kept", "Retain"),
        with("gone", "Delete"),
        with("empty", "DeleteIfEmpty"),
        with("full", "DeleteIfEmpty"),
        with("dead", "Delete"),
        source("source", "dead"),
    ]);
    assert_eq!(problems(&broker.declare(&all).await), NOTHING);
    for name in ["kept", "gone", "full", "dead"] {
        broker.send(name, &[b"1", b"2"], None).await;
    }
    let leaving = withdraw(&["kept", "gone", "empty", "full", "dead", "never-there"]);
    let answer = broker.declare(&leaving).await;
    assert_eq!(problems(&answer), NOTHING);
    assert_eq!(
        withdrawn(&answer),
        [
            "dead: waiting 2 in_use",
            "empty: gone 0 null",
            "full: waiting 2 not_empty",
            "gone: gone 0 null",
            "kept: kept 0 null",
            "never-there: gone 0 null",
        ]
    );
    let left = ["dead by Queue shop/dead (cluster)", "full! by Queue shop/full (cluster)", "kept"];
    assert_eq!([&broker.shown()[..3]].concat(), left);
    assert!(matches!(broker.try_send("full").await, Err(ServiceError::QueueClosed(_))));
    broker.try_send("dead").await.unwrap();
    // Asking again tells the same, and nothing is lost; the source goes first, then what served it.
    let again = broker.declare(&withdraw(&["full", "dead"])).await;
    assert_eq!(withdrawn(&again), ["dead: waiting 3 in_use", "full: waiting 2 not_empty"]);
    let held = broker.receive("full", 2).await;
    assert_eq!(withdrawn(&broker.declare(&withdraw(&["full"])).await), ["full: waiting 2 not_empty"]);
    for message in &held {
        broker.service.delete("full", &[&message.receipt_handle]).await.unwrap()[0].as_ref().unwrap();
    }
    let rest = broker.receive("full", 2).await;
    for message in &rest {
        broker.service.delete("full", &[&message.receipt_handle]).await.unwrap()[0].as_ref().unwrap();
    }
    let last = broker.declare(&withdraw(&["dead", "full", "source"])).await;
    assert_eq!(withdrawn(&last), ["dead: waiting 3 in_use", "full: gone 0 null", "source: gone 0 null"]);
    assert_eq!(withdrawn(&broker.declare(&withdraw(&["dead"])).await), ["dead: gone 0 null"]);
    assert_eq!(broker.shown(), ["kept"]);
    // Nobody owns it any more: there is nothing left to withdraw, and a new object must ask for it.
    assert_eq!(withdrawn(&broker.declare(&withdraw(&["kept"])).await), ["kept: gone 0 null"]);
    assert_eq!(problems(&broker.declare(&queues(&[with("kept", "Retain")])).await), ["kept: exists"]);
    broker.end().await;
}

#[tokio::test]
async fn another_policy_than_the_declared_one_can_be_asked_for() {
    let broker = Broker::start(1, true).await;
    let by = |name: &str, policy: &str| json!({ "withdraw": [{ "namespace": "shop", "name": name, "deletionPolicy": policy }] });
    let all = ["a", "b", "c", "d"].map(|name| queue(name, json!({})));
    assert_eq!(problems(&broker.declare(&queues(&all)).await), NOTHING);
    for name in ["a", "b", "c", "d"] {
        broker.send(name, &[b"1"], None).await;
    }
    assert_eq!(withdrawn(&broker.declare(&by("a", "Retain")).await), ["a: kept 0 null"]);
    assert_eq!(withdrawn(&broker.declare(&by("b", "Delete")).await), ["b: gone 0 null"]);
    // Also of one that waits already: given up or kept, and then it is open again.
    for name in ["c", "d"] {
        let answer = broker.declare(&withdraw(&[name])).await;
        assert_eq!(withdrawn(&answer), [format!("{name}: waiting 1 not_empty")]);
    }
    assert_eq!(withdrawn(&broker.declare(&by("c", "Retain")).await), ["c: kept 0 null"]);
    assert_eq!(withdrawn(&broker.declare(&by("d", "Delete")).await), ["d: gone 0 null"]);
    assert_eq!(broker.shown(), ["a", "c"]);
    let opened = async { while broker.try_send("c").await.is_err() {} };
    tokio::time::timeout(crate::testing::SOON, opened).await.unwrap();
    // An object that is there again while its queue waits has it back.
    assert_eq!(problems(&broker.declare(&queues(&[queue("e", json!({}))])).await), NOTHING);
    broker.send("e", &[b"1"], None).await;
    broker.declare(&withdraw(&["e"])).await;
    assert_eq!(changed(&broker.declare(&queues(&[queue("e", json!({}))])).await), ["e: e updated"]);
    // Shards hear of it a moment later.
    let opened = async { while broker.try_send("e").await.is_err() {} };
    tokio::time::timeout(crate::testing::SOON, opened).await.unwrap();
    // Both at once is neither.
    let both = json!({ "queues": [queue("e", json!({ "delaySeconds": 9 }))], "withdraw": [{ "namespace": "shop", "name": "e" }] });
    let answer = broker.declare(&both).await;
    assert_eq!((problems(&answer), withdrawn(&answer)), (vec!["e: invalid".to_owned()], vec![]));
    assert_eq!(broker.shown()[2], "e by Queue shop/e (cluster)");
    broker.end().await;
}

#[tokio::test]
async fn bodies_that_are_no_declaration_are_refused() {
    let broker = Broker::start(1, true).await;
    let names = |count: usize| -> String {
        let item = |n| format!("{{\"namespace\":\"n\",\"name\":\"q{n}\"}}");
        (0..count).map(item).collect::<Vec<_>>().join(",")
    };
    for body in [
        "",
        "[]",
        "{\"queue\":[]}",
        "{\"queues\":[{\"name\":\"a\",\"spec\":{}}]}",
        "{\"queues\":[{\"namespace\":\"n\",\"name\":\"a\",\"spec\":{},\"own\":1}]}",
        "{\"queues\":[{\"namespace\":\"n\",\"name\":\"a/b\",\"spec\":{}}]}",
        "{\"withdraw\":[{\"namespace\":\"\",\"name\":\"a\"}]}",
        "{\"withdraw\":[{\"namespace\":\"n\",\"name\":\"A (cluster)\"}]}",
        "{\"withdraw\":[{\"namespace\":\"n\",\"name\":\"a\",\"deletionPolicy\":\"Keep\"}]}",
        &format!("{{\"withdraw\":[{}]}}", names(OBJECTS_MAX + 1)),
    ] {
        assert_eq!(broker.declare_refused(body).await, "400 invalid_body", "{:.200}", body);
    }
    assert_eq!(broker.declare_refused(&" ".repeat(BODY_BYTES_MAX + 1)).await, "413 unreadable_body");
    let (status, answer) = broker.ask_with("POST", "/api/v1/declare", "", "{}").await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("header_missing")));
    // As many as there may be, of the largest size, and too large a single one beside them.
    let answer = broker
        .declare(&serde_json::from_str(&format!("{{\"withdraw\":[{}]}}", names(OBJECTS_MAX))).unwrap())
        .await;
    assert_eq!(answer["withdrawn"].as_array().unwrap().len(), OBJECTS_MAX);
    let huge = queue("huge", json!({ "x": "x".repeat(SPEC_BYTES_MAX) }));
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let body = format!(
        "{{\"queues\":[{huge},{},{{\"namespace\":\"shop\",\"name\":\"deep\",\"spec\":{deep}}}]}}",
        queue("small", json!({}))
    );
    let (status, answer) = broker.ask_with("POST", "/api/v1/declare", BY, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (problems(&answer), changed(&answer)),
        (
            vec!["deep: invalid".to_owned(), "huge: invalid".to_owned()],
            vec!["small: small created".to_owned()]
        )
    );
    broker.end().await;
}

/// One call at a time, and one whose caller leaves goes on to its end.
#[tokio::test(flavor = "multi_thread")]
async fn calls_do_not_mix() {
    let broker = std::sync::Arc::new(Broker::start(1, true).await);
    let all: Vec<Value> =
        (0..OBJECTS_MAX).map(|n| queue(&format!("q{n}"), json!({ "delaySeconds": 1 }))).collect();
    let body = queues(&all).to_string();
    let started = std::time::Instant::now();
    let caller = tokio::spawn({
        let broker = broker.clone();
        async move { broker.ask_with("POST", "/api/v1/declare", BY, &body).await }
    });
    while broker.service.queue_count() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    caller.abort();
    let mut refused = 0;
    let answer = loop {
        let (status, answer) = broker.ask_with("POST", "/api/v1/declare", BY, "{}").await;
        if status == 200 {
            break answer;
        }
        assert_eq!((status, &answer["error"]["code"]), (503, &json!("busy")));
        refused += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    println!("10,000 queues declared by a call: {:?}, {refused} calls refused meanwhile", started.elapsed());
    assert_eq!(answer["problems"], json!([]));
    assert!(refused > 0);
    assert_eq!(broker.service.queue_count(), OBJECTS_MAX);
    std::sync::Arc::into_inner(broker).unwrap().end().await;
}
