//! Crash loops of the real broker process, with a file system that forgets what was not synced.
//!
//! [`kill_loop`] starts the broker as a process, loads it over HTTP, kills it by SIGKILL and starts it again
//! over the same data, a hundred times; the [`ledger`] holds every answer against what was acknowledged
//! before. On [`forgetfs`] a kill is a loss of power. Nothing here knows the broker's code: it is a binary
//! with flags and a protocol.

mod cmq;
mod desk;
pub mod forgetfs;
pub mod kill_loop;
pub mod ledger;
mod load;
pub mod process;
pub mod report;
mod rest;
mod session;
pub mod volume;
