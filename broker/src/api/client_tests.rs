//! The client port over a whole broker of one replica, spoken to as clients speak: bytes on a socket.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::access::{self, Policy};
use crate::api::http::limits::BODY_BYTES_MAX;
use crate::api::testing::{Broker, SOON, Setup, encode, object};

const OK: &str = "0 ";

#[tokio::test]
async fn a_queue_from_its_making_to_its_end() {
    let broker = Broker::open().await;
    let made = broker.post("Action=CreateQueue&queueName=orders&clientRequestId=18446744073709551615").await;
    assert_eq!(made["code"], 0, "{made}");
    assert_eq!(made["clientRequestId"], u64::MAX);
    let id = made["queueId"].as_str().unwrap();
    assert!(id.starts_with("queue-"), "{made}");
    assert_eq!(
        broker.said("Action=createqueue&queueName=Orders").await,
        "4000 (4460)queue is already existed,case insensitive"
    );
    assert_eq!(
        broker.said("Action=GetQueueAttributes&queueName=Orders").await,
        "4440 (10100)queue is not existed, or deleted"
    );

    let list = broker.post("Action=ListQueue&searchWord=rder").await;
    assert_eq!(list["totalCount"], 1);
    assert_eq!(list["queueList"], serde_json::json!([{ "queueId": id, "queueName": "orders" }]));

    let attributes = broker.post("Action=GetQueueAttributes&queueName=orders").await;
    for (name, value) in [
        ("maxMsgHeapNum", 100_000_000),
        ("pollingWaitSeconds", 0),
        ("visibilityTimeout", 30),
        ("maxMsgSize", 65_536),
        ("msgRetentionSeconds", 345_600),
        ("rewindSeconds", 0),
        ("activeMsgNum", 0),
        ("inactiveMsgNum", 0),
        ("delayMsgNum", 0),
        ("rewindmsgNum", 0),
        ("rewindMsgNum", 0),
        ("minMsgTime", 0),
    ] {
        assert_eq!(attributes[name], value, "{attributes}");
    }
    assert!(attributes["createTime"].as_u64().unwrap() > 1_600_000_000, "{attributes}");

    assert_eq!(broker.said("Action=DeleteQueue&queueName=orders").await, OK);
    assert_eq!(
        broker.said("Action=DeleteQueue&queueName=orders").await,
        "4440 (10100)queue is not existed, or deleted"
    );
}

#[tokio::test]
async fn messages_come_back_as_they_were_sent() {
    let broker = Broker::open().await;
    broker.post("Action=CreateQueue&queueName=q").await;
    for body in ["plain", "a&b=c+d%20e", " \r\n\t", "你好 \u{1f980}", "@home", "\"\\\u{1}", "%", "100%25"] {
        let form = format!("Action=SendMessage&queueName=q&msgBody={}", encode(body));
        let sent = if body.len() % 2 == 0 {
            broker.post(&form).await
        } else {
            broker.get(&format!("/v2/index.php?{form}")).await
        };
        assert_eq!(sent["code"], 0, "{sent}");
        let received = broker.post("Action=ReceiveMessage&queueName=q&pollingWaitSeconds=0").await;
        assert_eq!(received["msgBody"], body);
        assert_eq!(received["msgId"], sent["msgId"]);
        assert_eq!(received["dequeueCount"], 1);
        assert_eq!(
            received["enqueueTime"].as_u64().unwrap() / 100_000,
            received["firstDequeueTime"].as_u64().unwrap() / 100_000
        );
        assert!(received["nextVisibleTime"].as_u64() > received["firstDequeueTime"].as_u64(), "{received}");
        let delete = format!(
            "Action=DeleteMessage&queueName=q&receiptHandle={}",
            received["receiptHandle"].as_str().unwrap()
        );
        assert_eq!(broker.said(&delete).await, OK);
        assert_eq!(broker.said(&delete).await, "4430 (10260)receipt handle is invalid");
    }
}

