//! Conditions as kstatus reads them. Pure: what is found now, and the conditions of before, give the conditions to write.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::reason::Reason;

/// Bytes of a condition's message at most.
pub const MESSAGE_BYTES_MAX: usize = 1_024;

/// Types of conditions, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// Usable now. Always there.
    Ready,
    /// On the way to what the spec asks for. Only there while true.
    Reconciling,
    /// No retry helps before a person changes something. Only there while true.
    Stalled,
    /// The pods serve, of the wanted revision.
    AllReplicasReady,
    /// Volumes are there, of the wanted size.
    StorageReady,
    /// Certificates are there and in use.
    CertificatesReady,
    /// The broker has the queue as the object says.
    InSync,
    /// The broker answers. Only there once it was asked.
    BrokerReachable,
    /// Somebody asked for no writes. Only there while true.
    Paused,
    /// A deletion waits. Only there while true.
    DeletionBlocked,
}

impl ConditionType {
    /// The name as it stands in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::AllReplicasReady => "AllReplicasReady",
            Self::StorageReady => "StorageReady",
            Self::CertificatesReady => "CertificatesReady",
            Self::InSync => "InSync",
            Self::BrokerReachable => "BrokerReachable",
            Self::Paused => "Paused",
            Self::DeletionBlocked => "DeletionBlocked",
        }
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

impl State {
    /// The word as it stands in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition as it is found now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its type.
    pub condition: ConditionType,
    /// Whether it holds.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// Why, for people: no timestamps, counters or random order, for each change of it is a write.
    pub message: String,
}

impl Finding {
    /// A condition as it is found now.
    pub fn new(condition: ConditionType, state: State, reason: Reason, message: impl Into<String>) -> Self {
        Self { condition, state, reason, message: message.into() }
    }
}

/// The conditions to write, in the order of their types. A condition that is not found is dropped; of several findings of one
/// type the first counts. `lastTransitionTime` moves only when `status` does.
pub fn merge(before: &[Condition], found: &[Finding], generation: i64, now: Timestamp) -> Vec<Condition> {
    let mut found: Vec<&Finding> = found.iter().collect();
    found.sort_by_key(|finding| finding.condition);
    found.dedup_by_key(|finding| finding.condition);
    found.into_iter().map(|finding| condition(before, finding, generation, now)).collect()
}

fn condition(before: &[Condition], finding: &Finding, generation: i64, now: Timestamp) -> Condition {
    let (type_, status) = (finding.condition.as_str(), finding.state.as_str());
    let unchanged = before.iter().find(|old| old.type_ == type_ && old.status == status);
    Condition {
        type_: type_.into(),
        status: status.into(),
        reason: finding.reason.as_str().into(),
        message: bounded(&finding.message),
        observed_generation: Some(generation),
        last_transition_time: unchanged.map_or(Time(now), |old| old.last_transition_time.clone()),
    }
}

/// At most [`MESSAGE_BYTES_MAX`] bytes, cut between characters.
fn bounded(message: &str) -> String {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message.to_owned();
    }
    format!("{}…", &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX - '…'.len_utf8())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_with_the_state_only() {
        let ready =
            |state, message: &str| Finding::new(ConditionType::Ready, state, Reason::Serving, message);
        let first = merge(&[], &[ready(State::True, "one")], 1, at(10));
        let second = merge(&first, &[ready(State::True, "two")], 2, at(20));
        let third = merge(&second, &[ready(State::False, "two")], 2, at(30));
        let times: Vec<_> = [&first, &second, &third].map(|all| all[0].last_transition_time.0).into();
        assert_eq!(times, [at(10), at(10), at(30)]);
        assert_eq!((second[0].message.as_str(), second[0].observed_generation), ("two", Some(2)));
    }

    #[test]
    fn types_come_in_their_order_and_once() {
        let finding = |condition| Finding::new(condition, State::True, Reason::Serving, "");
        let all = merge(
            &[],
            &[
                finding(ConditionType::Stalled),
                finding(ConditionType::Ready),
                Finding::new(ConditionType::Ready, State::False, Reason::Starting, ""),
            ],
            1,
            at(1),
        );
        let types: Vec<_> = all.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
        assert_eq!(types, [("Ready", "True"), ("Stalled", "True")]);
    }

    #[test]
    fn messages_are_cut_between_characters() {
        assert_eq!(bounded("short"), "short");
        assert_eq!(bounded(&"x".repeat(MESSAGE_BYTES_MAX)).len(), MESSAGE_BYTES_MAX);
        let long = bounded(&"é".repeat(MESSAGE_BYTES_MAX));
        assert!(long.len() <= MESSAGE_BYTES_MAX && long.ends_with('…'), "{} bytes", long.len());
    }
}
