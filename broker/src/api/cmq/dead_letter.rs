//! `deadLetterPolicy`: a JSON object, written as text in requests and answers.

use std::ops::RangeInclusive;

use cmq_engine::attributes::{DeadLetterRule, MAX_RECEIVE_COUNT, MAX_TIME_TO_LIVE_SECONDS};
use serde::{Deserialize, Serialize};

use super::error::Error;

/// What `policy` calls a rule by the number of receives.
const BY_RECEIVES: u32 = 0;
/// What `policy` calls a rule by age.
const BY_AGE: u32 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    dead_letter_queue: Option<String>,
    policy: Option<Number>,
    max_receive_count: Option<Number>,
    max_time_to_live: Option<Number>,
}

/// A number, or the text of one: callers assemble the policy by hand.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u32),
    Text(String),
}

impl Number {
    fn value(&self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// Reads a policy: the name of the dead-letter queue, and when a message moves there.
///
/// # Errors
/// It is no JSON object, lacks a part, or a number is outside its range.
pub(super) fn read(text: &str) -> Result<(String, DeadLetterRule), Error> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| Error::DEAD_LETTER_NOT_JSON)?;
    let text: Text = serde_json::from_value(object.into()).map_err(|_| Error::DEAD_LETTER_POLICY)?;
    let queue =
        text.dead_letter_queue.filter(|name| !name.is_empty()).ok_or(Error::DEAD_LETTER_QUEUE_LACKING)?;
    let rule = match text.policy.as_ref().and_then(Number::value) {
        Some(BY_RECEIVES) => DeadLetterRule::MaxReceiveCount(within(
            "maxReceiveCount",
            text.max_receive_count,
            &MAX_RECEIVE_COUNT,
        )?),
        Some(BY_AGE) => DeadLetterRule::MaxTimeToLiveSeconds(within(
            "maxTimeToLive",
            text.max_time_to_live,
            &MAX_TIME_TO_LIVE_SECONDS,
        )?),
        _ => return Err(Error::DEAD_LETTER_RULE),
    };
    Ok((queue, rule))
}

fn within(name: &str, number: Option<Number>, allowed: &RangeInclusive<u32>) -> Result<u32, Error> {
    let number = number.and_then(|number| number.value()).ok_or(Error::DEAD_LETTER_POLICY)?;
    if allowed.contains(&number) { Ok(number) } else { Err(Error::out_of_range(name, allowed)) }
}

/// Writes a policy as the text that callers read.
pub(super) fn write(queue: &str, rule: DeadLetterRule) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Text<'a> {
        dead_letter_queue: &'a str,
        policy: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_receive_count: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_time_to_live: Option<u32>,
    }
    let mut text = Text {
        dead_letter_queue: queue,
        policy: BY_RECEIVES,
        max_receive_count: None,
        max_time_to_live: None,
    };
    match rule {
        DeadLetterRule::MaxReceiveCount(count) => text.max_receive_count = Some(count),
        DeadLetterRule::MaxTimeToLiveSeconds(seconds) => {
            text.policy = BY_AGE;
            text.max_time_to_live = Some(seconds);
        }
    }
    serde_json::to_string(&text).expect("text and numbers are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for rule in [DeadLetterRule::MaxReceiveCount(1000), DeadLetterRule::MaxTimeToLiveSeconds(300)] {
            let text = write("dead", rule);
            assert_eq!(read(&text), Ok(("dead".to_owned(), rule)), "{text}");
        }
        assert_eq!(
            write("dead", DeadLetterRule::MaxReceiveCount(3)),
            r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":3}"#
        );
    }

    #[test]
    fn numbers_may_be_text() {
        let read = read(r#"{"deadLetterQueue":"d","policy":"0","maxReceiveCount":"5","more":1}"#);
        assert_eq!(read, Ok(("d".to_owned(), DeadLetterRule::MaxReceiveCount(5))));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, error) in [
            ("nonsense", Error::DEAD_LETTER_NOT_JSON),
            ("[]", Error::DEAD_LETTER_NOT_JSON),
            ("{}", Error::DEAD_LETTER_QUEUE_LACKING),
            (r#"{"deadLetterQueue":"","policy":0}"#, Error::DEAD_LETTER_QUEUE_LACKING),
            (r#"{"deadLetterQueue":7,"policy":0}"#, Error::DEAD_LETTER_POLICY),
            (r#"{"deadLetterQueue":"d"}"#, Error::DEAD_LETTER_RULE),
            (r#"{"deadLetterQueue":"d","policy":2}"#, Error::DEAD_LETTER_RULE),
            (r#"{"deadLetterQueue":"d","policy":0}"#, Error::DEAD_LETTER_POLICY),
            (r#"{"deadLetterQueue":"d","policy":1,"maxReceiveCount":1}"#, Error::DEAD_LETTER_POLICY),
            (
                r#"{"deadLetterQueue":"d","policy":0,"maxReceiveCount":0}"#,
                Error::out_of_range("maxReceiveCount", &(1..=1_000)),
            ),
            (
                r#"{"deadLetterQueue":"d","policy":0,"maxReceiveCount":1001}"#,
                Error::out_of_range("maxReceiveCount", &(1..=1_000)),
            ),
            (
                r#"{"deadLetterQueue":"d","policy":1,"maxTimeToLive":299}"#,
                Error::out_of_range("maxTimeToLive", &(300..=43_200)),
            ),
            (
                r#"{"deadLetterQueue":"d","policy":1,"maxTimeToLive":43201}"#,
                Error::out_of_range("maxTimeToLive", &(300..=43_200)),
            ),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
    }
}
