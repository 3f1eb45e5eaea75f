//! The operator against a cluster in memory: [`api`] is the API server.
#![allow(dead_code, unused_imports, reason = "the rest of the cluster is not here yet")]

mod api;
