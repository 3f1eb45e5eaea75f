//! Receipt handles.

use cmq_engine::attributes::QueueId;
use cmq_engine::message::{DeliveryId, LaneId, QueueEpoch};

use super::handle::Handles;
use crate::fuzzing::Target;
use crate::replication::GroupId;

pub(crate) const TARGETS: &[Target] = &[Target {
    name: "receipt_handle",
    run: receipt_handle,
    seeds: || {
        [0, 1, u32::MAX].map(|number| handles().encode(GroupId(2), &delivery(number)).into_bytes()).into()
    },
}];

fn handles() -> Handles {
    Handles::new(&[7; 32])
}

fn delivery(number: u32) -> DeliveryId {
    DeliveryId {
        queue: QueueEpoch { queue: QueueId(number), epoch: number },
        lane: LaneId(u64::from(number) << 31),
        sequence: u64::from(number),
        generation: number,
    }
}

fn receipt_handle(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let handles = handles();
    if let Some((shard, delivery)) = handles.decode(text) {
        assert_eq!(handles.encode(shard, &delivery), text, "one delivery has one handle");
    }
}
