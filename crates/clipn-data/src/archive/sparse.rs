//! Sparse members of tar archives, which store a file without its holes: the old form of GNU tar
//! (type `S`) and the forms 0.0, 0.1 and 1.0 in pax headers, as GNU tar's manual defines them
//! ("Storing Sparse Files").

use super::pax::{PaxSparse, number};

/// Maximum number of stored parts of a sparse member, more than any image has blocks.
pub(super) const MAX_PARTS: usize = 1 << 16;

/// Map of a sparse member: where its stored bytes belong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseMap {
    /// Size with all holes.
    pub(super) real_size: u64,
    /// Offset and length of every stored part, in order.
    parts: Vec<(u64, u64)>,
}

impl SparseMap {
    /// Checks a map for a member with `stored` bytes: parts are in order, do not overlap, lie in
    /// the file and need exactly these bytes.
    pub(super) fn new(real_size: u64, parts: Vec<(u64, u64)>, stored: u64) -> Option<Self> {
        let (mut end, mut sum) = (0u64, 0u64);
        for &(offset, length) in &parts {
            if offset < end {
                return None;
            }
            end = offset.checked_add(length)?;
            sum = sum.checked_add(length)?;
        }
        (end <= real_size && sum == stored).then_some(Self { real_size, parts })
    }

    /// Checks the map in pax headers, of the forms 0.0 and 0.1.
    pub(super) fn from_pax(records: &PaxSparse, stored: u64) -> Option<Self> {
        let (pairs, []) = records.map.as_chunks::<2>() else {
            return None;
        };
        if records.is_damaged || pairs.len() > MAX_PARTS {
            return None;
        }
        let parts = pairs.iter().map(|&[offset, length]| (offset, length));
        Self::new(records.real_size?, parts.collect(), stored)
    }

    /// Restores the file from the stored bytes. The caller has limited [`real_size`](Self::real_size).
    pub(super) fn expand(&self, stored: &[u8]) -> Option<Vec<u8>> {
        let mut whole = vec![0; usize::try_from(self.real_size).ok()?];
        let mut rest = stored;
        for &(offset, length) in &self.parts {
            let (offset, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
            let (part, after) = rest.split_at_checked(length)?;
            whole
                .get_mut(offset..offset.checked_add(length)?)?
                .copy_from_slice(part);
            rest = after;
        }
        Some(whole)
    }
}

/// The map of form 1.0 at the start of a member, as far as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LeadingMap {
    /// Offset and length of every part.
    Parts(Vec<(u64, u64)>),
    /// More bytes are needed.
    Incomplete,
    /// The bytes are no map.
    Invalid,
}

impl LeadingMap {
    /// Returns the number of lines of the map, by the first one; `None` while that is incomplete, 0
    /// if it is no number.
    pub(super) fn lines(bytes: &[u8]) -> Option<u64> {
        match bytes.iter().take(21).position(|&byte| byte == b'\n') {
            Some(end) => {
                let count = number(&bytes[..end]).unwrap_or(0);
                Some(count.saturating_mul(2).saturating_add(1))
            }
            None if bytes.len() > 20 => Some(0),
            None => None,
        }
    }

    /// Parses decimal numbers, each ended by a line feed: first the number of parts.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
        let mut next = || match lines.next() {
            Some([digits @ .., b'\n']) => number(digits).ok_or(Self::Invalid),
            // A number has at most 20 digits.
            Some(rest) if rest.len() > 20 => Err(Self::Invalid),
            _ => Err(Self::Incomplete),
        };
        let mut parts = || {
            let count = next()?;
            if count > MAX_PARTS as u64 {
                return Err(Self::Invalid);
            }
            (0..count).map(|_| Ok((next()?, next()?))).collect()
        };
        parts().map_or_else(|problem| problem, Self::Parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_restored_between_holes() {
        let map = SparseMap::new(10, vec![(2, 3), (7, 1), (10, 0)], 4).unwrap();
        assert_eq!(map.expand(b"abcd").unwrap(), b"\0\0abc\0\0d\0\0");
        assert_eq!(
            SparseMap::new(4, Vec::new(), 0)
                .unwrap()
                .expand(b"")
                .unwrap(),
            [0; 4]
        );
    }

    #[test]
    fn false_maps_are_rejected() {
        for (real_size, parts, stored) in [
            (10, vec![(2, 3), (4, 1)], 4),
            (10, vec![(2, 3)], 4),
            (4, vec![(2, 3)], 3),
            (10, vec![(u64::MAX, 2)], 2),
            (u64::MAX, vec![(0, u64::MAX), (u64::MAX, 1)], 0),
        ] {
            assert_eq!(
                SparseMap::new(real_size, parts.clone(), stored),
                None,
                "{parts:?}"
            );
        }
    }

    #[test]
    fn a_leading_map_is_read_as_far_as_it_is_there() {
        let whole = b"2\n0\n512\n1024\n7\nDATA";
        assert_eq!(LeadingMap::lines(whole), Some(5));
        assert_eq!(LeadingMap::lines(b"2"), None);
        assert_eq!(LeadingMap::lines(&[b'2'; 21]), Some(0));
        let parts = LeadingMap::Parts(vec![(0, 512), (1024, 7)]);
        assert_eq!(LeadingMap::parse(whole), parts);
        for length in 0..15 {
            let found = LeadingMap::parse(&whole[..length]);
            assert_eq!(found, LeadingMap::Incomplete, "{length}");
        }
        for text in [
            &b"x\n"[..],
            b"-1\n",
            b"99999999\n",
            b"111111111111111111111",
            b"1\n\n",
        ] {
            assert_eq!(LeadingMap::parse(text), LeadingMap::Invalid, "{text:?}");
        }
    }
}
