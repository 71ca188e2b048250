//! Prefix sharing between texts.
//!
//! Attention is causal, so the hidden state of a position depends only on the token ids up to it. A
//! prefix that several texts of a chunk share is therefore computed once, and its keys and values
//! serve all of them.
use crate::block::Sequence;

/// Sorts texts lexicographically, so that texts with a common prefix are adjacent, and
/// returns their indices.
pub(super) fn sorted_order(texts: &[&[u32]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&text| texts[text]);
    order
}

/// Returns the number of ids of each text after the prefix that it shares with the preceding text.
/// It is at least one, so that a duplicate text still counts as work.
pub(super) fn suffix_lengths(texts: &[&[u32]]) -> Vec<usize> {
    let mut before: &[u32] = &[];
    let mut own = Vec::with_capacity(texts.len());
    for text in texts {
        own.push((text.len() - common_prefix(before, text)).max(1));
        before = text;
    }
    own
}

/// Rows of a chunk of sorted texts with shared prefixes, and the rows of each text.
pub(super) struct PrefixSharedRows {
    /// Token id and position of each row.
    pub rows: Vec<(u32, usize)>,
    pub sequences: Vec<Sequence>,
}

impl PrefixSharedRows {
    /// Creates rows for the ids of each text after the prefix that it shares with the preceding
    /// text.
    pub(crate) fn new(texts: &[&[u32]]) -> Self {
        let mut all = Self {
            rows: Vec::new(),
            sequences: Vec::with_capacity(texts.len()),
        };
        let (mut before, mut path): (&[u32], Vec<usize>) = (&[], Vec::new());
        for &text in texts {
            path.truncate(common_prefix(before, text));
            let (start, length) = (all.rows.len(), text.len() - path.len());
            let own = text.iter().copied().zip(0..).skip(path.len());
            all.rows.extend(own);
            let shared = path.clone();
            path.extend(start..start + length);
            let pooled = path.last().copied().unwrap_or_default();
            all.sequences.push(Sequence {
                start,
                length,
                prefix: shared,
                pooled,
            });
            before = text;
        }
        all
    }
}

/// Returns the length of the common prefix of two texts.
fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_common_prefix_are_created_once() {
        let texts: [&[u32]; 5] = [
            &[1, 2, 9],
            &[1, 2, 3, 9],
            &[1, 2, 3, 9],
            &[1, 4, 9],
            &[5, 9],
        ];
        assert_eq!(sorted_order(&texts), [1, 2, 0, 3, 4]);
        let ordered: Vec<&[u32]> = sorted_order(&texts).into_iter().map(|i| texts[i]).collect();
        assert_eq!(suffix_lengths(&ordered), [4, 1, 1, 2, 2]);
        let PrefixSharedRows { rows, sequences } = PrefixSharedRows::new(&ordered);
        let ids: Vec<u32> = rows.iter().map(|row| row.0).collect();
        assert_eq!(ids, [1, 2, 3, 9, 9, 4, 9, 5, 9]);
        for (text, sequence) in ordered.iter().zip(&sequences) {
            let path: Vec<usize> = sequence.rows().collect();
            let found: Vec<(u32, usize)> = path.iter().map(|&row| rows[row]).collect();
            let expected: Vec<(u32, usize)> = text.iter().copied().zip(0..).collect();
            assert_eq!(found, expected);
            assert_eq!(path.last(), Some(&sequence.pooled));
        }
    }
}
