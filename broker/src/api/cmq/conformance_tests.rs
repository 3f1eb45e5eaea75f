//! What the protocol promises of queues and messages, over a real broker.

use std::time::{Duration, Instant};

use cmq_engine::attributes::{DeadLetterPolicy, DeadLetterRule, QueueAttributes, QueueId};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::api::testing::{Broker, Setup, encode};
use crate::service::Waits;

const OK: &str = "0 ";
const NO_MESSAGE: &str = "7000 (10200)no message";
const HANDLE: &str = "4430 (10260)receipt handle is invalid";

/// A call that must be answered with success.
async fn call(broker: &Broker, form: &str) -> Value {
    let answer = broker.post(&format!("Action={form}")).await;
    assert_eq!(answer["code"], 0, "{form}: {answer}");
    answer
}

async fn receive(broker: &Broker, queue: &str) -> Value {
    call(broker, &format!("ReceiveMessage&queueName={queue}&pollingWaitSeconds=20")).await
}

fn delete(queue: &str, message: &Value) -> String {
    format!(
        "Action=DeleteMessage&queueName={queue}&receiptHandle={}",
        message["receiptHandle"].as_str().unwrap()
    )
}

#[tokio::test]
async fn handles_die() {
    let broker = Broker::open().await;
    call(&broker, "CreateQueue&queueName=q&visibilityTimeout=1").await;
    call(&broker, "CreateQueue&queueName=other").await;
    let sent = call(&broker, "SendMessage&queueName=q&msgBody=m").await;
    let first = receive(&broker, "q").await;
    assert_eq!(broker.said(&delete("other", &first)).await, HANDLE, "a handle of another queue");
    sleep(Duration::from_millis(1_200)).await;
    assert_eq!(broker.said(&delete("q", &first)).await, HANDLE, "its lease is over");
    let second = receive(&broker, "q").await;
    assert_eq!((&second["msgId"], &second["dequeueCount"]), (&sent["msgId"], &json!(2)));
    assert_eq!(second["firstDequeueTime"], first["firstDequeueTime"]);
    assert_ne!(second["receiptHandle"], first["receiptHandle"]);
    assert_eq!(broker.said(&delete("q", &first)).await, HANDLE, "a later receive replaced it");
    assert_eq!(broker.said(&delete("q", &second)).await, OK);
}

