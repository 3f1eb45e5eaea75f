//! The bounds of an HTTP port.

use std::time::Duration;

/// Connections of the client port.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Calls of the client port.
pub const CALLS_MAX: usize = 40_000;
/// Bytes of a request's body at most: a message of 1 MiB with every byte escaped, and room for the other parameters.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// Bytes of a refused body that are read and thrown away, so that its sender gets to see the answer.
pub const DRAINED_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;
/// Bytes that hyper sets aside for the requests of a connection, and lets grow only for one that needs more. A small body is
/// a slice of such a buffer.
pub const READ_BUFFER_BYTES: usize = 8 << 10;
/// Bytes of a connection's buffer at most; a request line with its headers must fit.
pub const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Bytes of all heads together that are longer than [`READ_BUFFER_BYTES`] and not complete, counted with the buffer that each
/// may fill. Without it, every connection could fill its buffer with half a head.
pub const LARGE_HEADS_BYTES_MAX: usize = 16 << 20;
/// Headers of a request at most.
pub const HEADERS_MAX: usize = 100;
/// Bytes of all headers of a request on HTTP/2 at most.
pub const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
/// Calls at once on one connection of HTTP/2.
pub const STREAMS_MAX: u32 = 128;
/// Streams that a peer may reset before the broker has answered them, before the connection is closed.
pub const RESETS_MAX: usize = 64;
/// Bytes of bodies that one stream of HTTP/2 may have on the way.
pub const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// The same for a whole connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of answers that wait for one stream of HTTP/2.
pub const STREAM_SEND_BYTES_MAX: usize = 256 << 10;

/// How long a new connection may take to agree on TLS, from its first moment.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long a new connection may take to its first bytes.
pub const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection may be idle between requests, and a request's head may take. Longer than the 90 s after which
/// common clients drop idle connections themselves, so that a client rarely writes into a connection that closes.
pub const NEXT_REQUEST_WITHIN: Duration = Duration::from_secs(120);
/// How long a request's body may take.
pub const BODY_WITHIN: Duration = Duration::from_secs(60);
/// How long a client may leave an answer unread before the connection is closed.
pub const READS_ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How often an idle connection of HTTP/2 is asked whether it lives, and how long it may take to say so.
pub const PING_EVERY: Duration = Duration::from_secs(60);
/// Pause after a failure to take a connection, which is most often a lack of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of a port that depend on the machine or on what the port is for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. One more is told to come back later.
    pub connections: usize,
    /// Calls at once, on all connections. One more is refused as one to be repeated. One connection of HTTP/1 has one.
    pub calls: usize,
    /// Bytes of all bodies that are being received or worked on. A call above it is refused as one to be repeated.
    pub body_bytes: usize,
    /// How long calls in flight may take after the stop.
    pub stop_within: Duration,
}

impl Default for Limits {
    /// For the client port of a broker with default flags.
    fn default() -> Self {
        let stop_within = Duration::from_secs(20);
        Self { connections: CONNECTIONS_MAX, calls: CALLS_MAX, body_bytes: 64 << 20, stop_within }
    }
}
