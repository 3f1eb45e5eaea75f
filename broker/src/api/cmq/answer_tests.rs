//! Answers as clients read them, to the byte.

use bytes::Bytes;
use cmq_engine::attributes::{DeadLetterPolicy, DeadLetterRule, QueueAttributes};
use serde_json::Value;

use super::*;
use crate::service::types::{QueueCounts, QueueSummary, ServiceError};

const IDS: Ids = Ids { request: 39_410_804_591_689_893, client_request: 7 };

fn check(outcome: &Outcome, fields: &str) {
    let head = r#"{"code":0,"message":"","requestId":"39410804591689893","clientRequestId":7"#;
    assert_eq!(super::outcome(IDS, outcome), format!("{head}{fields}}}"), "{outcome:?}");
}

fn message(id: u64, body: &str) -> ReceivedMessage {
    ReceivedMessage {
        id: MessageId(id),
        receipt_handle: format!("h-{id}"),
        body: Bytes::copy_from_slice(body.as_bytes()),
        sent_ms: 1_700_000_000_999,
        first_received_ms: 1_700_000_001_000,
        visible_again_ms: 1_700_000_031_001,
        receive_count: 1,
    }
}

#[test]
fn an_empty_receive_is_what_the_service_sent() {
    assert_eq!(
        refusal(Ids { client_request: 0, ..IDS }, &Error::NO_MESSAGE),
        r#"{"code":7000,"message":"(10200)no message","requestId":"39410804591689893","clientRequestId":0}"#
    );
}

#[test]
fn management() {
    check(&Outcome::Done, "");
    check(&Outcome::QueueCreated(QueueId(26)), r#","queueId":"queue-0000001a""#);
    check(&Outcome::Queues(QueuePage { total: 0, queues: vec![] }), r#","totalCount":0,"queueList":[]"#);
    let row = |id, name: &str| QueueSummary { id: QueueId(id), name: name.to_owned() };
    check(
        &Outcome::Queues(QueuePage { total: 9, queues: vec![row(1, "a"), row(2, "b")] }),
        r#","totalCount":9,"queueList":[{"queueId":"queue-00000001","queueName":"a"},{"queueId":"queue-00000002","queueName":"b"}]"#,
    );
}

fn description() -> QueueDescription {
    QueueDescription {
        id: QueueId(3),
        name: "orders".to_owned(),
        attributes: QueueAttributes { rewind_seconds: 60, ..QueueAttributes::default() },
        dead_letter_queue: None,
        created_ms: 1_700_000_000_500,
        modified_ms: 1_700_000_009_500,
        counts: QueueCounts { active: 1, in_flight: 2, delayed: 3, rewindable: 4, oldest_ms: None },
    }
}

#[test]
fn attributes() {
    let numbers = r#","queueId":"queue-00000003","queueName":"orders","maxMsgHeapNum":100000000,"pollingWaitSeconds":0,"visibilityTimeout":30,"maxMsgSize":1048576,"msgRetentionSeconds":345600,"rewindSeconds":60,"createTime":1700000000,"lastModifyTime":1700000009,"activeMsgNum":1,"inactiveMsgNum":2,"delayMsgNum":3,"rewindmsgNum":4,"rewindMsgNum":4,"minMsgTime":0"#;
    check(&Outcome::Queue(Box::new(description())), numbers);

    let mut bound = description();
    let rule = DeadLetterRule::MaxTimeToLiveSeconds(300);
    bound.attributes.dead_letter = Some(DeadLetterPolicy { queue: QueueId(9), rule });
    bound.dead_letter_queue = Some("dead".to_owned());
    bound.counts.oldest_ms = Some(1_700_000_005_000);
    let fields = format!(
        "{}{}",
        numbers.replace(r#""minMsgTime":0"#, r#""minMsgTime":1700000005"#),
        r#","deadLetterPolicy":"{\"deadLetterQueue\":\"dead\",\"policy\":1,\"maxTimeToLive\":300}""#
    );
    check(&Outcome::Queue(Box::new(bound)), &fields);
}

#[test]
fn messages() {
    check(&Outcome::Sent(MessageId(u64::MAX >> 1)), r#","msgId":"9223372036854775807""#);
    check(
        &Outcome::SentBatch(vec![MessageId(1), MessageId(2)]),
        r#","msgList":[{"msgId":"1"},{"msgId":"2"}]"#,
    );
    let fields = r#""msgId":"5","receiptHandle":"h-5","msgBody":"a \"b\"\r\n\\ \u0001 你好","enqueueTime":1700000000,"firstDequeueTime":1700000001,"nextVisibleTime":1700000031,"dequeueCount":1"#;
    let body = "a \"b\"\r\n\\ \u{1} 你好";
    check(&Outcome::Received(message(5, body)), &format!(",{fields}"));
    check(&Outcome::ReceivedBatch(vec![message(5, body)]), &format!(r#","msgInfoList":[{{{fields}}}]"#));
}

#[test]
fn batches_that_failed_in_part() {
    let stale = Error::from(ServiceError::HandleStale);
    let outcome =
        Outcome::NotDeleted { error: Error::DELETE_PARTLY_FAILED, failures: vec![("h-1".to_owned(), stale)] };
    assert_eq!(
        super::outcome(IDS, &outcome),
        r#"{"code":6010,"message":"(10150)delete message partially failed","requestId":"39410804591689893","clientRequestId":7,"errorList":[{"code":4430,"message":"(10260)receipt handle is invalid","receiptHandle":"h-1"}]}"#
    );
}

/// Whatever a body holds, the answer is JSON and the body comes back.
#[test]
fn every_character_comes_back() {
    let all: String = (0..=0x2_ffff).filter_map(char::from_u32).collect();
    let answer = super::outcome(IDS, &Outcome::Received(message(1, &all)));
    let read: Value = serde_json::from_slice(&answer).unwrap();
    assert!(read["msgBody"] == all.as_str());
}

#[test]
fn a_body_that_is_no_text_does_no_harm() {
    let mut damaged = message(1, "");
    damaged.body = Bytes::from_static(&[b'a', 0xff]);
    let read: Value = serde_json::from_slice(&super::outcome(IDS, &Outcome::Received(damaged))).unwrap();
    assert_eq!(read["msgBody"], "a\u{fffd}");
}