#[tokio::test]
async fn delays() {
    let broker = Broker::open().await;
    call(&broker, "CreateQueue&queueName=q").await;
    let started = Instant::now();
    call(&broker, "BatchSendMessage&queueName=q&msgBody.0=a&msgBody.1=b&delaySeconds=1").await;
    call(&broker, "SendMessage&queueName=q&msgBody=far&delaySeconds=3600").await;
    let seen = call(&broker, "GetQueueAttributes&queueName=q").await;
    assert_eq!((&seen["delayMsgNum"], &seen["activeMsgNum"]), (&json!(3), &json!(0)));
    assert_eq!(broker.said("Action=ReceiveMessage&queueName=q").await, NO_MESSAGE);
    let mut bodies =
        [receive(&broker, "q").await, receive(&broker, "q").await].map(|got| got["msgBody"].to_string());
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    bodies.sort_unstable();
    assert_eq!(bodies, [r#""a""#, r#""b""#]);
    call(&broker, "SendMessage&queueName=q&msgBody=now&delaySeconds=0").await;
    assert_eq!(receive(&broker, "q").await["msgBody"], "now");
}

#[tokio::test]
async fn rewinds_and_clears() {
    let broker = Broker::open().await;
    call(&broker, "CreateQueue&queueName=q&rewindSeconds=600").await;
    for body in ["one", "two", "kept"] {
        call(&broker, &format!("SendMessage&queueName=q&msgBody={body}")).await;
    }
    let mut sent = 0;
    for body in ["one", "two"] {
        let got = receive(&broker, "q").await;
        assert_eq!(got["msgBody"], body);
        assert_eq!(broker.said(&delete("q", &got)).await, OK);
        sent = got["enqueueTime"].as_u64().unwrap();
    }
    let seen = call(&broker, "GetQueueAttributes&queueName=q").await;
    assert_eq!([&seen["rewindmsgNum"], &seen["rewindMsgNum"]], [&json!(2), &json!(2)]);
    assert!(seen["minMsgTime"].as_u64().unwrap() >= sent, "of the message that is left: {seen}");

    call(&broker, &format!("RewindQueue&queueName=q&startConsumeTime={}", sent - 10)).await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        bodies.push(receive(&broker, "q").await["msgBody"].as_str().unwrap().to_owned());
    }
    bodies.sort_unstable();
    assert_eq!(bodies, ["kept", "one", "two"]);
    assert_eq!(broker.said("Action=ReceiveMessage&queueName=q").await, NO_MESSAGE);

    call(&broker, "SendMessage&queueName=q&msgBody=delayed&delaySeconds=60").await;
    call(&broker, "ClearQueue&queueName=q").await;
    let seen = call(&broker, "GetQueueAttributes&queueName=q").await;
    for count in ["activeMsgNum", "inactiveMsgNum", "delayMsgNum", "rewindmsgNum", "minMsgTime"] {
        assert_eq!(seen[count], 0, "{count}: {seen}");
    }
    call(&broker, "SendMessage&queueName=q&msgBody=after").await;
    assert_eq!(receive(&broker, "q").await["msgBody"], "after");
}

#[tokio::test]
async fn dead_letters_by_count_and_by_age() {
    let broker = Broker::open().await;
    call(&broker, "CreateQueue&queueName=dead").await;
    let policy = r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":1}"#;
    let bind = encode(policy);
    call(&broker, &format!("CreateQueue&queueName=often&visibilityTimeout=1&deadLetterPolicy={bind}")).await;
    // Younger than a call can ask for, so that the test takes no minutes.
    let rule = DeadLetterRule::MaxTimeToLiveSeconds(1);
    let dead_letter = Some(DeadLetterPolicy { queue: QueueId(0), rule });
    let old = QueueAttributes { dead_letter, ..QueueAttributes::default() };
    broker.service.create_queue("old", old, Some("dead")).await.unwrap();

    let sent = call(&broker, "SendMessage&queueName=often&msgBody=m").await;
    receive(&broker, "often").await;
    sleep(Duration::from_millis(1_200)).await;
    assert_eq!(broker.said("Action=ReceiveMessage&queueName=often").await, NO_MESSAGE);
    let moved = receive(&broker, "dead").await;
    assert_eq!((&moved["msgId"], &moved["msgBody"]), (&sent["msgId"], &json!("m")));

    let sent = call(&broker, "SendMessage&queueName=old&msgBody=aged").await;
    let moved = receive(&broker, "dead").await;
    assert_eq!((&moved["msgId"], &moved["msgBody"]), (&sent["msgId"], &json!("aged")));

    let seen = call(&broker, "GetQueueAttributes&queueName=often").await;
    assert_eq!(seen["deadLetterPolicy"], policy);
    let list = |form: &str| format!("ListDeadLetterSourceQueues&deadLetterQueueName=dead{form}");
    let names = |list: Value| -> Vec<String> {
        let rows = list["queueList"].as_array().unwrap();
        rows.iter().map(|row| row["queueName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(call(&broker, &list("")).await), ["often", "old"]);
    let page = call(&broker, &list("&offset=1&limit=1")).await;
    assert_eq!((&page["totalCount"], names(page.clone())), (&json!(2), vec!["old".to_owned()]));
    assert_eq!(names(call(&broker, &list("&searchWord=ft")).await), ["often"]);

    for source in ["often", "old"] {
        call(&broker, &format!("UnbindDeadLetterQueue&queueName={source}")).await;
    }
    assert!(call(&broker, "GetQueueAttributes&queueName=often").await.get("deadLetterPolicy").is_none());
    assert_eq!(call(&broker, &list("")).await["totalCount"], 0);
    call(&broker, "DeleteQueue&queueName=dead").await;
}

#[tokio::test]
async fn changes_name_what_they_change_and_keep_the_rest() {
    let broker = Broker::open().await;
    call(&broker, "CreateQueue&queueName=q").await;
    let before = call(&broker, "GetQueueAttributes&queueName=q").await;
    let changed = call(&broker, "SetQueueAttributes&queueName=q&visibilityTimeout=7&maxMsgSize=2048").await;
    let object = changed.as_object().unwrap();
    assert_eq!((&changed["visibilityTimeout"], &changed["maxMsgSize"]), (&json!(7), &json!(2048)));
    assert_eq!(changed["queueId"], before["queueId"]);
    assert_eq!(object.len(), 4 + 3, "the envelope, the id and what changed: {changed}");
    // Each round changes two attributes at once, in two calls.
    for round in 1..=20 {
        let (one, other) = (
            format!("SetQueueAttributes&queueName=q&pollingWaitSeconds={round}"),
            format!("SetQueueAttributes&queueName=q&msgRetentionSeconds={}", 100 + round),
        );
        tokio::join!(call(&broker, &one), call(&broker, &other));
        let seen = call(&broker, "GetQueueAttributes&queueName=q").await;
        assert_eq!(
            (&seen["pollingWaitSeconds"], &seen["msgRetentionSeconds"]),
            (&json!(round), &json!(100 + round))
        );
        assert_eq!((&seen["visibilityTimeout"], &seen["maxMsgSize"]), (&json!(7), &json!(2048)));
        assert_eq!(seen["maxMsgHeapNum"], before["maxMsgHeapNum"]);
    }
}

#[tokio::test]
async fn receives_wait_as_long_as_the_queue_says() {
    let broker = Broker::open().await;
    call(&broker, "CreateQueue&queueName=q&pollingWaitSeconds=1").await;
    let started = Instant::now();
    assert_eq!(broker.said("Action=ReceiveMessage&queueName=q").await, NO_MESSAGE);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(broker.said("Action=ReceiveMessage&queueName=q&pollingWaitSeconds=0").await, NO_MESSAGE);
    assert!(started.elapsed() < Duration::from_secs(1), "the call overrides it: {:?}", started.elapsed());
}

#[tokio::test]
async fn names_and_purged_queues_are_closed_for_a_while() {
    let waits = Waits { recreate: Duration::from_secs(1), purge: Duration::from_secs(1) };
    let broker = Broker::start(Setup { waits, ..Setup::default() }).await;
    call(&broker, "CreateQueue&queueName=q").await;
    call(&broker, "DeleteQueue&queueName=q").await;
    let again = broker.said("Action=CreateQueue&queueName=q").await;
    assert!(again.starts_with("6040 (10660)"), "{again}");
    sleep(Duration::from_millis(1_200)).await;
    call(&broker, "CreateQueue&queueName=q").await;
    call(&broker, "ClearQueue&queueName=q").await;
    let again = broker.said("Action=ClearQueue&queueName=q").await;
    assert!(again.starts_with("6000 (10050)"), "{again}");
    sleep(Duration::from_millis(1_200)).await;
    call(&broker, "ClearQueue&queueName=q").await;
}

#[tokio::test]
async fn listings_have_pages() {
    let broker = Broker::open().await;
    for number in 10..40 {
        call(&broker, &format!("CreateQueue&queueName=q-{number}")).await;
    }
    let page = |form: &str| format!("ListQueue{form}");
    for (form, total, rows, first) in [
        ("", 30, 20, Some("q-10")),
        ("&offset=20", 30, 10, Some("q-30")),
        ("&offset=5&limit=3", 30, 3, Some("q-15")),
        ("&limit=50", 30, 30, Some("q-10")),
        ("&limit=0", 30, 0, None),
        ("&offset=30", 30, 0, None),
        ("&searchWord=-2&limit=4", 10, 4, Some("q-20")),
        ("&searchWord=Q", 0, 0, None),
    ] {
        let list = call(&broker, &page(form)).await;
        let queues = list["queueList"].as_array().unwrap();
        assert_eq!((&list["totalCount"], queues.len()), (&json!(total), rows), "{form}");
        assert_eq!(queues.first().and_then(|row| row["queueName"].as_str()), first, "{form}");
    }
}

/// Typed clients fail on a wrong JSON type: what each field of each answer is.
#[tokio::test]
async fn every_answer_has_the_documented_types() {
    const TEXT: [&str; 8] = [
        "message",
        "requestId",
        "queueId",
        "queueName",
        "deadLetterPolicy",
        "msgId",
        "receiptHandle",
        "msgBody",
    ];
    const LISTS: [&str; 4] = ["queueList", "msgList", "msgInfoList", "errorList"];
    fn check(object: &Value) {
        for (name, value) in object.as_object().unwrap() {
            let is_right = match name.as_str() {
                name if TEXT.contains(&name) => value.is_string(),
                name if LISTS.contains(&name) => {
                    value.as_array().unwrap().iter().for_each(check);
                    true
                }
                _ => value.is_u64(),
            };
            assert!(is_right, "{name} in {object}");
        }
    }
    let broker = Broker::open().await;
    let policy = encode(r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":9}"#);
    call(&broker, "CreateQueue&queueName=dead").await;
    let mut answers = Vec::new();
    let create = format!("CreateQueue&queueName=q&clientRequestId=7&deadLetterPolicy={policy}");
    let change = format!("SetQueueAttributes&queueName=q&rewindSeconds=60&deadLetterPolicy={policy}");
    for form in [
        create.as_str(),
        "ListQueue",
        "GetQueueAttributes&queueName=q",
        change.as_str(),
        "ListDeadLetterSourceQueues&deadLetterQueueName=dead",
        "SendMessage&queueName=q&msgBody=m",
        "BatchSendMessage&queueName=q&msgBody.1=m&msgBody.2=m",
        "ReceiveMessage&queueName=q",
        "BatchReceiveMessage&queueName=q&numOfMsg=2",
    ] {
        answers.push(call(&broker, form).await);
    }
    assert_eq!(answers[0]["clientRequestId"], 7);
    let received = answers[7].clone();
    let handle = received["receiptHandle"].as_str().unwrap();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "%#:_-".contains(character);
    assert!((1..=256).contains(&handle.len()) && handle.chars().all(is_plain), "{handle}");
    let part = format!("Action=BatchDeleteMessage&queueName=q&receiptHandle.1=none&receiptHandle.2={handle}");
    answers.push(broker.post(&part).await);
    assert_eq!(answers.last().unwrap()["errorList"].as_array().unwrap().len(), 1);
    for form in ["UnbindDeadLetterQueue&queueName=q", "ClearQueue&queueName=q", "DeleteQueue&queueName=q"] {
        answers.push(call(&broker, form).await);
    }
    answers.iter().for_each(check);
}
