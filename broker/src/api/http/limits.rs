//! The bounds of an HTTP port.

use std::time::Duration;

/// Bytes of a request's body at most: a message of 1 MiB with every byte escaped, and room for the other parameters.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// Bytes of a refused body that are read and thrown away, so that its sender gets to see the answer.
pub(super) const DRAINED_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;
/// Bytes that hyper sets aside for the requests of a connection, and lets grow only for one that needs more. A small body is
/// a slice of such a buffer.
pub(crate) const READ_BUFFER_BYTES: usize = 8 << 10;
/// Bytes of a connection's buffer at most; a request line with its headers must fit.
pub(super) const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Headers of a request at most.
pub(super) const HEADERS_MAX: usize = 100;
/// Bytes of all headers of a request on HTTP/2 at most.
pub(super) const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
/// Calls at once on one connection of HTTP/2.
pub(super) const STREAMS_MAX: u32 = 128;
/// Streams that a peer may reset before the broker has answered them, before the connection is closed.
pub(super) const RESETS_MAX: usize = 64;
/// Bytes of bodies that one stream of HTTP/2 may have on the way.
pub(super) const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// The same for a whole connection.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of answers that wait for one stream of HTTP/2.
pub(super) const STREAM_SEND_BYTES_MAX: usize = 256 << 10;

/// How long a new connection may take to its first bytes.
pub(super) const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection may be idle between requests, and a request's head may take. Longer than the 90 s after which
/// common clients drop idle connections themselves, so that a client rarely writes into a connection that closes.
pub(super) const NEXT_REQUEST_WITHIN: Duration = Duration::from_secs(120);
/// How long a request's body may take.
pub(super) const BODY_WITHIN: Duration = Duration::from_secs(60);
/// How long a client may leave an answer unread before the connection is closed.
pub(super) const READS_ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How often an idle connection of HTTP/2 is asked whether it lives, and how long it may take to say so.
pub(super) const PING_EVERY: Duration = Duration::from_secs(60);
/// Pause after a failure to take a connection, which is most often a lack of file descriptors.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of a port that depend on the machine or on what the port is for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. One more is told to come back later.
    pub connections: usize,
    /// Bytes of all bodies that are being received or worked on. A call above it is refused as one to be repeated.
    pub body_bytes: usize,
    /// How long calls in flight may take after the stop.
    pub stop_within: Duration,
}

impl Default for Limits {
    /// For the client port of a broker with default flags.
    fn default() -> Self {
        Self { connections: 20_000, body_bytes: 64 << 20, stop_within: Duration::from_secs(20) }
    }
}
