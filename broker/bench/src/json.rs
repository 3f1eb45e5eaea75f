//! Finding single fields of a JSON object without building a tree.
//!
//! The load generator reads one or two fields of each answer; a full parse would take time from the server
//! that shares the machine. The scanner walks the top level only: what looks like a field inside a string or
//! a nested value is not one.

/// The value of the top-level field `name` as it stands in `object`: a string without its quotes (escapes not
/// resolved), anything else verbatim. `None` when the field is absent or the text is not an object.
#[must_use]
pub fn field<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut at = skip_blanks(object, 0);
    if object.get(at) != Some(&b'{') {
        return None;
    }
    at += 1;
    loop {
        at = skip_blanks(object, at);
        let key_end = string_end(object, at)?;
        let key = &object[at + 1..key_end - 1];
        at = skip_blanks(object, key_end);
        if object.get(at) != Some(&b':') {
            return None;
        }
        let start = skip_blanks(object, at + 1);
        let end = value_end(object, start)?;
        if key == name.as_bytes() {
            let value = &object[start..end];
            return Some(if value[0] == b'"' { &value[1..value.len() - 1] } else { value });
        }
        at = skip_blanks(object, end);
        if object.get(at) != Some(&b',') {
            return None;
        }
        at += 1;
    }
}

/// The top-level field `name` as a whole number.
#[must_use]
pub fn number(object: &[u8], name: &str) -> Option<u64> {
    std::str::from_utf8(field(object, name)?).ok()?.parse().ok()
}

fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Where the string that starts at `at` ends, behind its closing quote.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the value that starts at `at` ends.
fn value_end(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => string_end(text, at),
        b'{' | b'[' => nested_end(text, at),
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
            let length = text[at..].iter().position(ends)?;
            (length > 0).then_some(at + length)
        }
    }
}

fn nested_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match text.get(at)? {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVED: &[u8] = br#"{"code":0,"message":"","requestId":"77","clientRequestId":0,
        "msgBody":"a \"receiptHandle\":\"wrong\" \\","nested":{"receiptHandle":"wrong too","l":[1,{"}":"]"}]},
        "receiptHandle" : "AbC-_9","dequeueCount":1}"#;

    #[test]
    fn top_level_fields_are_found() {
        assert_eq!(number(RECEIVED, "code"), Some(0));
        assert_eq!(field(RECEIVED, "receiptHandle"), Some(&b"AbC-_9"[..]));
        assert_eq!(number(RECEIVED, "dequeueCount"), Some(1));
        assert_eq!(field(RECEIVED, "message"), Some(&b""[..]));
        assert_eq!(field(RECEIVED, "msgBody"), Some(&br#"a \"receiptHandle\":\"wrong\" \\"#[..]));
    }

    #[test]
    fn absent_fields_and_other_texts_give_none() {
        assert_eq!(field(RECEIVED, "receipthandle"), None);
        assert_eq!(field(RECEIVED, "l"), None);
        assert_eq!(number(RECEIVED, "requestid"), None);
        assert_eq!(number(br#"{"code":"zero"}"#, "code"), None);
        for text in
            [&b""[..], b"[]", b"{}", b"null", b"{\"a\"", b"{\"a\":", b"{\"a\":1", b"{\"a\":}", b"{a:1}"]
        {
            assert_eq!(field(text, "a"), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn every_cut_of_an_object_is_survived() {
        for cut in 0..RECEIVED.len() {
            let _either = field(&RECEIVED[..cut], "dequeueCount");
        }
    }
}
