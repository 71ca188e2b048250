//! Bounds-checked reader of numbers, lines and length-prefixed bytes of a pickle.

use super::PickleError;

pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, pos: 0 }
    }

    /// Returns the number of bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.pos
    }

    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> PickleError {
        PickleError::Corrupt {
            at: self.pos,
            reason: reason.into(),
        }
    }

    /// Returns the next `count` bytes, borrowed. A `count` beyond the end is an error and allocates
    /// nothing.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], PickleError> {
        let end = self.pos.checked_add(count).ok_or(PickleError::Truncated)?;
        let taken = self
            .bytes
            .get(self.pos..end)
            .ok_or(PickleError::Truncated)?;
        self.pos = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let (array, _) = self
            .take(N)?
            .split_first_chunk()
            .ok_or(PickleError::Truncated)?;
        Ok(*array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, PickleError> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, PickleError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, PickleError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, PickleError> {
        self.array().map(i32::from_le_bytes)
    }

    /// Reads a float; unlike all other numbers in pickles, floats are big-endian.
    pub(crate) fn f64(&mut self) -> Result<f64, PickleError> {
        self.array().map(f64::from_be_bytes)
    }

    /// Reads bytes with a length prefix of 1, 4 or 8 bytes.
    pub(crate) fn counted(&mut self, count_bytes: usize) -> Result<&'a [u8], PickleError> {
        let mut count = [0; 8];
        count[..count_bytes].copy_from_slice(self.take(count_bytes)?);
        let count =
            usize::try_from(u64::from_le_bytes(count)).map_err(|_| PickleError::Truncated)?;
        self.take(count)
    }

    pub(crate) fn text(&mut self, count_bytes: usize) -> Result<&'a str, PickleError> {
        let bytes = self.counted(count_bytes)?;
        std::str::from_utf8(bytes).map_err(|_| self.corrupt("text is not valid UTF-8"))
    }

    /// Reads text up to a line feed, and skips the line feed.
    pub(crate) fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.bytes[self.pos..];
        let len = rest
            .iter()
            .position(|&b| b == b'\n')
            .ok_or(PickleError::Truncated)?;
        let line = self.take(len)?;
        self.pos += 1;
        std::str::from_utf8(line).map_err(|_| self.corrupt("name is not valid UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_reads_past_the_end() {
        let mut reader = Reader::new(&[3, b'a', b'b']);
        assert_eq!(reader.counted(1), Err(PickleError::Truncated));
        let mut false_length = Reader::new(&[0xff; 8]);
        assert_eq!(false_length.counted(8), Err(PickleError::Truncated));
        assert_eq!(
            Reader::new(b"no end of line").line(),
            Err(PickleError::Truncated)
        );
    }

    #[test]
    fn lines_exclude_their_line_feed() {
        let mut reader = Reader::new(b"os\nsystem\n.");
        assert_eq!((reader.line(), reader.line()), (Ok("os"), Ok("system")));
        assert_eq!(reader.u8(), Ok(b'.'));
    }
}
