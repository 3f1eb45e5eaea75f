//! The typed operations of the product.

pub mod types;
