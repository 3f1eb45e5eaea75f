//! The queue state machine: pure, synchronous, deterministic.

pub mod attributes;
