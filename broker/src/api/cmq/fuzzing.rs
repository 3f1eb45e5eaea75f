//! CMQ calls: form text, every action, signatures, dead-letter policies.

use bytes::Bytes;

use super::action::SERVED;
use super::call::Call;
use super::{Head, Parameters, Request, dead_letter, percent};
use crate::access::{self, Access, AtValues, LENIENT, Policy};
use crate::fuzzing::{Target, texts, texts_as_seeds};
use crate::service::types::BATCH_MESSAGES_MAX;

pub(crate) const CALL: Target = Target { name: "cmq_call", run: call, seeds: || texts_as_seeds(&CALLS) };

pub(crate) const DEAD_LETTER_POLICY: Target =
    Target { name: "dead_letter_policy", run: dead_letter_policy, seeds: || texts_as_seeds(&POLICIES) };

pub(crate) const PERCENT: Target = Target {
    name: "percent",
    run: percent,
    seeds: || [&b"a+b%20c%2"[..], b"%e4%bd%a0%E5%A5%BD", b"plain", b"%%41%+"].map(<[u8]>::to_vec).into(),
};

/// Method, host, path, query, body.
const CALLS: [&str; 12] = [
    "POST\nmq.example:8080\n/v2/index.php\n\nAction=SendMessage&Nonce=12345&SecretId=AKIDexample&SignatureMethod=HmacSHA1&\
     Timestamp=1700000000&msgBody=hello%20world%20%26%20a%3Db%2Bc%20%E4%BD%A0%E5%A5%BD&queueName=orders&\
     Signature=XCgZzXsNoGpwjbztiAtCd9mAMDk%3D",
    "GET\nmq.example\n/v2/index.php\nAction=ReceiveMessage&Nonce=12345&SecretId=AKIDexample&Timestamp=1700000000&\
     pollingWaitSeconds=10&queueName=orders&Signature=pankXUC3Vl0xqZxv8J9w%2FGJF7dw%3D\n",
    "POST\nmq.example\n/v2/index.php\n\nAction=SendMessage&Nonce=12345&SecretId=AKIDexample&SignatureMethod=HmacSHA256&\
     Timestamp=1700000000&msgBody=%40home&queueName=orders&Signature=gHZjQCuz9BNTtO37GCfDTTg1qTRPdfbAzeVAhrDUHzg%3D",
    "POST\nmq\n/\n\nAction=CreateQueue&queueName=a-b_c1&maxMsgHeapNum=1000000&pollingWaitSeconds=30&visibilityTimeout=1&\
     maxMsgSize=1024&msgRetentionSeconds=60&rewindSeconds=0&deadLetterPolicy=%7B%22deadLetterQueue%22%3A%22d%22%2C\
     %22policy%22%3A0%2C%22maxReceiveCount%22%3A1%7D",
    "POST\nmq\n/\n\nAction=SetQueueAttributes&queueName=q&rewindSeconds=60&visibilityTimeout=43200",
    "POST\nmq\n/\n\nAction=RewindQueue&queueName=q&startConsumeTime=1700000000",
    "GET\nmq\n/\nAction=ListQueue&searchWord=or&offset=1&limit=50&clientRequestId=18446744073709551615\n",
    "POST\nmq\n/\n\nAction=BatchSendMessage&queueName=q&delaySeconds=3600&msgBody.0=a&msgBody.1=b&msgBody.2=%00",
    "POST\nmq\n/\n\nAction=BatchReceiveMessage&queueName=q&numOfMsg=16&pollingWaitSeconds=0&UserpollingWaitSeconds=1",
    "POST\nmq\n/\n\nAction=BatchDeleteMessageReq&queueName=q&receiptHandle.1=AQABAAAAAQ&receiptHandle.2=x",
    "POST\nmq\n/\n\nAction=DeleteMessage&queueName=q&receiptHandle=AQABAAAAAQ",
    "POST\nmq\n/\n\nAction=ListDeadLetterSourceQueues&deadLetterQueueName=q&offset =0&limit =20",
];

const POLICIES: [&str; 3] = [
    r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":1000}"#,
    r#"{"deadLetterQueue":"d","policy":"1","maxTimeToLive":"300","more":[1.5e300,null]}"#,
    r#"{"deadLetterQueue":"","policy":2}"#,
];

/// From who asks most of a caller to who asks nothing.
fn accesses() -> [Access; 3] {
    let covered = Policy { at_values: AtValues::Covered, ..LENIENT };
    let keys = || access::keys_of([("AKIDexample", "example-secret-key"), ("AKIDother", "other")]);
    [Access::signed(keys(), covered), Access::signed(keys(), LENIENT), Access::open()]
}

fn call(input: &[u8]) {
    let [method, host, path, query, body] = texts(input);
    let [Ok(method), Ok(host), Ok(path), Ok(query)] = [method, host, path, query].map(std::str::from_utf8)
    else {
        return;
    };
    let head = Head { method, host, path, now_s: 1_700_000_000 };
    let body = Bytes::copy_from_slice(body);
    let read = || Parameters::parse(query, &body);
    let Ok(parameters) = read() else { return };
    let bytes: usize = parameters.iter().map(|one| one.name.len() + one.value.len()).sum();
    assert!(bytes <= query.len() + body.len(), "decoding makes nothing longer");
    let mut allowed: Option<String> = None;
    for access in accesses() {
        let Ok(parameters) = read() else { return };
        let request = Request::read(7, &access, &head, parameters);
        let call = request.call.as_ref().map(|call| format!("{call:?}"));
        if let Some(allowed) = &allowed {
            assert_eq!(call.as_ref(), Ok(allowed), "who asks less allows the same call");
        }
        allowed = allowed.or(call.ok());
        assert!(!request.brings_messages() || request.action.is_some());
        if let Err(error) = &request.call {
            assert_ne!(error.code, 0, "{error:?}");
            let answer = super::refuse(7, error);
            let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("answers are JSON");
            assert_eq!(json["code"], error.code);
        }
    }
    for (action, _) in SERVED {
        let Ok(mut parameters) = read() else { return };
        match Call::read(action, &mut parameters) {
            Ok(Call::BatchReceiveMessage { max, .. }) => assert!((1..=BATCH_MESSAGES_MAX).contains(&max)),
            Ok(Call::BatchDeleteMessage { handles, .. }) => {
                assert!((1..=BATCH_MESSAGES_MAX).contains(&handles.len()));
            }
            Ok(_) => {}
            Err(error) => assert_ne!(error.code, 0, "{error:?}"),
        }
    }
}

fn dead_letter_policy(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok((queue, rule)) = dead_letter::read(text) {
        let again = dead_letter::write(&queue, rule);
        assert_eq!(dead_letter::read(&again), Ok((queue, rule)), "{again}");
    }
}

fn percent(input: &[u8]) {
    assert!(percent::decode(input).len() <= input.len());
    let encoded: String = input.iter().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(percent::decode(encoded.as_bytes()), input);
}