#[tokio::test]
async fn batches() {
    let broker = Broker::open().await;
    broker.post("Action=CreateQueue&queueName=q").await;
    let bodies: String = (0..16).map(|number| format!("&msgBody.{number}=m{number}")).collect();
    let sent = broker.post(&format!("Action=BatchSendMessage&queueName=q{bodies}")).await;
    assert_eq!(sent["msgList"].as_array().unwrap().len(), 16, "{sent}");
    let received = broker.post("Action=BatchReceiveMessage&queueName=q&numOfMsg=16").await;
    let messages = received["msgInfoList"].as_array().unwrap();
    assert_eq!(messages.len(), 16, "{received}");
    for (number, (message, sent)) in messages.iter().zip(sent["msgList"].as_array().unwrap()).enumerate() {
        assert_eq!(message["msgBody"], format!("m{number}"));
        assert_eq!(message["msgId"], sent["msgId"]);
    }
    let handle = |number: usize| messages[number]["receiptHandle"].as_str().unwrap();
    let delete = |handles: &[&str]| {
        let handles: String =
            handles.iter().enumerate().map(|(at, handle)| format!("&receiptHandle.{at}={handle}")).collect();
        format!("Action=BatchDeleteMessage&queueName=q{handles}")
    };
    let all_good = broker.post(&delete(&[handle(0), handle(1)])).await;
    assert_eq!(all_good["code"], 0, "{all_good}");
    assert!(all_good.get("errorList").is_none(), "{all_good}");
    let part = broker.post(&delete(&[handle(2), "bad", handle(3)])).await;
    assert_eq!(
        (&part["code"], &part["message"]),
        (&6010.into(), &"(10150)delete message partially failed".into())
    );
    let failure = serde_json::json!([
        { "code": 4430, "message": "(10260)receipt handle is invalid", "receiptHandle": "bad" }
    ]);
    assert_eq!(part["errorList"], failure);
    assert_eq!(broker.said(&delete(&["bad", "worse"])).await, "6020 (10290)batch delete message failed");
}

#[tokio::test]
async fn limits_of_a_queue() {
    let broker = Broker::open().await;
    broker.post("Action=CreateQueue&queueName=q&maxMsgSize=1024").await;
    let send = |bytes: usize| format!("Action=SendMessage&queueName=q&msgBody={}", "x".repeat(bytes));
    assert_eq!(broker.said(&send(1024)).await, OK);
    assert_eq!(
        broker.said(&send(1025)).await,
        "4400 (10230)exceed maximum message size: the queue allows 1024 bytes"
    );
    assert_eq!(
        broker.said("Action=SendMessage&queueName=none&msgBody=m").await,
        "4440 (10100)queue is not existed, or deleted"
    );
}

#[tokio::test]
async fn an_empty_receive_waits_as_long_as_asked_and_no_longer_than_needed() {
    let broker = Broker::open().await;
    broker.post("Action=CreateQueue&queueName=q").await;
    let started = Instant::now();
    let receive = "Action=ReceiveMessage&queueName=q&pollingWaitSeconds=1";
    assert_eq!(broker.said(receive).await, "7000 (10200)no message");
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(1), "{waited:?}");

    let started = Instant::now();
    let (received, ()) =
        tokio::join!(broker.post("Action=ReceiveMessage&queueName=q&pollingWaitSeconds=30000"), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(broker.said("Action=SendMessage&queueName=q&msgBody=wake").await, OK);
        });
    assert_eq!(received["msgBody"], "wake");
    assert!(started.elapsed() < Duration::from_secs(25));
}

#[tokio::test]
async fn requests_as_real_clients_send_them() {
    let broker = Broker::open().await;
    let post = |path: &str, headers: &str, form: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: mq.example\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{form}",
            form.len()
        )
    };
    let form = "Action=ListQueue&limit+=5&offset+=0&routingKey=";
    for request in [
        post("/v2/index.php", "", form),
        post("/", "", form),
        post("/v2/index.php", "content-type: text/json\r\n", form),
        post("/v2/index.php", "content-type: */*;charset=utf-8\r\n", form),
        post("/v2/index.php?Action=ListQueue", "", ""),
        format!(
            "GET /v2/index.php/v2/index.php?{form} HTTP/1.1\r\nhost: mq.example\r\nconnection: close\r\n\r\n"
        ),
        format!("GET /?{form} HTTP/1.0\r\n\r\n"),
        "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         7\r\nAction=\r\n9\r\nListQueue\r\n0\r\n\r\n"
            .to_owned(),
    ] {
        let answer = broker.raw(request.as_bytes()).await.replacen("HTTP/1.0", "HTTP/1.1", 1);
        assert_eq!(object(&answer)["totalCount"], 0, "{request}\n{answer}");
    }
}

