use clipn_checkpoint::Tensor;
use clipn_engine::PackedRows;
use clipn_model::{Real, normalize_row};
use clipn_text::wordnet::{Corpus, ExclusionReason, Exclusions, WordNet};
use sha2::{Digest, Sha256};

use crate::negatives::choice::{Grouping, check_rows};
use crate::negatives::half_rows::{to_half, words_from_half};
use crate::negatives::{NegativesError, NegativesOrigin, Selection, TemplateJoin};

/// M words that are no class, as rows of the "yes" text tower `[M, D]`, in groups.
///
/// A row has length 1, and is rounded to `f16` before it is normalized, also if it was never in a file:
/// so scores and decisions have the same bits before and after a file or a bundle.
///
/// ```
/// use clipn_detect::negatives::choice::Grouping;
/// use clipn_detect::negatives::{Negatives, NegativesOrigin, TemplateJoin};
///
/// let words = vec!["a hand".to_owned(), "an empty table".to_owned()];
/// let origin = NegativesOrigin::user_list(Vec::new(), TemplateJoin::default(), Grouping::Single);
/// // Two words in one group.
/// let negatives = Negatives::new(words, &[1.0f32, 0.0, 0.0, 1.0], vec![2], origin)?;
/// assert_eq!((negatives.len(), negatives.dim()), (2, 2));
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("reject.safetensors");
/// negatives.save(&path)?;
/// assert_eq!(Negatives::open(&path)?, negatives);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Negatives<T: Real = f32> {
    words: Vec<String>,
    /// The rows in `f16`, as files store them.
    half: Tensor,
    rows: Vec<T>,
    dim: usize,
    group_ends: Vec<usize>,
    origin: NegativesOrigin,
}

impl<T: Real> Negatives<T> {
    /// Creates negatives from M words, their rows `[M, D]` of length 1, and the end of each group:
    /// group g has the rows `group_ends[g − 1]..group_ends[g]`.
    ///
    /// # Errors
    /// [`NegativesError::NoWords`], [`NegativesError::InvalidShape`] if the values do not form a row per
    /// word, [`NegativesError::NotFinite`] for a row whose length is not 1 (within 0.01), and
    /// [`NegativesError::InvalidGroups`] if the groups are not a partition into sizes that differ by at
    /// most one.
    pub fn new(
        words: Vec<String>,
        rows: &[T],
        group_ends: Vec<usize>,
        origin: NegativesOrigin,
    ) -> Result<Self, NegativesError> {
        let dim = dim_of(words.len(), rows.len())?;
        Self::from_half_rows(words, to_half(rows, dim)?, group_ends, origin)
    }

    /// Creates negatives from text features `[M, D]` that were computed elsewhere: M texts of a user, in groups
    /// for a number of classes. The rows are normalized, and ordered by group.
    ///
    /// ```
    /// use clipn_detect::negatives::Negatives;
    ///
    /// let words: Vec<String> = (0..40).map(|word| format!("word {word}")).collect();
    /// let negatives = Negatives::from_features(&words, vec![3.0f32; 40 * 2], 10)?;
    /// // For 10 classes, groups have about 17 words.
    /// assert_eq!(negatives.group_ends(), [20, 40]);
    /// # Ok::<(), clipn_detect::negatives::NegativesError>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`new`](Self::new).
    pub fn from_features(
        words: &[String],
        mut features: Vec<T>,
        classes: usize,
    ) -> Result<Self, NegativesError> {
        let dim = dim_of(words.len(), features.len())?;
        features.chunks_exact_mut(dim).for_each(normalize_row);
        let grouping = Grouping::default();
        let origin = NegativesOrigin::user_list(Vec::new(), TemplateJoin::default(), grouping);
        let groups = grouping.apply(words.len(), classes)?;
        let (words, rows) = in_order(&groups.order, words, &features, dim);
        Self::new(words, &rows, groups.ends, origin)
    }

    /// Creates negatives from rows in `f16`, a matrix with a row per word.
    pub(super) fn from_half_rows(
        words: Vec<String>,
        half: Tensor,
        group_ends: Vec<usize>,
        origin: NegativesOrigin,
    ) -> Result<Self, NegativesError> {
        check_groups(words.len(), &group_ends)?;
        let dim = half.shape().last().copied().unwrap_or_default();
        let rows = words_from_half(&half, dim, &words)?;
        Ok(Self {
            words,
            half,
            rows,
            dim,
            group_ends,
            origin,
        })
    }

    /// Returns the number of negatives M.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are no negatives, which is never the case.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Returns the dimension D of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns the words, in row order.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Returns the rows, `[M, D]`.
    pub fn rows(&self) -> &[T] {
        &self.rows
    }

    /// Returns the end of each group; the last one is M.
    pub fn group_ends(&self) -> &[usize] {
        &self.group_ends
    }

    /// Returns the number of groups.
    pub fn groups(&self) -> usize {
        self.group_ends.len()
    }

    /// Returns how the negatives were made.
    pub fn origin(&self) -> &NegativesOrigin {
        &self.origin
    }

