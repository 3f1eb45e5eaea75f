//! The operator against a cluster in memory: [`api`] is the API server, [`world`] what else lives in a cluster, [`broker`] the
//! processes in the pods. [`scenarios`] says what happens to it, and [`sweep`] what goes wrong meanwhile.

#![allow(clippy::unwrap_used, reason = "in a test a failure may panic")]

mod api;
mod broker;
mod end;
mod faults;
mod lease;
mod operator;
mod scale;
mod scenario;
mod scenarios;
mod sweep;
mod world;

/// Shows what the operator logs, where `RUST_LOG` asks for it.
fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}
