//! The CMQ broker: replicated log, storage, wire protocols.

pub mod service;
pub mod storage;
