//! The CMQ broker: replicated log, storage, wire protocols.

pub mod access;
pub mod api;
pub mod metrics;
pub mod service;
pub mod storage;
