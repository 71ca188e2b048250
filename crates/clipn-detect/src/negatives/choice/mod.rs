//! Which candidate words become negatives, and how they are grouped: pure functions of rows.

mod groups;
mod ole;
mod quantile;

pub use groups::{Grouping, Groups, proportional_groups, published_groups};
pub use ole::{OleOutliers, ole_outliers};

use clipn_engine::PackedRows;
use clipn_model::Real;
use serde::{Deserialize, Serialize};

use crate::negatives::NegativesError;
use quantile::similarity_quantiles;

/// Rule that chooses negatives among candidate words: those that are least similar to the classes.
///
/// A candidate w with the similarities S to all K classes has the value q(w), the 0.95-quantile of S
/// with linear interpolation. The 15 % of the candidates with the smallest q become negatives, nouns
/// and adjectives apart. The quantile ignores the nearest 5 % of many classes and is nearly the maximum
/// of few.
///
/// Source: Jiang et al., "Negative Label Guided OOD Detection with Pretrained Vision-Language Models",
/// ICLR 2024, <https://arxiv.org/abs/2403.20078>.
///
/// ```
/// use clipn_detect::negatives::choice::Choice;
///
/// // One class and four nouns: the two least similar ones, the smallest similarity first.
/// let (class, nouns) = ([1.0, 0.0], [0.8, 0.6, -0.6, 0.8, 1.0, 0.0, 0.0, 1.0]);
/// let chosen = Choice::neglabel().with_fraction(0.5).choose(&nouns, &[], &class, 2)?;
/// assert_eq!((chosen.nouns, chosen.adjectives), (vec![1, 3], vec![]));
/// # Ok::<(), clipn_detect::negatives::NegativesError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Choice {
    /// Quantile of the similarities to the classes, in [0, 1].
    pub quantile: f64,
    /// Fraction of the candidates to choose, in (0, 1].
    pub fraction: f64,
    /// Minimum number of candidates to choose; all of them if there are fewer.
    pub min_count: usize,
    /// Candidates whose greatest similarity exceeds this value get q = 1 and so come last.
    pub max_similarity: Option<f64>,
}

impl Choice {
    /// Returns NegLabel's published rule: the 0.95-quantile, 15 % of the candidates.
    pub fn neglabel() -> Self {
        Self {
            quantile: 0.95,
            fraction: 0.15,
            min_count: 0,
            max_similarity: None,
        }
    }

    /// Returns CSP's published rule: NegLabel's, with a maximum similarity of 0.95.
    ///
    /// Source: Chen et al., "Conjugated Semantic Pool Improves OOD Detection with Pre-trained
    /// Vision-Language Models", NeurIPS 2024, <https://arxiv.org/abs/2410.08611>.
    pub fn csp() -> Self {
        Self {
            max_similarity: Some(0.95),
            ..Self::neglabel()
        }
    }

    /// Sets the fraction of the candidates to choose, in (0, 1].
    #[must_use]
    pub fn with_fraction(self, fraction: f64) -> Self {
        Self { fraction, ..self }
    }

    /// Sets the quantile of the similarities, in [0, 1].
    #[must_use]
    pub fn with_quantile(self, quantile: f64) -> Self {
        Self { quantile, ..self }
    }

    /// Sets the minimum number of candidates to choose.
    #[must_use]
    pub fn with_min_count(self, min_count: usize) -> Self {
        Self { min_count, ..self }
    }

    /// Sets the similarity above which a candidate comes last.
    #[must_use]
    pub fn with_max_similarity(self, max_similarity: impl Into<Option<f64>>) -> Self {
        Self {
            max_similarity: max_similarity.into(),
            ..self
        }
    }

    /// Chooses negatives among `nouns` and `adjectives`, each `[N, D]`, for `classes` `[K, D]`. All
    /// rows have length 1. Candidates with equal q keep their order.
    ///
    /// # Errors
    /// [`NegativesError::NoClasses`], [`NegativesError::InvalidShape`] for incomplete rows,
    /// [`NegativesError::InvalidSetting`], and [`NegativesError::SimilarityNotFinite`] if a row is not
    /// finite.
    pub fn choose<T: Real>(
        &self,
        nouns: &[T],
        adjectives: &[T],
        classes: &[T],
        dim: usize,
    ) -> Result<Chosen, NegativesError> {
        self.check()?;
        for (what, values) in [
            ("the nouns", nouns),
            ("the adjectives", adjectives),
            ("the classes", classes),
        ] {
            check_rows(what, values.len(), dim)?;
        }
        if classes.is_empty() {
            return Err(NegativesError::NoClasses);
        }
        let classes = PackedRows::new(classes, dim)?;
        Ok(Chosen {
            nouns: self.choose_among("noun", nouns, &classes)?,
            adjectives: self.choose_among("adjective", adjectives, &classes)?,
        })
    }

    fn choose_among<T: Real>(
        &self,
        what: &'static str,
        candidates: &[T],
        classes: &PackedRows<T>,
    ) -> Result<Vec<usize>, NegativesError> {
        let quantiles =
            similarity_quantiles(candidates, classes, self.quantile, self.max_similarity)?;
        if let Some(index) = quantiles.iter().position(|value| !value.is_finite()) {
            return Err(NegativesError::SimilarityNotFinite { what, index });
        }
        let mut order: Vec<usize> = (0..quantiles.len()).collect();
        order.sort_by(|&a, &b| {
            quantiles[a]
                .partial_cmp(&quantiles[b])
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        order.truncate(self.count(order.len()));
        Ok(order)
    }

    /// Number of negatives among `candidates`.
    fn count(&self, candidates: usize) -> usize {
        let count = (self.fraction * candidates as f64).floor() as usize;
        count.max(self.min_count).min(candidates)
    }

    fn check(&self) -> Result<(), NegativesError> {
        check_quantile(self.quantile)?;
        let fraction = self.fraction;
        check_range(
            "the fraction of the candidates",
            "in (0, 1]",
            fraction,
            fraction > 0.0 && fraction <= 1.0,
        )?;
        match self.max_similarity {
            Some(value) => {
                check_range("the maximum similarity", "a number", value, !value.is_nan())
            }
            None => Ok(()),
        }
    }
}

fn check_quantile(quantile: f64) -> Result<(), NegativesError> {
    let is_valid = (0.0..=1.0).contains(&quantile);
    check_range("the quantile", "in [0, 1]", quantile, is_valid)
}

fn check_range(
    name: &'static str,
    expected: &'static str,
    value: f64,
    is_valid: bool,
) -> Result<(), NegativesError> {
    match is_valid {
        true => Ok(()),
        false => Err(NegativesError::InvalidSetting {
            name,
            expected,
            value: value.to_string(),
        }),
    }
}

impl Default for Choice {
    /// NegLabel's rule, except that short lists are kept whole: at least 1000 nouns and as many
    /// adjectives, if there are that many.
    fn default() -> Self {
        Self::neglabel().with_min_count(1000)
    }
}

/// Candidates chosen by [`Choice::choose`], each as its index, by ascending q.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Indices of nouns.
    pub nouns: Vec<usize>,
    /// Indices of adjectives.
    pub adjectives: Vec<usize>,
}

/// Checks that the values are whole rows.
pub(super) fn check_rows(
    what: &'static str,
    values: usize,
    dim: usize,
) -> Result<usize, NegativesError> {
    match values.checked_div(dim) {
        Some(rows) if rows * dim == values => Ok(rows),
        rows => Err(NegativesError::InvalidShape {
            what,
            rows: rows.unwrap_or(0),
            dim,
            found: values,
        }),
    }
}
