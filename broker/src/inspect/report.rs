//! What is shown of a volume, as JSON and as text.

use std::fmt::Write;

use cmq_engine::shard::{MessageState, Seen};
use serde_json::{Value, json};

use super::volume::Volume;
use crate::replication::offline::GroupImage;
use crate::storage::offline::SideFileState;
use crate::storage::{StoreError, Tree};

/// Everything that is wrong, a line each.
pub(super) fn problems(volume: &Volume) -> Vec<String> {
    let survey = &volume.survey;
    let mut found = Vec::new();
    match survey.side_file {
        SideFileState::Number(number) => {
            let batch = volume.image.batch().unwrap_or(0);
            if batch < number && survey.journal_break.is_none() {
                found.push(format!(
                    "synced data is missing: batch {batch} is the newest, {number} had been durable"
                ));
            }
        }
        SideFileState::Missing => found.push("the file \"durable\" is missing".to_owned()),
        SideFileState::Unreadable => found.push("the file \"durable\" is damaged".to_owned()),
    }
    for fault in &survey.tree_faults {
        found.push(format!("{}: {}", fault.path.display(), fault.what));
    }
    if let Some(broken) = survey.journal_break.as_ref().filter(|broken| !broken.is_harmless) {
        let place = format!("{}, byte {}", broken.path.display(), broken.offset);
        found.push(format!("{place}: {}; everything here is as of before it", broken.why));
    }
    let faults = volume.faults.iter().chain(volume.groups.iter().flat_map(|group| &group.faults));
    found.extend(faults.map(|fault| format!("{}: {}", fault.place, fault.detail)));
    found
}

/// Formats, guards, groups and queues.
pub(super) fn overview(volume: &Volume) -> Value {
    let (survey, image) = (&volume.survey, &volume.image);
    let format = image.format().ok().flatten();
    let size = |tree| {
        let (rows, bytes) = image.size(tree);
        json!({"rows": rows, "table_bytes": bytes})
    };
    json!({
        "cluster_id": volume.catalogue().cluster_id().map(|id| format!("{id:032x}")),
        "format": format.as_ref().map(|(format, _)| format),
        "written_by": format.map(|(_, version)| version),
        "shards": volume.shards().len(),
        "guards": {
            "durable_batch": match survey.side_file { SideFileState::Number(number) => Some(number), _ => None },
            "newest_batch": image.batch().ok(),
            "ballast_bytes": survey.ballast_bytes,
            "torn_tail": survey.journal_break.as_ref().map(|broken| broken.path.display().to_string()),
        },
        "trees": {"log": size(Tree::Log), "state": size(Tree::State), "meta": size(Tree::Meta)},
        "groups": volume.groups.iter().map(group).collect::<Vec<_>>(),
        "queues": queues(volume),
    })
}

fn group(group: &GroupImage) -> Value {
    let (term, vote, commit) = group.hard_state.unwrap_or_default();
    json!({
        "group": group.id.0,
        "term": term,
        "vote": vote,
        "commit": commit,
        "voters": group.voters,
        "checkpoint": group.checkpoint.0,
        "last_entry": group.last.0,
        "entries_behind_checkpoint": group.last.0 - group.checkpoint.0,
        "tail_bytes": group.tail_bytes,
        "stamp_ms": group.stamp_ms(),
    })
}

fn queues(volume: &Volume) -> Vec<Value> {
    let mut shown = Vec::new();
    for entry in volume.catalogue().queues() {
        let (mut active, mut in_flight, mut delayed, mut oldest) = (0, 0, 0, None::<u64>);
        let mut stamp_ms = 0;
        for counts in volume.shards().iter().filter_map(|shard| {
            stamp_ms = stamp_ms.max(shard.stamp_ms());
            shard.shard()?.counts(entry.id)
        }) {
            active += counts.active;
            in_flight += counts.in_flight;
            delayed += counts.delayed;
            oldest = [oldest, counts.oldest_ms].into_iter().flatten().min();
        }
        shown.push(json!({
            "name": &*entry.name,
            "id": entry.id.0,
            "declared_by": entry.owner.as_ref().map(|owner| &*owner.name),
            "active": active,
            "in_flight": in_flight,
            "delayed": delayed,
            "oldest_sent_ms": oldest,
            "oldest_age_seconds": oldest.map(|sent_ms| stamp_ms.saturating_sub(sent_ms) / 1_000),
            "attributes": format!("{:?}", entry.attributes),
        }));
    }
    shown
}

