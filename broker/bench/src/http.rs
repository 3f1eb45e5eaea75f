//! The client side of HTTP/1.1, by hand: one connection, one call at a time.
//!
//! It knows what the two servers under test send: a status line, headers and a body with `Content-Length`.
//! Anything else (chunked bodies, pipelined extras, a closed connection) is an error, never silently skipped.

mod head;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{Error, Result};
use head::{Head, parse_head};

/// Largest answer taken, head and body, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// First size of the read buffer, in bytes: a call's usual answer fits, and 10,000 connections cost little.
const BUFFER_BYTES: usize = 2048;

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer; its body borrows the connection's buffer.
#[derive(Debug)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// The server does not take the connection.
    pub async fn open(address: SocketAddr) -> Result<Connection> {
        let failed = || Error::io(format!("cannot connect to {address}"));
        let stream = TcpStream::connect(address).await.map_err(failed())?;
        stream.set_nodelay(true).map_err(failed())?;
        Ok(Connection { stream, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Sends one whole request (see [`post`]) and reads its answer.
    ///
    /// # Errors
    /// The connection fails or closes, or the answer is not of the form this client knows.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request).await.map_err(Error::io("cannot send a request"))?;
        let mut filled = 0;
        let head = loop {
            filled += self.fill(filled).await?;
            if let Some(head) = parse_head(&self.buffer[..filled])? {
                break head;
            }
        };
        let Head { status, bytes: start, body_bytes } = head;
        let end = start + body_bytes;
        if end > ANSWER_BYTES_MAX {
            return Err(Error::Http(format!("a body of {body_bytes} bytes")));
        }
        while filled < end {
            filled += self.fill(filled).await?;
        }
        if filled > end {
            return Err(Error::Http("bytes after the end of the answer".into()));
        }
        Ok(Answer { status, body: &self.buffer[start..end] })
    }

    /// As [`Connection::exchange`], for calls where any status but 200 is a failure.
    ///
    /// # Errors
    /// As `exchange`, or the status is not 200.
    pub async fn call(&mut self, request: &[u8]) -> Result<&[u8]> {
        let answer = self.exchange(request).await?;
        if answer.status != 200 {
            let text = String::from_utf8_lossy(answer.body);
            return Err(Error::Http(format!("status {}: {text}", answer.status)));
        }
        Ok(answer.body)
    }

    async fn fill(&mut self, filled: usize) -> Result<usize> {
        if filled == self.buffer.len() {
            if filled >= ANSWER_BYTES_MAX {
                return Err(Error::Http("an answer without an end".into()));
            }
            self.buffer.resize(filled * 2, 0);
        }
        let read = self.stream.read(&mut self.buffer[filled..]).await;
        match read.map_err(Error::io("cannot read an answer"))? {
            0 => Err(Error::Http("the server closed the connection".into())),
            count => Ok(count),
        }
    }
}

/// A whole POST request.
#[must_use]
pub fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::with_capacity(body.len() + 160);
    write_post(&mut request, path, content_type, body);
    request
}

/// As [`post`], into a buffer that is used again.
pub fn write_post(request: &mut Vec<u8>, path: &str, content_type: &str, body: &[u8]) {
    use std::io::Write;
    request.clear();
    write!(
        request,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .expect("a vector takes every write");
    request.extend_from_slice(body);
}

/// A whole GET request.
#[must_use]
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn answered_in(pieces: Vec<&'static [u8]>) -> Result<(u16, Vec<u8>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            for piece in pieces {
                stream.write_all(piece).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        });
        let mut connection = Connection::open(address).await?;
        let result = connection.exchange(&get("/")).await.map(|a| (a.status, a.body.to_vec()));
        server.abort();
        result
    }

    #[tokio::test]
    async fn an_answer_may_come_in_pieces() {
        let pieces: Vec<&[u8]> =
            vec![b"HTTP/1.1 20", b"0 OK\r\ncontent-le", b"ngth: 5\r\n\r", b"\nhe", b"llo"];
        assert_eq!(answered_in(pieces).await.unwrap(), (200, b"hello".to_vec()));
    }

    #[tokio::test]
    async fn a_body_larger_than_the_buffer_is_read_whole() {
        static BODY: [u8; 3 * BUFFER_BYTES] = [b'x'; 3 * BUFFER_BYTES];
        let pieces: Vec<&[u8]> = vec![b"HTTP/1.1 200 OK\r\nContent-Length: 6144\r\n\r\n", &BODY];
        let (status, body) = answered_in(pieces).await.unwrap();
        assert_eq!((status, body.len()), (200, 6144));
    }

    #[tokio::test]
    async fn what_this_client_does_not_know_is_an_error() {
        let closed = answered_in(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"]).await.unwrap_err();
        assert!(closed.to_string().contains("closed the connection"), "{closed}");
        let extra = answered_in(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nhe"]).await.unwrap_err();
        assert!(extra.to_string().contains("after the end"), "{extra}");
        let huge =
            answered_in(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"]).await.unwrap_err();
        assert!(huge.to_string().contains("99999999"), "{huge}");
    }
}
