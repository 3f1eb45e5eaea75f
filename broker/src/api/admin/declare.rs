//! The call by which an operator declares the queues of a cluster's objects, many at once.
//!
//! Objects are read one by one: what is wrong with one is told, and stops no other. What is not named is left alone.

mod answer;

use std::collections::{HashMap, HashSet};

use cmq_crds::bounds::{NAMESPACE_LENGTH_MAX, OBJECT_NAME_LENGTH_MAX};
use cmq_crds::queue::DeletionPolicy;
use cmq_engine::catalogue::{Owner, QueueEntry};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{ApiError, shortened_to};
use crate::manifests::{self, Existing, SentQueue};
use crate::service::Service;
use crate::service::declare::{Leaving, Realm, Takeover, WantedQueue, Withdrawal};
use answer::{Answer, TOLD_CHARS_MAX};

/// Bytes of the call's body at most.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Objects in each list of a call at most.
pub const OBJECTS_MAX: usize = 10_000;
/// Bytes of one object's `spec` at most: more than etcd takes of a whole object by default.
pub const SPEC_BYTES_MAX: usize = 2 << 20;

const REALM: Realm = Realm::Cluster;

/// What is allowed as a body.
const FORM: &str = "{\"queues\": [{\"namespace\", \"name\", \"adopt\", \"spec\"}], \"withdraw\": [{\"namespace\", \"name\", \"deletionPolicy\"}]}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(default, borrow)]
    queues: Vec<Item<'a>>,
    #[serde(default)]
    withdraw: Vec<Leaver>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    namespace: String,
    name: String,
    /// Whether a queue that a call made may become this object's.
    #[serde(default)]
    adopt: bool,
    #[serde(borrow)]
    spec: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Leaver {
    namespace: String,
    name: String,
    #[serde(default)]
    deletion_policy: Option<DeletionPolicy>,
}

/// What is declared, and what is not any more.
#[derive(Debug, Default)]
pub(super) struct Declaration {
    wanted: Vec<WantedQueue>,
    withdrawals: Vec<Withdrawal>,
    /// The objects of the call, by the owner that each is.
    objects: HashMap<Box<str>, Object>,
    answer: Answer,
}

/// An object of the call.
#[derive(Clone, Debug)]
struct Object {
    namespace: String,
    name: String,
    /// Name of the object of its dead-letter queue.
    dead_letter: Option<String>,
}

impl Item<'_> {
    fn object(&self) -> Object {
        Object { namespace: self.namespace.clone(), name: self.name.clone(), dead_letter: None }
    }
}

