//! The CMQ broker: replicated log, storage, wire protocols.

pub mod access;
pub mod api;
pub mod check;
pub mod config;
pub mod declare;
pub mod follow;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod inspect;
pub mod manifests;
pub mod metrics;
pub mod repair;
pub mod replication;
pub mod server;
pub mod service;
pub mod storage;
#[cfg(test)]
mod testing;
pub mod tls;
