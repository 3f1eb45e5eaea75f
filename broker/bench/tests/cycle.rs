//! The calls of a cycle, against a server that answers from a script.

#![allow(clippy::unwrap_used, reason = "in a test a failure may panic")]

use cmq_bench::http::Connection;
use cmq_bench::work::{Cycle, Work};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SENT: &str = r#"{"code":0,"message":"","requestId":"1","clientRequestId":0,"msgId":"5"}"#;
const NO_MESSAGE: &str = r#"{"code":7000,"message":"(10200)no message","requestId":"2","clientRequestId":0}"#;
const RECEIVED: &str = r#"{"code":0,"message":"","requestId":"3","clientRequestId":0,"msgId":"4",
    "receiptHandle":"AQ-_x","msgBody":"\"receiptHandle\":\"no\"","dequeueCount":1}"#;
const DELETED: &str = r#"{"code":0,"message":"","requestId":"4","clientRequestId":0}"#;
const BAD_HANDLE: &str = r#"{"code":4430,"message":"(10260)receipt handle is invalid","requestId":"5"}"#;

/// Runs one cycle against the answers; gives its result and the forms of the requests.
async fn cycle(answers: &'static [&'static str]) -> (Result<u64, String>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut forms = Vec::new();
        for answer in answers {
            forms.push(form(&mut stream).await);
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
            stream.write_all(text.as_bytes()).await.unwrap();
        }
        forms
    };
    let client = async move {
        let mut connection = Connection::open(address).await.unwrap();
        Cycle::new("orders", 40, 1).run(&mut connection).await.map_err(|error| error.to_string())
    };
    tokio::join!(client, server)
}

/// The form of the next request.
async fn form(stream: &mut tokio::net::TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "the client left in the middle of {text:?}");
        text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        let Some((head, form)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("POST /v2/index.php HTTP/1.1\r\n"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        if form.len() == length.parse::<usize>().unwrap() {
            return form.into();
        }
    }
}

#[tokio::test]
async fn a_cycle_deletes_what_it_received() {
    let (moved, forms) = cycle(&[SENT, RECEIVED, DELETED]).await;
    assert_eq!(moved, Ok(1));
    assert!(forms[0].starts_with("Action=SendMessage&queueName=orders&msgBody="), "{}", forms[0]);
    assert_eq!(forms[1], "Action=ReceiveMessage&queueName=orders&pollingWaitSeconds=0");
    assert_eq!(forms[2], "Action=DeleteMessage&queueName=orders&receiptHandle=AQ-_x");
}

#[tokio::test]
async fn an_empty_receive_is_made_again() {
    let (moved, forms) = cycle(&[SENT, NO_MESSAGE, NO_MESSAGE, RECEIVED, DELETED]).await;
    assert_eq!(moved, Ok(1));
    assert_eq!(forms[1], forms[2]);
    assert_eq!(forms[2], forms[3]);
}

#[tokio::test]
async fn a_refused_call_fails_the_cycle_and_names_itself() {
    let (moved, _) = cycle(&[SENT, RECEIVED, BAD_HANDLE]).await;
    let error = moved.unwrap_err();
    assert!(error.contains("DeleteMessage") && error.contains("4430"), "{error}");
    let (moved, _) = cycle(&[BAD_HANDLE]).await;
    assert!(moved.unwrap_err().contains("SendMessage"));
    let (moved, _) = cycle(&[SENT, DELETED]).await;
    let error = moved.unwrap_err();
    assert!(error.contains("ReceiveMessage"), "a message without a handle is no message: {error}");
}
