//! Bytes of entries and rows: variable-length integers and length-prefixed strings, read with every bound checked.

/// Bytes that do not decode: damage, or a format from the future.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode {what}")]
pub struct DecodeError {
    /// What was being read.
    pub what: &'static str,
}

/// Appends values to a buffer.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    /// What was written so far.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// Starts with a format byte, as every row and entry does.
    pub fn with_format(format: u8) -> Self {
        Self { bytes: vec![format] }
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    /// Appends an integer in 1 to 10 bytes, small ones first.
    pub fn int(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
        self
    }

    /// Appends the difference to `base`, in as few bytes as it is small, whatever its sign.
    pub fn delta(&mut self, value: u64, base: u64) -> &mut Self {
        let difference = value.wrapping_sub(base) as i64;
        self.int(((difference << 1) ^ (difference >> 63)) as u64)
    }

    /// Appends whether there is an integer, and the integer.
    pub fn int_option(&mut self, value: Option<u64>) -> &mut Self {
        match value {
            None => self.u8(0),
            Some(value) => self.u8(1).int(value),
        }
    }

    /// Appends whether there is a text, and the text.
    pub fn text_option(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            None => self.u8(0),
            Some(value) => self.u8(1).blob(value.as_bytes()),
        }
    }

    /// Appends a length and as many bytes.
    pub fn blob(&mut self, value: &[u8]) -> &mut Self {
        self.int(value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }
}

/// Takes values from the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `what` names them in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// Reads bytes that begin with a format byte.
    ///
    /// # Errors
    /// When the format is another one.
    pub fn with_format(bytes: &'a [u8], format: u8, what: &'static str) -> Result<Self, DecodeError> {
        let mut reader = Self::new(bytes, what);
        if reader.u8()? == format { Ok(reader) } else { Err(reader.error()) }
    }

    /// The error that says that this does not decode.
    pub fn error(&self) -> DecodeError {
        DecodeError { what: self.what }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Says that there is nothing left.
    ///
    /// # Errors
    /// When there is.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error()) }
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// At the end of the bytes, as for all methods of this type.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError { what: self.what })?;
        self.rest = rest;
        Ok(*first)
    }

    /// Takes one byte that is 0 or 1.
    ///
    /// # Errors
    /// At the end of the bytes, or when it is another one.
    pub fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.error()),
        }
    }

    /// Takes an integer.
    ///
    /// # Errors
    /// At the end of the bytes, or when it has more than 64 bits.
    pub fn int(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.error());
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error())
    }

    /// Takes an integer that fits 32 bits.
    ///
    /// # Errors
    /// As [`Reader::int`], or when it is larger.
    pub fn int32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.int()?).map_err(|_| self.error())
    }

    /// Takes a difference to `base`.
    ///
    /// # Errors
    /// As [`Reader::int`].
    pub fn delta(&mut self, base: u64) -> Result<u64, DecodeError> {
        let raw = self.int()?;
        let difference = ((raw >> 1) as i64) ^ -((raw & 1) as i64);
        Ok(base.wrapping_add(difference as u64))
    }

    /// Takes a length and as many bytes.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn blob(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.int()?).map_err(|_| self.error())?;
        self.take(length)
    }

    /// Takes `length` bytes.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        if length > self.rest.len() {
            return Err(self.error());
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    /// Takes `N` bytes.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError { what: self.what })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes a length and as many bytes of UTF-8.
    ///
    /// # Errors
    /// At the end of the bytes, or when they are no UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.blob()?).map_err(|_| self.error())
    }

    /// Takes what [`Writer::int_option`] wrote.
    ///
    /// # Errors
    /// As [`Reader::flag`] and [`Reader::int`].
    pub fn int_option(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.flag()? { self.int().map(Some) } else { Ok(None) }
    }

    /// Takes what [`Writer::text_option`] wrote.
    ///
    /// # Errors
    /// As [`Reader::flag`] and [`Reader::text`].
    pub fn text_option(&mut self) -> Result<Option<&'a str>, DecodeError> {
        if self.flag()? { self.text().map(Some) } else { Ok(None) }
    }

    /// Takes a count and as many items. The count is not trusted with an allocation.
    ///
    /// # Errors
    /// When it is more than `max`, or an item does not decode.
    pub fn list<T>(
        &mut self,
        max: usize,
        item: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.int()?;
        if count > max as u64 {
            return Err(self.error());
        }
        let mut items = Vec::with_capacity(count.min(64) as usize);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }
}