impl Declaration {
    /// Reads the body of a call; `present` are the queues that exist.
    ///
    /// # Errors
    /// The body as a whole is not what it may be. What is wrong with single objects is in the answer.
    pub(super) fn read<'a>(
        body: &[u8],
        present: impl IntoIterator<Item = &'a QueueEntry>,
    ) -> Result<Self, ApiError> {
        // A list would be taken for the fields in their order.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(invalid_body("the body is not a JSON object".into(), FORM));
        }
        let body: Body<'_> = serde_json::from_slice(body)
            .map_err(|error| invalid_body(shortened_to(&error.to_string(), TOLD_CHARS_MAX), FORM))?;
        for (list, count) in [("queues", body.queues.len()), ("withdraw", body.withdraw.len())] {
            if count > OBJECTS_MAX {
                let allowed = format!("at most {OBJECTS_MAX} objects in each list");
                return Err(invalid_body(format!("{list} has {count} objects"), allowed));
            }
        }
        let queues = body.queues.iter().map(|item| ("queues", &item.namespace, &item.name));
        let withdraw = body.withdraw.iter().map(|item| ("withdraw", &item.namespace, &item.name));
        for (list, namespace, name) in queues.chain(withdraw) {
            check_name(list, "namespace", namespace, NAMESPACE_LENGTH_MAX as usize)?;
            check_name(list, "name", name, OBJECT_NAME_LENGTH_MAX as usize)?;
        }

        let by_owner: HashMap<&str, &QueueEntry> =
            present.into_iter().filter_map(|entry| Some((&*entry.owner.as_ref()?.name, entry))).collect();
        let mut declaration = Self::default();
        let leaving: HashSet<Box<str>> =
            body.withdraw.iter().map(|item| REALM.owner(&item.namespace, &item.name)).collect();
        // What is both declared and withdrawn is neither.
        let mut both = HashSet::new();
        for item in body.queues {
            let owner = REALM.owner(&item.namespace, &item.name);
            let stands_twice = if leaving.contains(&owner) {
                both.insert(owner.clone());
                Some("the object is in queues and in withdraw")
            } else {
                declaration.objects.contains_key(&owner).then_some("the object is in queues twice")
            };
            match stands_twice {
                Some(message) => {
                    declaration.answer.refuse(item.object(), "invalid", message, "each object once");
                }
                None => declaration.add(&item, owner.clone(), by_owner.get(&*owner).copied()),
            }
        }
        let mut listed: HashSet<Box<str>> = both;
        for Leaver { namespace, name, deletion_policy } in body.withdraw {
            let owner = REALM.owner(&namespace, &name);
            if listed.insert(owner.clone()) {
                let deletion = deletion_policy.map(manifests::deletion);
                declaration.withdrawals.push(Withdrawal { owner: owner.clone(), deletion });
                declaration.objects.insert(owner, Object { namespace, name, dead_letter: None });
            }
        }
        Ok(declaration)
    }

    /// Takes one object up, or says why not. `has` is the queue that it declared before.
    fn add(&mut self, item: &Item<'_>, owner: Box<str>, has: Option<&QueueEntry>) {
        let (spec, object, answer) = (item.spec.get(), item.object(), &mut self.answer);
        if spec.len() > SPEC_BYTES_MAX {
            let (message, allowed) =
                (format!("spec has {} bytes", spec.len()), format!("at most {SPEC_BYTES_MAX} bytes"));
            return answer.refuse(object, "invalid", &message, &allowed);
        }
        // It was read once as a part of the body; what can still be wrong is how deep it goes.
        let spec = match serde_json::from_str(spec) {
            Ok(spec) => spec,
            Err(error) => {
                return answer.refuse(object, "invalid", &format!("spec: {error}"), "the spec of a Queue");
            }
        };
        let queue = match SentQueue::read(&item.namespace, &item.name, spec) {
            Ok(queue) => queue,
            Err(errors) => return answer.refuse_fields(object, "invalid", &errors),
        };
        let existing = has.map(|entry| Existing { name: entry.name.clone(), kind: entry.attributes.kind });
        let changes = existing.map(|existing| queue.changes(&existing)).unwrap_or_default();
        if !changes.is_empty() {
            return answer.refuse_fields(object, "immutable", &changes);
        }
        let target = queue.dead_letter();
        self.wanted.push(WantedQueue {
            name: queue.wire_name().into(),
            owner: Owner { name: owner.clone(), deletion: queue.deletion() },
            attributes: queue.attributes(),
            dead_letter: target.map(|(name, rule)| (REALM.owner(&item.namespace, name), rule)),
            takeover: if item.adopt { Takeover::Undeclared } else { Takeover::Nothing },
        });
        self.objects.insert(owner, Object { dead_letter: target.map(|(name, _)| name.to_owned()), ..object });
    }

    /// Each object is declared, withdrawn or told to be wrong, and no two declare under one owner.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn check(&self) {
        let owners: HashSet<&str> = self.wanted.iter().map(|queue| &*queue.owner.name).collect();
        assert_eq!(owners.len(), self.wanted.len(), "an owner declares one queue");
        assert!(self.withdrawals.iter().all(|leaving| !owners.contains(&*leaving.owner)), "both at once");
        assert_eq!(self.objects.len(), self.wanted.len() + self.withdrawals.len());
        self.answer.check();
        assert!(self.wanted.iter().all(|queue| !queue.name.is_empty() && REALM.owns(&queue.owner.name)));
    }

    /// Makes the queues what is declared. It must not be cut off in the middle, nor may two run at once.
    pub(super) async fn carry_out(self, service: &Service) -> Answer {
        let Self { wanted, withdrawals, objects, mut answer } = self;
        let declared = service.declare(REALM, &wanted, Leaving::Named(&withdrawals)).await;
        answer.add(declared, |owner| objects.get(owner).cloned());
        answer
    }
}

fn invalid_body(message: String, allowed: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", message).allowing(allowed)
}

/// Names become parts of the owner's name, where no other sign may blur which is which.
fn check_name(list: &str, field: &str, name: &str, max: usize) -> Result<(), ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if (1..=max).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    let message = format!("{list}: {field} {:?} is not allowed", shortened_to(name, TOLD_CHARS_MAX));
    Err(invalid_body(message, format!("1 to {max} lower-case letters, digits, - and .")))
}

#[cfg(test)]
#[path = "declare_tests.rs"]
mod tests;
