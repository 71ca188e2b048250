//! Texts with common beginnings: attention is causal, so a position's hidden state depends on nothing but the ids up to
//! it, and a beginning that several texts of a chunk share is computed once. Its keys and values serve them all.

use crate::block::Sequence;

/// The order in which texts that begin alike stand side by side.
pub(super) fn order(texts: &[&[u32]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&text| texts[text]);
    order
}

/// How many ids each text has beyond those with which it begins like the one before it; at least one, so that a text
/// like the one before counts for something.
pub(super) fn own_lengths(texts: &[&[u32]]) -> Vec<usize> {
    let mut before: &[u32] = &[];
    let mut own = Vec::with_capacity(texts.len());
    for text in texts {
        own.push((text.len() - common(before, text)).max(1));
        before = text;
    }
    own
}

/// The rows of a chunk of ordered texts: the id and the position of each, and where each text has its rows.
pub(super) struct SharedRows {
    /// Id and position of each row.
    pub rows: Vec<(u32, usize)>,
    pub sequences: Vec<Sequence>,
}

impl SharedRows {
    /// Each text gets rows for the ids with which it departs from the text before it.
    pub fn of(texts: &[&[u32]]) -> Self {
        let mut all = Self {
            rows: Vec::new(),
            sequences: Vec::with_capacity(texts.len()),
        };
        let (mut before, mut path): (&[u32], Vec<usize>) = (&[], Vec::new());
        for &text in texts {
            path.truncate(common(before, text));
            let (start, length) = (all.rows.len(), text.len() - path.len());
            let own = text.iter().copied().zip(0..).skip(path.len());
            all.rows.extend(own);
            let shared = path.clone();
            path.extend(start..start + length);
            let pooled = path.last().copied().unwrap_or_default();
            all.sequences.push(Sequence {
                start,
                length,
                before: shared,
                pooled,
            });
            before = text;
        }
        all
    }
}

/// How many ids two texts begin with alike.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_made_once_for_a_common_beginning() {
        let texts: [&[u32]; 5] = [
            &[1, 2, 9],
            &[1, 2, 3, 9],
            &[1, 2, 3, 9],
            &[1, 4, 9],
            &[5, 9],
        ];
        assert_eq!(order(&texts), [1, 2, 0, 3, 4]);
        let ordered: Vec<&[u32]> = order(&texts).into_iter().map(|i| texts[i]).collect();
        assert_eq!(own_lengths(&ordered), [4, 1, 1, 2, 2]);
        let SharedRows { rows, sequences } = SharedRows::of(&ordered);
        let ids: Vec<u32> = rows.iter().map(|row| row.0).collect();
        assert_eq!(ids, [1, 2, 3, 9, 9, 4, 9, 5, 9]);
        for (text, sequence) in ordered.iter().zip(&sequences) {
            let path: Vec<usize> = sequence.path().collect();
            let found: Vec<(u32, usize)> = path.iter().map(|&row| rows[row]).collect();
            let expected: Vec<(u32, usize)> = text.iter().copied().zip(0..).collect();
            assert_eq!(found, expected);
            assert_eq!(path.last(), Some(&sequence.pooled));
        }
    }
}
