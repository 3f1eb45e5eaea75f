//! The Kubernetes resource types of CMQ, group [`GROUP`], version [`VERSION`].
//!
//! The types are the only source: `manifests/*.yaml` is generated from them (`cargo run -p cmq-crds --bin crdgen`), and
//! [`validate`] checks an object by that same schema and by the CEL rules' twins in Rust, so that a manifest gets one
//! verdict in a cluster, in `cmq-broker check` and at a broker that runs alone. No client, no I/O.

pub mod annotation;
pub mod bounds;
pub mod broker;
pub mod manifest;
pub mod queue;
pub mod reference;
mod rule;
pub mod validate;

/// The API group of every kind.
pub const GROUP: &str = "cmq.dev";
/// The version of every kind.
pub const VERSION: &str = "v1alpha1";