    /// Returns the negatives for other classes: without the words that describe their images (see
    /// [`WordNet::exclusions`]), and grouped again. Of a user's list, only the names of classes are left
    /// out; the published lists, which may have such names, stay as they are.
    ///
    /// # Errors
    /// [`NegativesError::NoWords`] if no word is left, and the errors of
    /// [`Grouping::apply`](crate::negatives::choice::Grouping::apply).
    pub fn for_classes(&self, class_names: &[String]) -> Result<Self, NegativesError> {
        self.regrouped(&self.kept(class_names), class_names.len())
    }

    /// Returns the same words for another number of classes, grouped again if that changes their groups.
    ///
    /// # Errors
    /// Those of [`Grouping::apply`](crate::negatives::choice::Grouping::apply).
    pub fn for_class_count(&self, classes: usize) -> Result<Self, NegativesError> {
        let all: Vec<usize> = (0..self.len()).collect();
        self.regrouped(&all, classes)
    }

    /// Indices of the words that do not describe images of the classes, ascending; of a user's list, of those that
    /// are no name of one; of a published list, of all words.
    pub(super) fn kept(&self, class_names: &[String]) -> Vec<usize> {
        let published = [Corpus::NegLabel, Corpus::Csp].map(Corpus::name);
        if published.contains(&self.origin.source.as_str()) {
            return (0..self.len()).collect();
        }
        let is_list = self.origin.selection == Selection::UserList;
        let exclusions = if is_list {
            Exclusions::of_names(class_names)
        } else {
            WordNet::get().exclusions(class_names)
        };
        let is_kept = |word: &String| match exclusions.reason(word) {
            None => true,
            Some(reason) => is_list && reason != ExclusionReason::ClassName,
        };
        (0..self.len())
            .filter(|&index| is_kept(&self.words[index]))
            .collect()
    }

    /// The words at the indices `kept`, grouped again for this number of classes. If all are kept and the
    /// groups have the same sizes, nothing changes: a permutation would only mix the words.
    pub(super) fn regrouped(&self, kept: &[usize], classes: usize) -> Result<Self, NegativesError> {
        if kept.is_empty() {
            return Err(NegativesError::NoWords {
                candidates: self.len(),
                chosen: 0,
            });
        }
        let groups = self.origin.grouping.apply(kept.len(), classes)?;
        if kept.len() == self.len() && groups.ends == self.group_ends {
            return Ok(self.clone());
        }
        let order: Vec<usize> = groups.order.iter().map(|&index| kept[index]).collect();
        let (words, rows) = in_order(&order, &self.words, &self.rows, self.dim);
        Self::new(words, &rows, groups.ends, self.origin.clone())
    }

    /// Returns a SHA-256 hash of words, rows and groups, in hexadecimal digits.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for word in &self.words {
            hash.update((word.len() as u64).to_le_bytes());
            hash.update(word);
        }
        for end in &self.group_ends {
            hash.update((*end as u64).to_le_bytes());
        }
        hash.update(self.half.bytes());
        let digest = hash.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Packs the rows for products with image features.
    ///
    /// # Errors
    /// [`NegativesError::Model`], never for rows that the constructor accepted.
    pub fn pack(&self) -> Result<PackedRows<T>, NegativesError> {
        Ok(PackedRows::new(&self.rows, self.dim)?)
    }

    /// Returns the rows in `f16`, as files store them.
    pub(super) fn half_rows(&self) -> &Tensor {
        &self.half
    }
}

/// Returns the dimension of the rows of words, if every word has one.
fn dim_of(words: usize, values: usize) -> Result<usize, NegativesError> {
    if words == 0 {
        return Err(NegativesError::NoWords {
            candidates: 0,
            chosen: 0,
        });
    }
    let dim = values / words;
    if dim == 0 || check_rows("the negatives", values, dim)? != words {
        return Err(NegativesError::InvalidShape {
            what: "the negatives",
            rows: words,
            dim,
            found: values,
        });
    }
    Ok(dim)
}

/// Returns the words and their rows in an order, which may leave some out.
fn in_order<T: Copy>(
    order: &[usize],
    words: &[String],
    rows: &[T],
    dim: usize,
) -> (Vec<String>, Vec<T>) {
    let row = |&index: &usize| &rows[index * dim..][..dim];
    (
        order.iter().map(|&index| words[index].clone()).collect(),
        order.iter().flat_map(row).copied().collect(),
    )
}

/// Checks that the ends are a partition of `words` rows into groups whose sizes differ by at most one.
fn check_groups(words: usize, ends: &[usize]) -> Result<(), NegativesError> {
    let invalid = |reason: String| Err(NegativesError::InvalidGroups { words, reason });
    let (mut before, mut smallest, mut largest) = (0, usize::MAX, 0);
    for (group, &end) in ends.iter().enumerate() {
        if end <= before || end > words {
            return invalid(format!(
                "group {group} ends at {end}, expected {} to {words}",
                before + 1
            ));
        }
        let size = end - before;
        (smallest, largest) = (size.min(smallest), size.max(largest));
        before = end;
    }
    if before != words {
        return invalid(format!("the last group ends at {before}"));
    }
    if largest - smallest > 1 {
        return invalid(format!(
            "sizes from {smallest} to {largest} differ by more than one"
        ));
    }
    Ok(())
}
