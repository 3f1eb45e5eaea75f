//! The queue state machine: pure, synchronous, deterministic.
//!
//! No I/O, no clock, no randomness, no async: time and random bytes come in with the command. A [`shard::Shard`] holds the
//! messages of all queues of a Broker on one shard, the [`catalogue::Catalogue`] says which queues exist.

pub mod attributes;
pub mod browse;
pub mod catalogue;
pub mod chunk;
pub mod codec;
pub mod command;
mod deduplication;
pub mod faults;
mod lane;
pub mod limits;
pub mod message;
pub mod outcome;
mod queue;
pub mod row;
pub mod shard;
