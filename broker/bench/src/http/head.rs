//! Parsing the head of an answer.

use crate::error::{Error, Result};

/// Largest head taken, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What the client needs to know of an answer's head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Length of the head with its blank line.
    pub(super) bytes: usize,
    /// Length of the body that follows.
    pub(super) body_bytes: usize,
}

/// Parses the head at the start of `input`; `None` when it is not complete yet.
pub(super) fn parse_head(input: &[u8]) -> Result<Option<Head>> {
    let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else {
        if input.len() > HEAD_BYTES_MAX {
            return Err(Error::Http("a head without an end".into()));
        }
        return Ok(None);
    };
    let mut lines = input[..end].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let status = status(lines.next().unwrap_or_default())?;
    let mut body_bytes = None;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Err(Error::Http(format!("header line {:?}", String::from_utf8_lossy(line))));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            body_bytes = Some(number(value).ok_or_else(|| {
                Error::Http(format!("content length {:?}", String::from_utf8_lossy(value)))
            })?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Err(Error::Http("a chunked body, which this client does not read".into()));
        } else if name.eq_ignore_ascii_case(b"connection") && value.eq_ignore_ascii_case(b"close") {
            return Err(Error::Http(format!("the server closes the connection, status {status}")));
        }
    }
    let body_bytes = body_bytes.ok_or_else(|| Error::Http("no content length".into()))?;
    Ok(Some(Head { status, bytes: end + 4, body_bytes }))
}

fn status(line: &[u8]) -> Result<u16> {
    let code = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(number);
    let code = code.and_then(|code| u16::try_from(code).ok());
    code.ok_or_else(|| Error::Http(format!("status line {:?}", String::from_utf8_lossy(line))))
}

fn number(text: &[u8]) -> Option<usize> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_head_gives_status_and_lengths() {
        let input =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nCONTENT-LENGTH:  12 \r\n\r\n{\"code\":0}";
        let head = parse_head(input).unwrap().unwrap();
        assert_eq!(head, Head { status: 200, bytes: input.len() - 10, body_bytes: 12 });
    }

    #[test]
    fn every_cut_of_a_head_is_incomplete() {
        let input = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        for cut in 0..input.len() {
            assert_eq!(parse_head(&input[..cut]).unwrap(), None, "cut at {cut}");
        }
        assert_eq!(parse_head(input).unwrap().unwrap().status, 503);
    }

    #[test]
    fn other_forms_are_refused() {
        for (input, word) in [
            (&b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"[..], "status line"),
            (b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n", "status line"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked"),
            (b"HTTP/1.1 200 OK\r\nDate: now\r\n\r\n", "no content length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "content length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", "content length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "closes"),
            (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", "header line"),
        ] {
            let error = parse_head(input).unwrap_err().to_string();
            assert!(error.contains(word), "{error} for {}", String::from_utf8_lossy(input));
        }
        assert!(parse_head(&vec![b'a'; HEAD_BYTES_MAX + 1]).is_err());
    }
}
