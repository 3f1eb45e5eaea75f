//! Authorities, certificates, and their rotation.
//!
//! A Broker's authority is in a Secret that only the operator reads; the pods mount another one with their leaf, its key and the
//! *bundle*, the authorities that they trust. The operator's own certificate is made when it is needed and is nowhere kept.
//! [`rotation`] decides, [`store`] writes; what a certificate holds is in [`certificate`].

pub mod certificate;
pub mod identity;
pub mod rotation;
pub mod store;

pub use identity::{IdentityError, Source, identity};
