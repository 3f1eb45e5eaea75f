//! Decoding of form-urlencoded text.

use std::borrow::Cow;

use memchr::{memchr_iter, memchr2};

/// Undoes form encoding: `+` is a blank, `%XX` a byte. Borrows where nothing is encoded, which most names and many
/// bodies are not. A `%` that two hexadecimal digits do not follow stands for itself, as browsers and the common
/// libraries read it.
pub(crate) fn decode(encoded: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr2(b'%', b'+', encoded) else { return Cow::Borrowed(encoded) };
    let escapes = memchr_iter(b'%', &encoded[first..]).count();
    let mut decoded = Vec::with_capacity(encoded.len().saturating_sub(2 * escapes));
    let mut rest = encoded;
    let mut next = Some(first);
    while let Some(at) = next {
        decoded.extend_from_slice(&rest[..at]);
        let (byte, length) = match (rest[at], hex_pair(&rest[at + 1..])) {
            (b'+', _) => (b' ', 1),
            (_, Some(byte)) => (byte, 3),
            (percent, None) => (percent, 1),
        };
        decoded.push(byte);
        rest = &rest[at + length..];
        // Text that is not ASCII comes as long runs of escapes: look at the next byte before searching.
        next = match rest.first() {
            Some(b'%' | b'+') => Some(0),
            _ => memchr2(b'%', b'+', rest),
        };
    }
    decoded.extend_from_slice(rest);
    Cow::Owned(decoded)
}

/// The byte that the first two characters write in hexadecimal.
fn hex_pair(text: &[u8]) -> Option<u8> {
    let [high, low, ..] = text else { return None };
    Some(hex_digit(*high)? << 4 | hex_digit(*low)?)
}

fn hex_digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes() {
        for (encoded, decoded) in [
            ("", ""),
            ("plain", "plain"),
            ("a+b", "a b"),
            ("a%2Bb%2bc", "a+b+c"),
            ("%E4%BD%A0%e5%a5%bd", "你好"),
            ("%25", "%"),
            ("%2525", "%25"),
            ("100%", "100%"),
            ("100%2", "100%2"),
            ("%zz%4", "%zz%4"),
            ("%%41", "%A"),
            ("%0D%0A", "\r\n"),
        ] {
            assert_eq!(decode(encoded.as_bytes()).as_ref(), decoded.as_bytes(), "{encoded}");
        }
    }

    #[test]
    fn borrows_what_is_not_encoded() {
        assert!(matches!(decode(b"orders"), Cow::Borrowed(_)));
        assert!(matches!(decode(b"%41"), Cow::Owned(_)));
    }

    proptest! {
        #[test]
        fn never_panics_and_never_grows(encoded in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&encoded).len() <= encoded.len());
        }

        #[test]
        fn undoes_any_choice_of_escapes(
            bytes in proptest::collection::vec((any::<u8>(), any::<bool>()), 0..200),
        ) {
            let mut encoded = Vec::new();
            for &(byte, escape) in &bytes {
                match byte {
                    b' ' if !escape => encoded.push(b'+'),
                    b'%' | b'+' => encoded.extend(format!("%{byte:02X}").bytes()),
                    _ if escape => encoded.extend(format!("%{byte:02x}").bytes()),
                    _ => encoded.push(byte),
                }
            }
            let plain: Vec<u8> = bytes.iter().map(|&(byte, _)| byte).collect();
            prop_assert_eq!(decode(&encoded).into_owned(), plain);
        }
    }
}