#[tokio::test]
async fn expectations_are_met() {
    let broker = Broker::open().await;
    let mut stream = TcpStream::connect(broker.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 16\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    timeout(SOON, stream.read_exact(&mut go_on)).await.unwrap().unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"Action=ListQueue").await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(object(&answer)["code"], 0);

    let head = head.replace("16", "9000000");
    let answer = broker.raw(head.as_bytes()).await;
    assert_eq!(object(&answer)["code"], 4000, "refused without the body");
}

#[tokio::test]
async fn requests_that_break_a_rule() {
    let broker = Broker::open().await;
    for (form, said) in [
        ("", "4000 (10280)action is not existed"),
        ("Action=", "4000 (10280)action is not existed"),
        ("Action=Fly", "4000 (10430)action name Fly is not existed"),
        (
            "Action=publishmessage&topicName=t",
            "4000 (10430)action name PublishMessage is not existed: this broker does not serve it yet",
        ),
        ("Action=ListQueue&Timestamp=now", "4000 (10360)parameter Timestamp error type"),
        (
            "Action=ListQueue&Nonce=-1",
            "4000 (10350)parameter Nonce value or length is out of range: 0 and more is allowed",
        ),
        ("Action=ListQueue&clientRequestId=x", "4000 (10360)parameter clientRequestId error type"),
        ("Action=ListQueue&Action=ListQueue", "4000 (10330)parameter Action is NOT a repeatable parameter"),
    ] {
        assert_eq!(broker.said(form).await, said, "{form}");
    }
    let put = "PUT /v2/index.php HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let answer = object(&broker.raw(put.as_bytes()).await);
    assert_eq!(answer["message"], "(10410)unexpected http PUT only GET or POST is supported");

    let too_large = format!("Action=SendMessage&queueName=q&msgBody={}", "x".repeat(BODY_BYTES_MAX));
    assert_eq!(
        broker.said(&too_large).await,
        "4000 (10420)cannot parse body, or request size is more than 1MB",
        "its sender writes all of it before it looks for an answer"
    );
}

#[tokio::test]
async fn what_is_not_cmq() {
    let broker = Broker::open().await;
    let target = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-amz-target: AmazonSQS.ListQueues\r\n\
                  content-length: 2\r\n\r\n{}";
    let json = broker.raw(target.as_bytes()).await;
    assert!(
        json.starts_with("HTTP/1.1 400 ") && json.contains("com.amazonaws.sqs#UnsupportedOperation"),
        "{json}"
    );
    assert!(
        json.contains("x-amzn-query-error: AWS.SimpleQueueService.UnsupportedOperation;Sender\r\n"),
        "{json}"
    );
    let query = "GET /?Action=ListQueues&Version=2012-11-05 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let xml = broker.raw(query.as_bytes()).await;
    assert!(xml.starts_with("HTTP/1.1 400 ") && xml.contains("<Code>AWS.SimpleQueueService."), "{xml}");
    let stray = broker.raw(b"GET /favicon.ico HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(stray.starts_with("HTTP/1.1 404 "), "{stray}");
}

#[tokio::test]
async fn signatures_are_asked_for_when_there_are_keys() {
    let access = access::with_keys([("AKIDexample", "example-secret-key")]);
    let broker = Broker::start(Setup { access, ..Setup::default() }).await;
    assert_eq!(
        broker.said("Action=CreateQueue&queueName=q").await,
        "4000 (10390)lacked of required parameter SecretId"
    );
    // The third vector of the protocol's reference, with a signature that is right, then one that is not.
    let target = "/v2/index.php?Action=ReceiveMessage&Nonce=12345&SecretId=AKIDexample&Timestamp=1700000000\
                  &pollingWaitSeconds=10&queueName=orders&Signature=pankXUC3Vl0xqZxv8J9w%2FGJF7dw%3D";
    assert_eq!(broker.get(target).await["message"], "(10100)queue is not existed, or deleted");
    let forged = broker.get(&target.replace("orders", "others")).await;
    assert_eq!((&forged["code"], &forged["message"]), (&4100.into(), &"(10030)authentication failed".into()));
}

/// Signs a form for the test's key and host, with the time stamp and nonce that it holds.
fn signed(form: &str) -> String {
    use base64::Engine;
    use hmac::Mac;
    let mut parameters: Vec<&str> = form.split('&').collect();
    parameters.sort_unstable();
    let text = format!("POSTmq.example/v2/index.php?{}", parameters.join("&"));
    let keys = access::keys_of([("AKIDexample", "example-secret-key")]);
    let mac = keys.find("AKIDexample").unwrap().secret.hmac_sha1().chain_update(text).finalize();
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.into_bytes());
    format!("{form}&Signature={}", encode(&signature))
}

