//! The parameters behind the question mark, each checked.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use cmq_engine::browse::Visited;
use hyper::StatusCode;

use super::error::{ApiError, shortened};
use crate::service::operator::{BodyPart, MessageQuery, PAGE_MESSAGES_MAX, PAGE_QUEUES_MAX};
use crate::service::reference::Cursor;
use crate::service::types::MessageId;

/// Characters of a text that is searched for.
const TEXT_MAX: usize = 256;
/// Characters of a message group.
const GROUP_MAX: usize = 128;
/// Bytes of a body that `body=prefix` may show.
const PREFIX_BYTES: RangeInclusive<usize> = 1..=4_096;
/// Bytes of a body that `body=prefix` shows when `prefix` does not say.
const PREFIX_BYTES_DEFAULT: usize = 256;
/// Entries of a page when `limit` does not say.
const LIMIT_DEFAULT: usize = 20;
/// Times below this would be in 1973; whoever sends them means seconds.
const UNIX_MS_MIN: u64 = 100_000_000_000;

/// Which queues are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueueList {
    pub(super) search: String,
    pub(super) after: Option<String>,
    pub(super) limit: usize,
}

/// The parameters of a call, each at most once.
struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    fn parse(query: &'a str, names: &[&str]) -> Result<Self, ApiError> {
        let mut found: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let message = if !names.contains(&&*name) {
                format!("unknown parameter {}", shortened(&name))
            } else if found.iter().any(|(known, _)| *known == name) {
                format!("parameter {name} comes twice")
            } else {
                found.push((name, value));
                continue;
            };
            let error = ApiError::new(StatusCode::BAD_REQUEST, "invalid_parameter", message);
            return Err(error.allowing(if names.is_empty() { "none".into() } else { names.join(", ") }));
        }
        Ok(Self(found))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let is_plain = value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse() {
            Ok(number) if is_plain && range.contains(&number) => Ok(Some(number)),
            _ => {
                let allowed = format!("a whole number from {} to {}", range.start(), range.end());
                Err(ApiError::parameter(name, value, allowed))
            }
        }
    }

    fn limit(&self, max: usize) -> Result<usize, ApiError> {
        Ok(self.number("limit", 1..=max as u64)?.map_or(LIMIT_DEFAULT, |limit| limit as usize))
    }

    fn text(&self, name: &str, max: usize) -> Result<Option<String>, ApiError> {
        match self.get(name) {
            Some(value) if value.is_empty() || value.chars().count() > max => {
                Err(ApiError::parameter(name, value, format!("1 to {max} characters")))
            }
            value => Ok(value.map(str::to_owned)),
        }
    }

    fn time(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let time = self.number(name, 0..=u64::MAX >> 1)?;
        match time.filter(|time| (1..UNIX_MS_MIN).contains(time)) {
            Some(_) => {
                let allowed = "Unix time in milliseconds, as sentMs of a message";
                Err(ApiError::parameter(name, self.get(name).unwrap_or_default(), allowed))
            }
            None => Ok(time),
        }
    }
}

/// Refuses every parameter.
pub(super) fn none(query: &str) -> Result<(), ApiError> {
    Parameters::parse(query, &[]).map(|_| ())
}

pub(super) fn queues(query: &str) -> Result<QueueList, ApiError> {
    let parameters = Parameters::parse(query, &["search", "cursor", "limit"])?;
    let after = match parameters.get("cursor") {
        None => None,
        Some(cursor) => Some(
            super::answer::queue_cursor(cursor)
                .ok_or_else(|| ApiError::parameter("cursor", cursor, "the cursor of the page before"))?,
        ),
    };
    Ok(QueueList {
        search: parameters.text("search", TEXT_MAX)?.unwrap_or_default(),
        after,
        limit: parameters.limit(PAGE_QUEUES_MAX)?,
    })
}

