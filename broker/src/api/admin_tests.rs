//! The admin API over a whole broker of one replica: HTTP on a socket, messages sent and taken beside it.

use std::collections::HashMap;
use std::time::Duration;

use cmq_engine::attributes::{DeadLetterPolicy, DeadLetterRule, QueueAttributes, QueueId};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::testing::{BY, Broker};
use super::*;
use crate::replication::figures::SurveyCursor;
use crate::service::operator::{CALL_LOOKS_MAX, WALKS_MAX};
use crate::testing::SOON;

fn texts(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["body"]["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn queues_are_listed_and_described() {
    let broker = Broker::start(2, true).await;
    broker.queue("dead", |_| ()).await;
    for name in ["orders-eu", "orders-us"] {
        let rule = DeadLetterRule::MaxReceiveCount(3);
        let attributes = QueueAttributes {
            dead_letter: Some(DeadLetterPolicy { queue: QueueId(0), rule }),
            ..QueueAttributes::default()
        };
        broker.service.create_queue(name, attributes, Some("dead")).await.unwrap();
    }
    broker.send("orders-eu", &[b"1", b"2", b"3"], None).await;
    broker.send("orders-eu", &[b"later"], Some(Duration::from_secs(60))).await;
    broker.receive("orders-eu", 1).await;

    let first = broker.get("queues?limit=2").await;
    let names = |page: &Value| -> Vec<String> {
        let queues = page["queues"].as_array().unwrap();
        queues.iter().map(|queue| queue["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&first), ["dead", "orders-eu"]);
    let cursor = first["cursor"].as_str().unwrap();
    let second = broker.get(&format!("queues?limit=2&cursor={cursor}")).await;
    assert_eq!(names(&second), ["orders-us"]);
    assert_eq!(second["cursor"], Value::Null);
    assert_eq!(names(&broker.get("queues?search=-eu").await), ["orders-eu"]);
    let row = &first["queues"][1];
    assert_eq!((&row["kind"], &row["declaredBy"]), (&json!("standard"), &Value::Null));
    assert_eq!(row["counts"]["ready"], 2);
    assert!(row["counts"]["oldestAgeMs"].as_u64().unwrap() < 60_000, "{row}");

    let queue = broker.get("queues/orders-eu").await;
    assert_eq!(queue["attributes"]["visibilityTimeoutSeconds"], 30);
    assert_eq!(queue["deadLetter"]["queue"], "dead");
    assert_eq!(queue["deadLetter"]["maxReceiveCount"], 3);
    let counts = &queue["counts"];
    assert_eq!(
        (&counts["ready"], &counts["inFlight"], &counts["delayed"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let shards = queue["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 2);
    let ready: u64 = shards.iter().map(|shard| shard["counts"]["ready"].as_u64().unwrap()).sum();
    assert_eq!(ready, 2);
    assert_eq!(broker.get("queues/dead").await["deadLetterSources"], json!(["orders-eu", "orders-us"]));

    assert_eq!(broker.refused("GET", "queues/none", "").await, "404 queue_not_found");
    assert_eq!(broker.refused("GET", "queues?cursor=%2B", "").await, "400 invalid_parameter");
    assert_eq!(broker.refused("GET", "queues/dead?x=1", "").await, "400 invalid_parameter");
    assert_eq!(broker.refused("GET", "topics", "").await, "404 unknown_call");
    assert_eq!(broker.refused("PUT", "queues", BY).await, "405 method_not_allowed");
    broker.end().await;
}

#[tokio::test]
async fn messages_are_seen_by_state_and_filter() {
    let broker = Broker::start(1, true).await;
    broker.queue("q", |_| ()).await;
    broker.send("q", &[b"first", "zwölf".as_bytes(), b"\xff\x00"], None).await;
    broker.send("q", &[b"later"], Some(Duration::from_secs(60))).await;
    let taken = broker.receive("q", 1).await;

    let ready = broker.messages("q", "state=ready&body=full").await;
    assert_eq!(ready.len(), 2);
    assert_eq!((&ready[0]["body"], &ready[0]["bytes"]), (&json!({ "text": "zwölf" }), &json!(6)));
    assert_eq!(ready[1]["body"], json!({ "base64": "/wA=" }));
    assert_eq!((&ready[0]["receiveCount"], &ready[0]["firstReceivedMs"]), (&json!(0), &Value::Null));

    let flying = broker.messages("q", "state=in_flight&body=prefix&prefix=3").await;
    assert_eq!(texts(&flying), ["fir"]);
    assert_eq!(flying[0]["id"], taken[0].id.0.to_string());
    assert_eq!(flying[0]["visibleAgainMs"], taken[0].visible_again_ms);
    assert_eq!(
        (&flying[0]["receiveCount"], &flying[0]["firstReceivedMs"]),
        (&json!(1), &json!(taken[0].first_received_ms))
    );

    let delayed = broker.messages("q", "state=delayed").await;
    assert_eq!(delayed.len(), 1);
    assert!(delayed[0]["dueMs"].as_u64().unwrap() >= delayed[0]["sentMs"].as_u64().unwrap() + 60_000);
    assert!(delayed[0].get("body").is_none());

    assert_eq!(broker.messages("q", "").await.len(), 4);
    assert_eq!(texts(&broker.messages("q", "contains=%C3%B6&body=full").await), ["zwölf"]);
    assert_eq!(broker.messages("q", "min_receives=1").await.len(), 1);
    let id = ready[1]["id"].as_str().unwrap();
    assert_eq!(
        broker.messages("q", &format!("id={id}")).await,
        broker.messages("q", "state=ready").await[1..]
    );
    let sent_ms = ready[0]["sentMs"].as_u64().unwrap();
    assert_eq!(broker.messages("q", &format!("sent_before={sent_ms}")).await.len(), 0);
    assert_eq!(broker.messages("q", &format!("sent_after={sent_ms}")).await.len(), 4);
    assert_eq!(broker.messages("q", "group=none").await.len(), 0);

    // A body that does not fit a page any more comes on the next one.
    let large = vec![b'x'; 1 << 20];
    for _ in 0..6 {
        broker.send("q", &[&large], None).await;
    }
    let page = broker.get("queues/q/messages?state=ready&body=full&limit=100").await;
    let shown = page["messages"].as_array().unwrap().len();
    assert!((3..=6).contains(&shown), "{shown} messages");
    let cursor = page["cursor"].as_str().unwrap();
    let rest = broker.messages("q", &format!("state=ready&body=full&limit=100&cursor={cursor}")).await;
    assert_eq!(shown + rest.len(), 8);

    broker.queue("other", |_| ()).await;
    let elsewhere = format!("queues/other/messages?cursor={cursor}");
    assert_eq!(broker.refused("GET", &elsewhere, "").await, "400 invalid_parameter");
    assert_eq!(broker.refused("GET", "queues/q/messages?state=lost", "").await, "400 invalid_parameter");
    assert_eq!(broker.refused("GET", "queues/none/messages", "").await, "404 queue_not_found");
    broker.end().await;
}

#[tokio::test]
async fn single_messages_are_deleted_and_returned() {
    let broker = Broker::start(1, true).await;
    broker.queue("q", |attributes| attributes.visibility_timeout_seconds = 600).await;
    let bodies: Vec<String> = (0..8).map(|at| format!("m{at}")).collect();
    broker.send("q", &bodies.iter().map(|body| body.as_bytes()).collect::<Vec<_>>(), None).await;
    broker.send("q", &[b"later"], Some(Duration::from_secs(600))).await;
    let taken = broker.receive("q", 2).await;
    let listed = broker.messages("q", "body=full").await;
    let path_of = |text: &str| {
        let message = listed.iter().find(|message| message["body"]["text"] == text).unwrap();
        format!("queues/q/messages/{}", message["ref"].as_str().unwrap())
    };
    let done = async |method: &str, path: &str| {
        let (status, value) = broker.ask(method, &format!("/api/v1/{path}"), BY).await;
        assert_eq!(status, 200, "{path}: {value}");
        value["done"].as_str().unwrap().to_owned()
    };

    // From the middle of the backlog, from its head, in flight, delayed: each once.
    for text in ["m5", "m2", "m0"] {
        assert_eq!(done("DELETE", &path_of(text)).await, "deleted");
        assert_eq!(broker.refused("DELETE", &path_of(text), BY).await, "404 message_not_found");
    }
    // The other one that is in flight comes back before its time, and so does the delayed one.
    for text in ["m1", "later"] {
        let path = format!("{}/return", path_of(text));
        assert_eq!(done("POST", &path).await, "returned");
        assert_eq!(broker.refused("POST", &path, BY).await, "409 wrong_state");
    }
    assert_eq!(broker.refused("POST", &format!("{}/return", path_of("m3")), BY).await, "409 wrong_state");
    let handles: Vec<&str> = taken.iter().map(|message| message.receipt_handle.as_str()).collect();
    let verdicts = broker.service.delete("q", &handles).await.unwrap();
    assert!(verdicts.iter().all(Result::is_err), "the handles are stale: {verdicts:?}");

    let mut received = broker.receive("q", 16).await;
    received.extend(broker.receive("q", 16).await);
    let mut found: Vec<&[u8]> = received.iter().map(|message| &message.body[..]).collect();
    found.sort_unstable();
    assert_eq!(found, [&b"later"[..], b"m1", b"m3", b"m4", b"m6", b"m7"]);
    // It was handed out again since it was listed.
    assert_eq!(broker.refused("POST", &format!("{}/return", path_of("m1")), BY).await, "409 wrong_state");

    // By number.
    let id = received.iter().find(|message| &message.body[..] == b"m4").unwrap().id.0;
    assert_eq!(done("POST", &format!("queues/q/messages/{id}/return")).await, "returned");
    assert_eq!(done("DELETE", &format!("queues/q/messages/{id}")).await, "deleted");
    assert_eq!(
        broker.refused("DELETE", &format!("queues/q/messages/{id}"), BY).await,
        "404 message_not_found"
    );
    for wrong in ["x", "9223372036854775808", "-1"] {
        let path = format!("queues/q/messages/{wrong}");
        assert_eq!(broker.refused("DELETE", &path, BY).await, "400 invalid_parameter");
    }
    assert_eq!(broker.refused("DELETE", "queues/q/messages/7", BY).await, "404 message_not_found");
    assert_eq!(broker.refused("DELETE", "queues/none/messages/7", BY).await, "404 queue_not_found");
    // What a page of another site could send.
    assert_eq!(broker.refused("DELETE", &path_of("m7"), "").await, "403 header_missing");
    let foreign = format!("{BY}origin: http://evil.example\r\n");
    assert_eq!(broker.refused("DELETE", &path_of("m7"), &foreign).await, "403 origin_not_allowed");

    let counts = broker.get("queues/q").await["counts"].clone();
    assert_eq!(
        (&counts["ready"], &counts["inFlight"], &counts["delayed"]),
        (&json!(0), &json!(5), &json!(0))
    );
    let survey = broker.node.look(|driver| driver.survey(SurveyCursor::default())).await.unwrap();
    assert_eq!(survey.queues[0].2.deleted, 4);
    broker.end().await;
}

#[tokio::test]
async fn queues_are_purged_and_rewound() {
    let broker = Broker::start(1, true).await;
    broker.queue("q", |attributes| attributes.rewind_seconds = 600).await;
    broker.send("q", &[b"one", b"two"], None).await;
    let cursor = broker.get("queues/q/messages?limit=1").await["cursor"].as_str().unwrap().to_owned();
    let taken = broker.receive("q", 1).await;
    broker.service.delete("q", &[&taken[0].receipt_handle]).await.unwrap()[0].as_ref().unwrap();
    // Deleted by an operator is deleted: a rewind brings both back.
    let second = broker.messages("q", "").await[0]["ref"].as_str().unwrap().to_owned();
    assert_eq!(broker.ask("DELETE", &format!("/api/v1/queues/q/messages/{second}"), BY).await.0, 200);
    assert_eq!(broker.get("queues/q").await["counts"]["rewindable"], 2);

    let start = taken[0].sent_ms / 1_000;
    let rewind = "/api/v1/queues/q/rewind";
    for wrong in ["", "{}", "[1]", "{\"start\":-1}", "{\"start\":1,\"end\":2}"] {
        let (status, value) = broker.ask_with("POST", rewind, BY, wrong).await;
        assert_eq!((status, &value["error"]["code"]), (400, &json!("invalid_body")), "{wrong}: {value}");
    }
    // Larger than any call needs.
    let large = " ".repeat(BODY_BYTES_MAX + 1);
    let (status, value) = broker.ask_with("POST", rewind, BY, &large).await;
    assert_eq!((status, &value["error"]["code"]), (413, &json!("unreadable_body")), "{value}");
    let (status, value) = broker.ask_with("POST", rewind, BY, &format!("{{\"start\":{start}}}")).await;
    assert_eq!((status, &value["done"]), (200, &json!("rewound")), "{value}");
    timeout(SOON, async { while broker.messages("q", "state=ready").await.len() < 2 {} }).await.unwrap();

    assert_eq!(broker.refused("POST", "queues/q/purge", "").await, "403 header_missing");
    assert_eq!(broker.ask("POST", "/api/v1/queues/q/purge", BY).await.0, 200);
    timeout(SOON, async { while !broker.messages("q", "").await.is_empty() {} }).await.unwrap();
    let outdated = format!("queues/q/messages?cursor={cursor}");
    assert_eq!(broker.refused("GET", &outdated, "").await, "409 cursor_outdated");
    assert_eq!(broker.refused("POST", "queues/none/purge", BY).await, "404 queue_not_found");
    broker.end().await;
}

#[tokio::test]
async fn bodies_can_be_switched_off() {
    let broker = Broker::start(1, false).await;
    broker.queue("q", |_| ()).await;
    broker.send("q", &[b"secret"], None).await;
    assert_eq!(broker.messages("q", "").await.len(), 1);
    for query in ["body=full", "body=prefix", "contains=s"] {
        let path = format!("queues/q/messages?{query}");
        assert_eq!(broker.refused("GET", &path, "").await, "403 bodies_off");
    }
    broker.end().await;
}

#[tokio::test]
async fn before_the_broker_is_open() {
    let console = Console::new(true, None, None);
    let request = |host: &str| {
        let request = hyper::Request::get("/api/v1/queues").header("host", host);
        request.body(()).unwrap().into_parts().0
    };
    let code = |host: &str| console.admit(&request(host)).err().map(|error| error.code);
    assert_eq!(code("localhost"), Some("starting"));
    assert_eq!(code("evil.example"), Some("host_not_allowed"));
}

/// Pages through a deep backlog while it is written and read: what stays is seen exactly once, and no look holds the driver
/// up for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deep_backlog_is_walked_while_it_moves() {
    const DEPTH: usize = 100_000;
    let broker = Arc::new(Broker::start(2, true).await);
    broker.queue("q", |attributes| attributes.visibility_timeout_seconds = 600).await;
    let sends = (0..DEPTH / 1_000).map(|at| {
        let broker = broker.clone();
        tokio::spawn(async move {
            for batch in 0..1_000 / 16 + 1 {
                let texts: Vec<String> =
                    (batch * 16..(batch * 16 + 16).min(1_000)).map(|n| format!("body {at} {n}")).collect();
                let bodies: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
                broker.send("q", &bodies, None).await;
            }
        })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.unwrap();
    }

    let (stop, stopped) = watch::channel(false);
    let moving = {
        let broker = broker.clone();
        tokio::spawn(async move {
            let mut deleted = 0_usize;
            while !*stopped.borrow() {
                broker.send("q", &[b"new", b"new"], None).await;
                let taken = broker.receive("q", 4).await;
                let handles: Vec<&str> =
                    taken.iter().skip(1).map(|message| message.receipt_handle.as_str()).collect();
                deleted += handles.len();
                broker.service.delete("q", &handles).await.unwrap();
            }
            deleted
        })
    };
    let started = std::time::Instant::now();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let (mut cursor, mut pages) = (String::new(), 0);
    loop {
        let page = broker.get(&format!("queues/q/messages?limit=100{cursor}")).await;
        pages += 1;
        for message in page["messages"].as_array().unwrap() {
            *seen.entry(message["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    stop.send_replace(true);
    let deleted = moving.await.unwrap();
    let took = started.elapsed();
    assert!(seen.values().all(|times| *times == 1), "a message was seen twice");
    // What is there now was there at the beginning, or is new.
    let (mut left, mut missed) = (0, 0);
    let mut cursor = String::new();
    loop {
        let page = broker.get(&format!("queues/q/messages?limit=100&body=prefix&prefix=4{cursor}")).await;
        for message in page["messages"].as_array().unwrap() {
            let is_new = message["body"]["text"] == "new";
            left += usize::from(!is_new);
            missed += usize::from(!is_new && !seen.contains_key(message["id"].as_str().unwrap()));
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(missed, 0, "of {left} messages that stayed");
    assert!(deleted > 0 && left + deleted >= DEPTH, "{left} stayed, {deleted} were deleted");
    let longest = broker.node.longest_look();
    println!(
        "{} messages in {pages} pages and {took:?}; {deleted} deleted; longest look {longest:?}",
        seen.len()
    );
    // On a machine that does other things too, the thread may have been set aside in a look.
    assert!(longest < Duration::from_millis(100), "{longest:?}");

    // A filter that fits nothing still answers, page by page.
    let mut cursor = String::new();
    let mut calls = 0;
    loop {
        let page = broker.get(&format!("queues/q/messages?min_receives=9{cursor}")).await;
        calls += 1;
        assert_eq!(page["messages"], json!([]));
        assert!(page["lookedAt"].as_u64().unwrap() <= CALL_LOOKS_MAX as u64);
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(calls >= 2, "one call does not walk the whole backlog");

    // Walks are bounded; one more is told to come back.
    let walks = (0..4 * WALKS_MAX).map(|_| {
        let broker = broker.clone();
        tokio::spawn(async move { broker.ask("GET", "/api/v1/queues/q/messages?min_receives=9", "").await })
    });
    let mut answers = Vec::new();
    for walk in walks.collect::<Vec<_>>() {
        let (status, value) = walk.await.unwrap();
        assert!(status == 200 || status == 503 && value["error"]["code"] == "busy", "{status} {value}");
        answers.push(status);
    }
    assert!(answers.contains(&200) && answers.contains(&503), "{answers:?}");
    Arc::into_inner(broker).unwrap().end().await;
}
