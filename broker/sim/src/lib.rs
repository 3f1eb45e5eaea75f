//! A seeded simulator of whole brokers, and the checker of what they did.
//!
//! Three replicas, or one alone, run the driver of the broker in one thread, with a virtual clock, network and disk. Clients use them at
//! random, things go wrong at random, and all of it comes from one seed: [`run`] with the same seed is always the same
//! run. In the end the [`checker`] goes through everything that clients were told.

pub mod campaign;
pub mod checker;
mod clients;
pub mod disk;
pub mod finding;
mod guard;
pub mod history;
mod network;
pub mod plan;
pub mod tally;
mod trace;
mod world;

pub use world::{Report, run};