/// The query of a listing; `shows_bodies` says whether bodies may be looked at.
pub(super) fn messages(query: &str, shows_bodies: bool) -> Result<MessageQuery, ApiError> {
    const NAMES: &[&str] = &[
        "state",
        "limit",
        "cursor",
        "sent_after",
        "sent_before",
        "min_receives",
        "id",
        "group",
        "contains",
        "body",
        "prefix",
    ];
    let parameters = Parameters::parse(query, NAMES)?;
    let nothing = Visited { ready: false, in_flight: false, delayed: false };
    let visited = match parameters.get("state").unwrap_or("any") {
        "any" => Visited { ready: true, in_flight: true, delayed: true },
        "ready" => Visited { ready: true, ..nothing },
        "in_flight" => Visited { in_flight: true, ..nothing },
        "delayed" => Visited { delayed: true, ..nothing },
        other => return Err(ApiError::parameter("state", other, "any, ready, in_flight, delayed")),
    };
    let cursor = match parameters.get("cursor") {
        None => None,
        Some(text) => Some(
            Cursor::decode(text)
                .ok_or_else(|| ApiError::parameter("cursor", text, "the cursor of the page before"))?,
        ),
    };
    let prefix = parameters.number("prefix", *PREFIX_BYTES.start() as u64..=*PREFIX_BYTES.end() as u64)?;
    let body = match parameters.get("body").unwrap_or("none") {
        "none" => BodyPart::None,
        "prefix" => BodyPart::Prefix(prefix.map_or(PREFIX_BYTES_DEFAULT, |bytes| bytes as usize)),
        "full" => BodyPart::Whole,
        other => return Err(ApiError::parameter("body", other, "none, prefix, full")),
    };
    let contains = parameters.text("contains", TEXT_MAX)?;
    if !shows_bodies && (body != BodyPart::None || contains.is_some()) {
        let message = "this broker does not show bodies (--admin-bodies off)";
        return Err(
            ApiError::new(StatusCode::FORBIDDEN, "bodies_off", message).allowing("body=none, no contains")
        );
    }
    Ok(MessageQuery {
        visited,
        limit: parameters.limit(PAGE_MESSAGES_MAX)?,
        cursor,
        sent_after_ms: parameters.time("sent_after")?,
        sent_before_ms: parameters.time("sent_before")?,
        min_receives: parameters.number("min_receives", 0..=u64::from(u32::MAX))?.unwrap_or(0) as u32,
        id: parameters.number("id", 0..=u64::MAX >> 1)?.map(MessageId),
        group: parameters.text("group", GROUP_MAX)?,
        contains,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_has_its_bounds() {
        let refused = |query: &str| {
            let error = messages(query, true).unwrap_err();
            assert_eq!((error.status, error.code), (StatusCode::BAD_REQUEST, "invalid_parameter"), "{query}");
            (error.message, error.allowed.unwrap())
        };
        assert_eq!(
            refused("state=gone"),
            ("state=gone is not allowed".into(), "any, ready, in_flight, delayed".into())
        );
        assert_eq!(refused("limit=0").1, "a whole number from 1 to 100");
        for query in [
            "limit=101",
            "limit=",
            "limit=+5",
            "limit=5&limit=6",
            "cursor=x",
            "sent_after=1700000000",
            "sent_before=x",
            "min_receives=-1",
            "id=9223372036854775808",
            "group=",
            "contains=",
            "body=all",
            "prefix=0",
            "prefix=4097",
            "offset=1",
        ] {
            refused(query);
        }
        assert!(refused(&format!("contains={}", "x".repeat(257))).0.ends_with("… is not allowed"));
        let query =
            messages("state=in_flight&limit=7&min_receives=3&body=prefix&contains=a%20b+c", true).unwrap();
        assert_eq!(query.visited, Visited { ready: false, in_flight: true, delayed: false });
        assert_eq!((query.limit, query.min_receives, query.body), (7, 3, BodyPart::Prefix(256)));
        assert_eq!(query.contains.as_deref(), Some("a b c"));
        assert_eq!(messages("", true).unwrap().limit, LIMIT_DEFAULT);
    }

    #[test]
    fn bodies_can_be_off() {
        assert!(messages("body=none", false).is_ok());
        for query in ["body=full", "body=prefix", "contains=x"] {
            assert_eq!(messages(query, false).unwrap_err().code, "bodies_off");
        }
    }
}
