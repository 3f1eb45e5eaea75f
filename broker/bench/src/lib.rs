//! Benchmarks of the broker against a floor program, in one run.
//!
//! The *floor* (`floor` binary, [`floor`]) does the least that a durable queue behind HTTP can do: one append
//! and one fdatasync for all who wait. The *bench* (`bench` binary) starts the floor and the broker as
//! processes of their own, drives both over HTTP in alternating rounds, and prints ratios: the machine's
//! speed cancels out.
//!
//! The load generator shares the machine with the server under test, so it is lean: one thread, plain
//! sockets, requests written once and sent again and again, a response parser that knows `Content-Length`
//! only. It uses nothing of the broker but its command line and its wire protocol.

pub mod cmq;
pub mod error;
pub mod floor;
pub mod http;
pub mod json;
pub mod load;
pub mod machine;
pub mod noise;
pub mod process;
pub mod report;
pub mod scenario;
pub mod stats;
pub mod work;
