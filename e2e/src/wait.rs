//! Waiting for the cluster, with a limit and with what was seen last.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks until `good` holds of what is seen; how long that took and what was seen. A look that fails counts as not yet.
pub(crate) fn until<T: Debug>(
    what: &str,
    seconds: u64,
    mut look: impl FnMut() -> Result<T>,
    good: impl Fn(&T) -> bool,
) -> Result<(Duration, T)> {
    let started = Instant::now();
    loop {
        let seen = match look() {
            Ok(seen) if good(&seen) => return Ok((started.elapsed(), seen)),
            Ok(seen) => format!("{seen:?}"),
            Err(failure) => failure.to_string(),
        };
        if started.elapsed() > Duration::from_secs(seconds) {
            let seen: String = seen.chars().take(600).collect();
            return Err(Failure::new(format!("{what}: not within {seconds} s; seen last: {seen}")));
        }
        sleep(LOOK_EVERY);
    }
}

/// Lets the load run for a while.
pub(crate) fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds));
}
