//! CMQ calls as ready-made requests, and the answers to them.

use crate::error::{Error, Result};
use crate::http::{self, Connection};
use crate::json;

/// Where CMQ calls go.
pub const PATH: &str = "/v2/index.php";

/// The content type of CMQ calls.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// Most messages in one batch call.
pub const BATCH_MESSAGES_MAX: usize = 16;

/// The code of a receive that found nothing.
const CODE_NO_MESSAGE: u64 = 7000;

/// The form of a call. Names and values must need no escaping; those of this crate are letters, digits, `-`
/// and `_`.
#[must_use]
pub fn form(action: &str, queue: &str, parameters: &[(&str, &str)]) -> String {
    let mut form = format!("Action={action}&queueName={queue}");
    for (name, value) in parameters {
        form.push('&');
        form.push_str(name);
        form.push('=');
        form.push_str(value);
    }
    form
}

/// A whole request for a call.
#[must_use]
pub fn request(action: &str, queue: &str, parameters: &[(&str, &str)]) -> Vec<u8> {
    http::post(PATH, FORM, form(action, queue, parameters).as_bytes())
}

/// A batch send of `count` bodies of `bytes` bytes each.
#[must_use]
pub fn batch_send(queue: &str, count: usize, bytes: usize, seed: u64) -> Vec<u8> {
    let names: Vec<String> = (1..=count).map(|i| format!("msgBody.{i}")).collect();
    let bodies: Vec<String> = (0..count as u64).map(|i| body(bytes, seed ^ (i << 32))).collect();
    let parameters: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(bodies.iter().map(String::as_str)).collect();
    request("BatchSendMessage", queue, &parameters)
}

/// A message body of `bytes` letters and digits, the same for the same seed; it does not compress well.
#[must_use]
pub fn body(bytes: usize, seed: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = crate::load::Random::new(seed);
    (0..bytes).map(|_| char::from(LETTERS[(random.next() >> 58) as usize])).collect()
}

/// Makes a call that must succeed and gives its answer.
///
/// # Errors
/// The connection fails, or the answer's code is not 0.
pub async fn call<'a>(
    connection: &'a mut Connection,
    action: &'static str,
    request: &[u8],
) -> Result<&'a [u8]> {
    let answer = connection.call(request).await?;
    match json::number(answer, "code") {
        Some(0) => Ok(answer),
        _ => Err(Error::refused(action, answer)),
    }
}

/// Makes a receive; `None` when there was no message, else the receipt handle.
///
/// # Errors
/// The connection fails, or the answer is neither a message nor "no message".
pub async fn receive<'a>(connection: &'a mut Connection, request: &[u8]) -> Result<Option<&'a [u8]>> {
    let answer = connection.call(request).await?;
    match json::number(answer, "code") {
        Some(0) => match json::field(answer, "receiptHandle") {
            Some(handle) if !handle.is_empty() => Ok(Some(handle)),
            _ => Err(Error::refused("ReceiveMessage", answer)),
        },
        Some(CODE_NO_MESSAGE) => Ok(None),
        _ => Err(Error::refused("ReceiveMessage", answer)),
    }
}

/// Creates a queue with default attributes.
///
/// # Errors
/// The connection fails or the call is refused.
pub async fn create_queue(connection: &mut Connection, queue: &str) -> Result<()> {
    call(connection, "CreateQueue", &request("CreateQueue", queue, &[])).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_form_with_its_length() {
        let request = String::from_utf8(request("SendMessage", "orders", &[("msgBody", "hello")])).unwrap();
        let (head, form) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v2/index.php HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", form.len())), "{head}");
        assert_eq!(form, "Action=SendMessage&queueName=orders&msgBody=hello");
    }

    #[test]
    fn a_batch_holds_its_bodies_numbered_from_one() {
        let request = String::from_utf8(batch_send("q", 16, 100, 1)).unwrap();
        let form = request.split_once("\r\n\r\n").unwrap().1;
        let bodies: Vec<(&str, &str)> =
            form.split('&').skip(2).map(|pair| pair.split_once('=').unwrap()).collect();
        assert_eq!(bodies.len(), 16);
        for (i, (name, value)) in bodies.iter().enumerate() {
            assert_eq!(*name, format!("msgBody.{}", i + 1));
            assert_eq!(value.len(), 100);
        }
        assert_ne!(bodies[0].1, bodies[1].1);
    }

    #[test]
    fn bodies_need_no_escaping_and_repeat_by_seed() {
        let one = body(1024, 7);
        assert_eq!(one.len(), 1024);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_eq!(one, body(1024, 7));
        assert_ne!(one, body(1024, 8));
    }
}
