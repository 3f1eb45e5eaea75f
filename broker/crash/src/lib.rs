//! Crash loops of the real broker process, with a file system that forgets what was not synced.

pub mod forgetfs;
