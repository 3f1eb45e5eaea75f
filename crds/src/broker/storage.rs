//! The volume of a broker pod.

use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds::{
    BYTE_SIZE_LENGTH_MAX, BYTE_SIZE_PATTERN, OBJECT_NAME_LENGTH_MAX, OBJECT_NAME_PATTERN, STORAGE_BYTES_MIN,
};
use crate::rule::rule;

/// The volume of each pod.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[schemars(extend("x-kubernetes-validations" = [size_large_enough(), storage_class_kept()]))]
#[serde(rename_all = "camelCase", default)]
pub struct Storage {
    /// Size of the volume, at least 1Gi. Can grow where the storage class allows it. A volume never shrinks: a smaller size
    /// is taken only to call off a growth that failed, and no smaller than what the volumes hold already; the operator
    /// decides, for the schema does not see the volumes.
    #[schemars(length(max = BYTE_SIZE_LENGTH_MAX), regex(pattern = BYTE_SIZE_PATTERN))]
    pub size: String,
    /// Storage class. Left out, the cluster's default. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = OBJECT_NAME_LENGTH_MAX), regex(pattern = OBJECT_NAME_PATTERN))]
    pub storage_class_name: Option<String>,
    /// What becomes of the volumes when the Broker is deleted or gives up a replica.
    pub deletion_policy: VolumeDeletionPolicy,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            size: "10Gi".into(),
            storage_class_name: None,
            deletion_policy: VolumeDeletionPolicy::default(),
        }
    }
}

/// What becomes of volumes that are no longer in use.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeDeletionPolicy {
    /// They stay, labelled for a later Broker that adopts them.
    #[default]
    Retain,
    /// They are deleted with all messages.
    Delete,
}

/// Bytes of a size written as [`BYTE_SIZE_PATTERN`] says, at most `u64::MAX`; nothing for any other text.
pub fn byte_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let unit: u64 = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()?.saturating_mul(unit))
}

/// What is said of another storage class.
pub(crate) const STORAGE_CLASS_KEPT: &str = "storageClassName cannot be changed: volumes do not move";

fn size_large_enough() -> Rule {
    let least = STORAGE_BYTES_MIN >> 30;
    rule(
        &format!("quantity(self.size).compareTo(quantity('{least}Gi')) >= 0"),
        &format!("size is at least {least}Gi"),
    )
    .field_path(".size")
}

fn storage_class_kept() -> Rule {
    rule(
        "has(self.storageClassName) == has(oldSelf.storageClassName) && \
         (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        STORAGE_CLASS_KEPT,
    )
    .field_path(".storageClassName")
}

#[cfg(test)]
mod tests {
    use super::byte_size;

    #[test]
    fn byte_sizes() {
        for (text, expected) in [
            ("1", Some(1)),
            ("10Gi", Some(10 << 30)),
            ("512Mi", Some(512 << 20)),
            ("3k", Some(3_000)),
            ("2T", Some(2_000_000_000_000)),
            ("", None),
            ("Gi", None),
            ("1.5Gi", None),
            ("1gi", None),
            ("-1Gi", None),
            ("99999999999999999999Gi", None),
            ("999999999999999Ti", Some(u64::MAX)),
        ] {
            assert_eq!(byte_size(text), expected, "{text:?}");
        }
    }
}
