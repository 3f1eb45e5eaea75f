//! The parameters of a request, decoded and looked up by name.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::{memchr, memchr_iter};

use super::error::Error;
use super::percent;
use crate::api::http::limits::READ_BUFFER_BYTES;
use crate::service::types::BATCH_MESSAGES_MAX;

/// Parameters of one request at most. The largest call of the protocol has about forty.
const PARAMETERS_MAX: usize = 256;
/// Parameters that fit without a second allocation; a send has about ten.
const PARAMETERS_USUAL: usize = 16;

/// A parameter as it was sent, with form encoding undone.
#[derive(Debug)]
pub(crate) struct Parameter<'a> {
    /// Signatures cover it as it is; look-ups leave out blanks around it, which one public client adds.
    pub(crate) name: Cow<'a, [u8]>,
    pub(crate) value: Cow<'a, [u8]>,
}

impl Parameter<'_> {
    fn key(&self) -> &[u8] {
        self.name.trim_ascii()
    }

    /// What follows the key where it is `stem`, or `stem` and a number: `msgBody.1` gives `.1`.
    fn after(&self, stem: &str) -> Option<&[u8]> {
        let rest = self.key().strip_prefix(stem.as_bytes())?;
        matches!(rest, [] | [b'.', ..]).then_some(rest)
    }

    fn shown_key(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.key())
    }
}

/// All parameters of a request: those of the query, then those of the body.
#[derive(Debug)]
pub(crate) struct Parameters<'a> {
    list: Vec<Parameter<'a>>,
    body: &'a Bytes,
}

impl<'a> Parameters<'a> {
    /// Reads form text, whatever the request calls its content.
    ///
    /// # Errors
    /// More parameters than any call has.
    pub(crate) fn parse(query: &'a str, body: &'a Bytes) -> Result<Self, Error> {
        let mut list = Vec::with_capacity(PARAMETERS_USUAL);
        split(query.as_bytes(), &mut list)?;
        split(body, &mut list)?;
        Ok(Self { list, body })
    }

    /// All parameters in the order in which they were sent.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Parameter<'a>> {
        self.list.iter()
    }

    /// Whether a parameter of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.list.iter().any(|parameter| parameter.key() == name.as_bytes())
    }

    /// The text of a parameter that may stand once. An empty value is as good as none: clients send the parameters they
    /// have no value for.
    ///
    /// # Errors
    /// It stands twice or with a number, or is not UTF-8.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        let Some(position) = self.position(name)? else { return Ok(None) };
        match std::str::from_utf8(&self.list[position].value) {
            Ok("") => Ok(None),
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Error::wrong_type(name)),
        }
    }

    /// Like [`Self::text`] for one that must be there.
    ///
    /// # Errors
    /// As there, or it is not there.
    pub(crate) fn required_text(&self, name: &str) -> Result<&str, Error> {
        self.text(name)?.ok_or_else(|| Error::lacking(name))
    }

    /// A whole number; one beyond 64 bits counts as the nearest that fits.
    ///
    /// # Errors
    /// As [`Self::text`], or it is no whole number.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let text = text.trim();
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|character| character.is_ascii_digit()) {
            return Err(Error::wrong_type(name));
        }
        let beyond = if text.starts_with('-') { i64::MIN } else { i64::MAX };
        Ok(Some(text.parse().unwrap_or(beyond)))
    }

    /// A whole number within a range.
    ///
    /// # Errors
    /// As [`Self::integer`], or it is outside the range.
    pub(crate) fn integer_in(
        &self,
        name: &str,
        range: &std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>, Error> {
        match self.integer(name)? {
            Some(value) if !range.contains(&value) => Err(Error::out_of_range(name, range)),
            value => Ok(value),
        }
    }

    /// Where a parameter stands that may stand once.
    ///
    /// # Errors
    /// It stands twice, or with a number.
    pub(crate) fn position(&self, name: &str) -> Result<Option<usize>, Error> {
        let mut found = None;
        for (position, parameter) in self.list.iter().enumerate() {
            match parameter.after(name) {
                Some([]) if found.is_none() => found = Some(position),
                Some([]) => return Err(Error::repeated(name)),
                Some(number) if is_number(&number[1..]) => return Err(Error::repeated(name)),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Where the elements `name.N` of an array stand, in the order of their numbers, which begin at 0 or 1. None: 0.
    ///
    /// # Errors
    /// A number is lacking, twice there or not a number, or there are more than a batch may have.
    pub(crate) fn array(&self, name: &str) -> Result<Vec<usize>, Error> {
        let mut numbered: Vec<(u32, usize)> = Vec::new();
        for (position, parameter) in self.list.iter().enumerate() {
            let Some(rest) = parameter.after(name) else { continue };
            let number = rest.get(1..).filter(|digits| is_number(digits)).and_then(number);
            let number = number.ok_or_else(|| Error::key_format(&parameter.shown_key()))?;
            numbered.push((number, position));
        }
        numbered.sort_unstable();
        if let Some(twice) = numbered.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::repeated(&self.list[twice[0].1].shown_key()));
        }
        if numbered.len() > BATCH_MESSAGES_MAX {
            return Err(Error::batch_size(name));
        }
        let first = numbered.first().map_or(0, |&(number, _)| number);
        if first > 1 || numbered.iter().zip(first..).any(|(&(number, _), due)| number != due) {
            return Err(Error::gap(name));
        }
        Ok(numbered.into_iter().map(|(_, position)| position).collect())
    }

    /// The value of a parameter as text.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub(crate) fn text_at(&self, position: usize) -> Result<&str, Error> {
        let parameter = &self.list[position];
        std::str::from_utf8(&parameter.value).map_err(|_| Error::wrong_type(&parameter.shown_key()))
    }

    /// Takes the value of a parameter out, to be kept for long. A value that was sent as it is shares the memory of the
    /// request where it is most of it; else it gets memory of its own, so that a small message never holds a large buffer.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub(crate) fn take(&mut self, position: usize) -> Result<Bytes, Error> {
        self.text_at(position)?;
        Ok(match std::mem::take(&mut self.list[position].value) {
            Cow::Owned(decoded) => Bytes::from(decoded),
            Cow::Borrowed(sent) if self.is_most_of_body(sent) => self.body.slice_ref(sent),
            Cow::Borrowed(sent) => Bytes::copy_from_slice(sent),
        })
    }

    fn is_most_of_body(&self, sent: &[u8]) -> bool {
        let (whole, part) = (self.body.as_ptr_range(), sent.as_ptr_range());
        let inside = whole.start <= part.start && part.end <= whole.end;
        inside && sent.len() * 2 >= self.body.len().max(READ_BUFFER_BYTES)
    }
}

fn split<'a>(form: &'a [u8], list: &mut Vec<Parameter<'a>>) -> Result<(), Error> {
    let mut start = 0;
    for end in memchr_iter(b'&', form).chain([form.len()]) {
        let pair = &form[start..end];
        start = end + 1;
        if pair.is_empty() {
            continue;
        }
        if list.len() == PARAMETERS_MAX {
            return Err(Error::unreadable("parameters"));
        }
        let (name, value) = match memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        list.push(Parameter { name: percent::decode(name), value: percent::decode(value) });
    }
    Ok(())
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// A number of at most nine digits, more than any array has.
fn number(digits: &[u8]) -> Option<u32> {
    (digits.len() <= 9).then(|| digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
#[path = "parameters_tests.rs"]
mod tests;