/// The messages of one queue.
pub(super) fn messages(
    volume: &Volume,
    name: &str,
    with_bodies: bool,
    limit: usize,
) -> Result<Value, StoreError> {
    let Some(entry) = volume.catalogue().queues().find(|entry| &*entry.name == name) else {
        return Err(StoreError::Io("list messages", format!("there is no queue {name}")));
    };
    let (mut shown, mut all, mut unknown) = (Vec::new(), 0_u64, 0_u64);
    for group in volume.shards() {
        let Some(shard) = group.shard() else { continue };
        shard.survey(
            |key| group.chunk(&volume.image, key),
            |seen| match seen {
                Seen::Message(message) if message.queue.queue == entry.id => {
                    all += 1;
                    if shown.len() >= limit {
                        return;
                    }
                    let (state, until_ms) = match message.state {
                        MessageState::Active => ("active", None),
                        MessageState::Deleted => ("deleted, can be rewound", None),
                        MessageState::InFlight { until_ms } => ("in flight", Some(until_ms)),
                        MessageState::Delayed { due_ms } => ("delayed", Some(due_ms)),
                    };
                    let mut line = json!({
                        "id": group.message_id(message.body),
                        "state": state,
                        "until_ms": until_ms,
                        "sent_ms": message.sent_ms,
                        "bytes": message.bytes,
                        "received": message.receive_count,
                    });
                    if with_bodies {
                        line["body"] = match group.body(&volume.image, message.body) {
                            Ok(body) => json!(String::from_utf8_lossy(&body)),
                            Err(error) => json!({"lost": error.to_string()}),
                        };
                    }
                    shown.push(line);
                }
                Seen::Unknown { chunk, sequences } if chunk.queue.queue == entry.id => {
                    unknown += sequences.len() as u64;
                }
                Seen::Message(_) | Seen::Unknown { .. } => {}
            },
        );
    }
    Ok(json!({"queue": name, "messages_in_all": all, "unreadable": unknown, "messages": shown}))
}

/// Entries of a group's log that are still there.
pub(super) fn entries(volume: &Volume, group: u16, from: u64, limit: usize) -> Result<Value, StoreError> {
    let Some(image) = volume.groups.get(usize::from(group)) else {
        let newest = volume.groups.len() - 1;
        return Err(StoreError::Io(
            "show the log",
            format!("there is no group {group}; the newest is {newest}"),
        ));
    };
    let entries: Vec<Value> = image
        .entries(&volume.image, from, limit)
        .into_iter()
        .map(|(index, entry)| match entry {
            Ok((term, Some(entry))) => json!({
                "index": index, "term": term, "stamp_ms": entry.stamp_ms, "engine_version": entry.engine_version,
                "commands": match &entry.commands {
                    crate::replication::entry::Commands::Shard(commands) => lines(commands),
                    crate::replication::entry::Commands::Catalogue(commands) => lines(commands),
                },
            }),
            Ok((term, None)) => json!({"index": index, "term": term, "commands": []}),
            Err(error) => json!({"index": index, "damaged": error.to_string()}),
        })
        .collect();
    Ok(json!({"group": group, "checkpoint": image.checkpoint.0, "entries": entries}))
}

fn lines<C: std::fmt::Debug>(commands: &[C]) -> Vec<String> {
    commands.iter().map(|command| format!("{command:?}")).collect()
}

/// The same for people: a line a value, lists of objects as one line an object.
pub(super) fn text(value: &Value, depth: usize) -> String {
    let mut out = String::new();
    let indent = "  ".repeat(depth);
    let Value::Object(fields) = value else { return format!("{indent}{}\n", plain(value)) };
    for (name, value) in fields {
        let name = name.replace('_', " ");
        match value {
            Value::Object(_) => _ = write!(out, "{indent}{name}:\n{}", text(value, depth + 1)),
            Value::Array(items) if items.is_empty() => _ = writeln!(out, "{indent}{name}: none"),
            Value::Array(items) => {
                _ = writeln!(out, "{indent}{name}:");
                for item in items {
                    _ = writeln!(out, "{indent}  {}", plain(item));
                }
            }
            value => _ = writeln!(out, "{indent}{name}: {}", plain(value)),
        }
    }
    out
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| format!("{}: {}", name.replace('_', " "), plain(value));
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("; "),
        value => value.to_string(),
    }
}
