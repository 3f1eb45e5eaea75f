//! Receipt handles: which delivery of which message, signed, so that nobody can make one up.
//!
//! ```text
//! version u8 | shard u16 | queue u32 | epoch u32 | lane u64 | sequence u64 | generation u32 | MAC 8 bytes
//! ```
//! Big-endian, in base64url without padding: 52 characters of `A-Z a-z 0-9 _ -`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cmq_engine::attributes::QueueId;
use cmq_engine::message::{DeliveryId, LaneId, QueueEpoch};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::replication::GroupId;

const VERSION: u8 = 1;
const PAYLOAD: usize = 31;
const MAC: usize = 8;

/// Makes and checks receipt handles.
#[derive(Clone)]
pub(super) struct Handles {
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handles(..)")
    }
}

impl Handles {
    /// Handles signed with this key of the catalogue.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let keyed = Hmac::new_from_slice(key).expect("HMAC takes keys of every length");
        Self { keyed }
    }

    /// The handle of a delivery.
    pub(super) fn encode(&self, shard: GroupId, delivery: &DeliveryId) -> String {
        let mut bytes = [0; PAYLOAD + MAC];
        bytes[0] = VERSION;
        bytes[1..3].copy_from_slice(&shard.0.to_be_bytes());
        bytes[3..7].copy_from_slice(&delivery.queue.queue.0.to_be_bytes());
        bytes[7..11].copy_from_slice(&delivery.queue.epoch.to_be_bytes());
        bytes[11..19].copy_from_slice(&delivery.lane.0.to_be_bytes());
        bytes[19..27].copy_from_slice(&delivery.sequence.to_be_bytes());
        bytes[27..31].copy_from_slice(&delivery.generation.to_be_bytes());
        let mac = self.keyed.clone().chain_update(&bytes[..PAYLOAD]).finalize().into_bytes();
        bytes[PAYLOAD..].copy_from_slice(&mac[..MAC]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The delivery that a handle names; None when it was not made with this key.
    pub(super) fn decode(&self, handle: &str) -> Option<(GroupId, DeliveryId)> {
        let mut bytes = [0; PAYLOAD + MAC];
        if URL_SAFE_NO_PAD.decode_slice(handle, &mut bytes).ok()? != bytes.len() || bytes[0] != VERSION {
            return None;
        }
        self.keyed.clone().chain_update(&bytes[..PAYLOAD]).verify_truncated_left(&bytes[PAYLOAD..]).ok()?;
        let u32_at = |at: usize| Some(u32::from_be_bytes(bytes[at..at + 4].try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_be_bytes(bytes[at..at + 8].try_into().ok()?));
        let shard = GroupId(u16::from_be_bytes([bytes[1], bytes[2]]));
        let queue = QueueEpoch { queue: QueueId(u32_at(3)?), epoch: u32_at(7)? };
        let delivery =
            DeliveryId { queue, lane: LaneId(u64_at(11)?), sequence: u64_at(19)?, generation: u32_at(27)? };
        Some((shard, delivery))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_handles_are_read() {
        let handles = Handles::new(&[7; 32]);
        let delivery = DeliveryId {
            queue: QueueEpoch { queue: QueueId(3), epoch: 1 },
            lane: LaneId(u64::MAX),
            sequence: 5_000_000_000,
            generation: 9,
        };
        let handle = handles.encode(GroupId(2), &delivery);
        assert_eq!(handle.len(), 52);
        assert!(handle.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
        assert_eq!(handles.decode(&handle), Some((GroupId(2), delivery)));
        assert_eq!(Handles::new(&[8; 32]).decode(&handle), None);
        for at in 0..handle.len() {
            let mut bent = handle.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(handles.decode(std::str::from_utf8(&bent).unwrap()), None, "character {at}");
        }
        for wrong in ["", "A", "é", &handle[1..], &format!("{handle}A"), &handle.repeat(9)] {
            assert_eq!(handles.decode(wrong), None, "{wrong}");
        }
    }
}
