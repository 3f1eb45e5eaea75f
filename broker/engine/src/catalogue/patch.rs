//! Changes of single attributes. They are merged where commands are applied, one after the other, so that two callers
//! who change different attributes at once do not undo each other's change.

use super::{Applied, Catalogue, CatalogueCommand, CatalogueRefusal, PutMode};
use crate::attributes::{
    AttributesPatch, DeadLetterChange, DeadLetterPolicy, DeadLetterRule, QueueAttributes, QueueId,
};

impl Catalogue {
    pub(super) fn patch(&mut self, name: &str, patch: &AttributesPatch) -> Applied {
        let entry = self.queues.get(name).cloned().ok_or(CatalogueRefusal::Missing)?;
        if let Some(declared) = &entry.owner {
            return Err(CatalogueRefusal::Declared(declared.name.clone()));
        }
        let mut attributes = entry.attributes.clone();
        patch.apply(&mut attributes);
        let dead_letter_queue = match &patch.dead_letter {
            DeadLetterChange::Keep => {
                attributes.dead_letter.and_then(|policy| self.names.get(&policy.queue).cloned())
            }
            DeadLetterChange::Unbind => {
                attributes.dead_letter = None;
                None
            }
            DeadLetterChange::Bind { queue, rule } => {
                // The number is found by the name below.
                attributes.dead_letter = Some(DeadLetterPolicy { queue: QueueId(0), rule: *rule });
                Some(queue.clone())
            }
        };
        check_relations(&attributes)?;
        self.put(&CatalogueCommand::Put {
            name: name.into(),
            mode: PutMode::Update,
            attributes,
            dead_letter_queue,
            owner: None,
            recreate_wait_ms: 0,
            shards: entry.shards,
        })
    }
}

/// What only the merged attributes can show.
fn check_relations(attributes: &QueueAttributes) -> Result<(), CatalogueRefusal> {
    if attributes.rewind_seconds > attributes.retention_seconds {
        return Err(CatalogueRefusal::RewindAboveRetention);
    }
    match attributes.dead_letter.map(|policy| policy.rule) {
        Some(DeadLetterRule::MaxTimeToLiveSeconds(seconds)) if seconds >= attributes.retention_seconds => {
            Err(CatalogueRefusal::TimeToLiveNotBelowRetention)
        }
        _ => Ok(()),
    }
}
