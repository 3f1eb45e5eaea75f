//! The brokers' admin API: what the operator asks of one broker pod, and how it is reached.
//!
//! [`BrokerConnector`] is the seam: production speaks HTTPS under the Broker's authority, tests have a broker in memory.

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use contract::*;
pub use desk::{Declared, Desk};
pub(crate) use identities::Identities;

mod breaker;
mod contract;
mod desk;
pub mod https;
mod identities;

/// The calls that the operator makes to one broker pod. An implementation bounds each call in time.
pub trait BrokerConnector: Send + Sync {
    /// `GET /api/v1/broker`: what the broker is, and what it has loaded.
    fn info<'a>(&'a self, pod: &'a PodAddress) -> BoxFuture<'a, Result<BrokerInfo, CallError>>;

    /// `POST /api/v1/declare`: declares and withdraws queues. What is not named is left alone.
    fn declare<'a>(
        &'a self,
        pod: &'a PodAddress,
        request: &'a DeclareRequest,
    ) -> BoxFuture<'a, Result<DeclareAnswer, CallError>>;

    /// `GET /api/v1/queues`: one page of the queues in the order of names, with counts; `cursor` is of the page before.
    fn queues<'a>(
        &'a self,
        pod: &'a PodAddress,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<QueuePage, CallError>>;
}

/// One broker pod, and by what the operator and it know each other.
#[derive(Clone, Debug)]
pub struct PodAddress {
    /// Namespace of the Broker.
    pub namespace: String,
    /// Name of the Broker.
    pub broker: String,
    /// Ordinal of the pod.
    pub ordinal: i32,
    /// The operator's certificate and whom it trusts.
    pub identity: Arc<Identity>,
}

/// The operator's certificate for one Broker, and the authorities that the Broker's pods are trusted by.
#[derive(PartialEq, Eq)]
pub struct Identity {
    /// The certificate, PEM, the leaf first.
    pub certificate_pem: String,
    /// Its private key, PKCS #8 in PEM.
    pub key_pem: String,
    /// Authorities that a pod's certificate may chain to, PEM.
    pub trusted_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// Why a call to a broker did not give an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection, no TLS session, or no answer in time.
    #[error("{pod} cannot be reached: {problem}")]
    Unreachable {
        /// The pod.
        pod: String,
        /// What failed.
        problem: String,
    },
    /// The broker answered with an error.
    #[error("{pod} answered {status}: {message}")]
    Refused {
        /// The pod.
        pod: String,
        /// HTTP status.
        status: u16,
        /// `error.code` of the answer; empty where there was none.
        code: String,
        /// `error.message` of the answer.
        message: String,
    },
    /// Too many calls to this Broker failed lately; this one was not made.
    #[error("calls to {broker} rest after failures: {problem}")]
    Resting {
        /// The Broker, `namespace/name`.
        broker: String,
        /// The last failure.
        problem: String,
    },
}
