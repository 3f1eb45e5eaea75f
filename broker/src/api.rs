//! The wire protocols: requests to typed calls, outcomes to bytes. No queue logic.

pub mod admin;
pub mod client;
pub mod cmq;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod http;

mod route;
mod sqs;
#[cfg(test)]
mod testing;
