//! Statements that must hold, and facts that are printed.

use std::fmt::Debug;

use crate::failure::{Failure, Result};

/// A line about what was measured.
pub(crate) fn fact(text: impl AsRef<str>) {
    println!("  {}", text.as_ref());
}

/// Fails with the text unless the statement holds.
pub(crate) fn that(holds: bool, otherwise: impl Into<String>) -> Result<()> {
    if holds { Ok(()) } else { Err(Failure::new(otherwise)) }
}

/// Fails unless both are the same.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, expected: &T, found: &T) -> Result<()> {
    that(expected == found, format!("{what}: expected {expected:?}, found {found:?}"))
}
