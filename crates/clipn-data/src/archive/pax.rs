//! Records of pax headers (POSIX.1-2001): `LENGTH KEY=VALUE\n`, in which values may contain anything.

/// Records of a pax header that are used.
#[derive(Debug, Default)]
pub(super) struct PaxRecords {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) sparse: PaxSparse,
    /// Whether the member continues a file of another volume.
    pub(super) is_continuation: bool,
}

/// Records of GNU tar for sparse files, in the forms 0.0, 0.1 and 1.0.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    /// Major version: 1 has the map before the data.
    pub(super) major: Option<u64>,
    /// Size with all holes.
    pub(super) real_size: Option<u64>,
    /// Offsets and lengths in turn: those of 0.0 are repeated records, those of 0.1 a list.
    pub(super) map: Vec<u64>,
    /// Whether a number is malformed.
    pub(super) is_damaged: bool,
}

impl PaxSparse {
    /// Whether the member is a sparse file.
    pub(super) fn is_present(&self) -> bool {
        self.real_size.is_some() || self.major.is_some() || !self.map.is_empty()
    }
}

impl PaxRecords {
    /// Parses the records up to the first malformed one.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut records = Self::default();
        let mut sparse_name = None;
        let mut rest = bytes;
        while let Some((key, value, after)) = record(rest) {
            rest = after;
            match key {
                b"path" => records.path = Some(value.to_vec()),
                b"linkpath" => records.link_path = Some(value.to_vec()),
                b"size" => records.size = number(value),
                b"GNU.volume.filename" => records.is_continuation = true,
                b"GNU.sparse.name" => sparse_name = Some(value.to_vec()),
                _ => records.sparse.add(key, value),
            }
        }
        // `path` is then a made-up one, for programs that do not know sparse files.
        records.path = sparse_name.or(records.path);
        records
    }
}

impl PaxSparse {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        match key {
            b"GNU.sparse.major" => self.major = self.checked(value),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.real_size = self.checked(value),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let number = self.checked(value);
                self.map.extend(number);
            }
            b"GNU.sparse.map" if !value.is_empty() => {
                let numbers = value
                    .split(|&byte| byte == b',')
                    .map(|part| self.checked(part));
                self.map = numbers.flatten().collect();
            }
            _ => {}
        }
    }

    fn checked(&mut self, value: &[u8]) -> Option<u64> {
        let number = number(value);
        self.is_damaged |= number.is_none();
        number
    }
}

/// Parses a decimal number.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// Splits off the first record: its key, its value and the bytes after it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|&byte| byte == b' ')?;
    let length = usize::try_from(number(&bytes[..space])?).ok()?;
    let (whole, rest) = bytes.split_at_checked(length)?;
    let record = whole.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_contain_line_ends_and_equals_signs() {
        let records = PaxRecords::parse(b"14 path=a\nb=c\n12 size=123\n");
        assert_eq!(records.path.as_deref(), Some(&b"a\nb=c"[..]));
        assert_eq!(records.size, Some(123));
    }

    #[test]
    fn malformed_records_end_the_header_without_a_panic() {
        for bytes in [
            &b""[..],
            b"0 path=a\n",
            b"4 path=a\n",
            b"99999999999999999999 path=a\n",
            b"11 path=a\n",
            b"-10 path=a\n",
            b"9 path a\n",
            b"1 ",
            b" ",
        ] {
            assert!(PaxRecords::parse(bytes).path.is_none(), "{bytes:?}");
        }
        let damaged = PaxRecords::parse(b"25 GNU.sparse.size=lots\n\n");
        assert!(damaged.sparse.real_size.is_none());
    }
}