#[tokio::test]
async fn signed_calls_have_their_time_and_count_once() {
    let policy = Policy { clock_skew_seconds: Some(300), replay_guard: true, ..access::LENIENT };
    let access = Access::signed(access::keys_of([("AKIDexample", "example-secret-key")]), policy);
    let broker = Broker::start(Setup { access: access.clone(), ..Setup::default() }).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let call = |action: &str, nonce: u32, time: u64| {
        signed(&format!("Action={action}&Nonce={nonce}&SecretId=AKIDexample&Timestamp={time}&queueName=q"))
    };
    let repeated = "4100 (10030)authentication failed: the same request was accepted before; sign a repetition anew, \
                    with another Nonce";
    let send = |nonce| call("SendMessage&msgBody=hello", nonce, now);

    // Making a queue again, or looking again, does no harm.
    for _ in 0..2 {
        let create = broker.said(&call("CreateQueue", 1, now)).await;
        assert!(create == OK || create.contains("is already existed"), "{create}");
        assert_eq!(broker.said(&call("GetQueueAttributes", 1, now)).await, OK);
    }
    assert_eq!(broker.said(&send(1)).await, OK);
    assert_eq!(broker.said(&send(1)).await, repeated);
    assert_eq!(broker.said(&send(2)).await, OK);
    assert_eq!(access.guard_figures().unwrap().signatures, 2);
    // Equal receives in one second are two receives.
    for _ in 0..2 {
        assert_eq!(broker.said(&call("ReceiveMessage", 3, now)).await, OK);
    }
    // A call that is refused for what it asks was not accepted.
    let malformed = call("SendMessage", 4, now);
    for _ in 0..2 {
        assert_eq!(broker.said(&malformed).await, "4000 (10390)lacked of required parameter msgBody");
    }
    assert_eq!(broker.said(&call("DeleteQueue", 5, now)).await, OK);
    assert_eq!(broker.said(&call("DeleteQueue", 5, now)).await, repeated);
    for (time, side) in [(now - 1_000, "behind"), (now + 1_000, "ahead of")] {
        let said = broker.said(&call("ListQueue", 6, time)).await;
        assert!(
            said.starts_with(&format!("4100 (10030)authentication failed: Timestamp {time} is ")),
            "{said}"
        );
        assert!(said.contains(&format!("seconds {side} the broker's clock, which says 1")), "{said}");
        assert!(said.ends_with("; at most 300 are allowed"), "{said}");
    }
}

#[tokio::test]
async fn overload_is_an_error_to_be_repeated() {
    let broker =
        Broker::start(Setup { limits: Limits { body_bytes: 100, ..Limits::default() }, ..Setup::default() })
            .await;
    let form = format!("Action=SendMessage&queueName=q&msgBody={}", "x".repeat(100));
    assert_eq!(
        broker.said(&form).await,
        "6000 (10050)server internal error: the broker is busy: bodies on their way; retry"
    );
    assert_eq!(broker.said("Action=CreateQueue&queueName=q").await, OK);
}

#[tokio::test]
async fn the_stop_answers_long_polls_at_once() {
    let broker = Broker::open().await;
    broker.post("Action=CreateQueue&queueName=q").await;
    let mut polling = TcpStream::connect(broker.address).await.unwrap();
    let form = "Action=ReceiveMessage&queueName=q&pollingWaitSeconds=30";
    let request = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{form}", form.len());
    polling.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;

    let started = Instant::now();
    broker.stop.send_replace(true);
    broker.node.end().await;
    timeout(SOON, broker.serving).await.expect("the port should end").unwrap();
    let mut answer = String::new();
    timeout(SOON, polling.read_to_string(&mut answer)).await.unwrap().unwrap();
    let answer = object(&answer);
    assert!([7000, 6000].map(Value::from).contains(&answer["code"]), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(20));
}
