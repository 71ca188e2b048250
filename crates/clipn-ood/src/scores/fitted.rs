//! Scores that are fitted to in-distribution images: their names, and the values of one image.

use std::fmt;

use num_traits::Float;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{LogitsRow, Score, by_name};

/// A score that is fitted to features and logits of in-distribution images.
///
/// [`ScoreFitter`](crate::fitted::ScoreFitter) fits them, [`ScoreFit`](crate::fitted::ScoreFit)
/// computes the [`FittedValues`] of an image from its feature, and [`LogitsRow::fitted`] carries them.
/// As a [`Score`] a variant reads its value from there, and is NaN if it was not fitted. Definitions and
/// settings are those of OpenOOD v1.5, <https://github.com/Jingkang50/OpenOOD>.
///
/// ```
/// use clipn_ood::scores::{FittedScore, FittedValues, LogitsRow, Score, by_name};
///
/// let mut values = FittedValues::default();
/// values.set(FittedScore::Knn, -0.25);
/// let row = LogitsRow::new(&[25.0, 20.0], &[]).with_fitted(&values);
/// let knn = by_name("knn")?;
/// assert_eq!(knn.faithful(row), -0.25);
/// assert!(by_name("vim")?.faithful(row).is_nan());
/// # Ok::<(), clipn_ood::scores::ScoreError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FittedScore {
    /// Minus the squared distance to the K-th nearest image.
    Knn,
    /// Minus the smallest squared Mahalanobis distance to a class.
    Mds,
    /// The same, relative to one Gaussian of all images.
    Rmds,
    /// Virtual-logit matching: energy minus the scaled residual.
    Vim,
    /// Minus the norm outside the principal subspace.
    Residual,
    /// Inner product with the stored pattern of the predicted class.
    She,
    /// Energy times the similarity to the nearest images, weighted by their energies.
    NnGuide,
    /// Mean distance to the decision boundaries, relative to that from the mean feature.
    Fdbd,
    /// Energy of the clipped feature.
    React,
    /// Minus the smallest divergence from the typical softmax of a class.
    KlMatching,
}

impl FittedScore {
    /// Number of fitted scores.
    pub(crate) const COUNT: usize = 10;

    /// All fitted scores.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Knn,
        Self::Mds,
        Self::Rmds,
        Self::Vim,
        Self::Residual,
        Self::She,
        Self::NnGuide,
        Self::Fdbd,
        Self::React,
        Self::KlMatching,
    ];

    /// Name in command lines and files, such as `knn`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Knn => "knn",
            Self::Mds => "mds",
            Self::Rmds => "rmds",
            Self::Vim => "vim",
            Self::Residual => "residual",
            Self::She => "she",
            Self::NnGuide => "nnguide",
            Self::Fdbd => "fdbd",
            Self::React => "react",
            Self::KlMatching => "kl-matching",
        }
    }

    fn index(self) -> usize {
        self as usize
    }

    fn value<T: Float>(self, row: LogitsRow<'_, T>) -> f64 {
        let fitted = row.fitted.filter(|_| row.finite_yes().is_some());
        fitted.map_or(f64::NAN, |values| values.get(self))
    }
}

impl Score for FittedScore {
    fn name(&self) -> &'static str {
        self.as_str()
    }

    fn display_name(&self) -> &'static str {
        match self {
            Self::Knn => "KNN",
            Self::Mds => "MDS",
            Self::Rmds => "RMDS",
            Self::Vim => "ViM",
            Self::Residual => "Residual",
            Self::She => "SHE",
            Self::NnGuide => "NNGuide",
            Self::Fdbd => "fDBD",
            Self::React => "ReAct",
            Self::KlMatching => "KL-Matching",
        }
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn fitted(&self) -> Option<FittedScore> {
        Some(*self)
    }

    fn min_classes(&self) -> usize {
        match self {
            Self::Rmds | Self::Fdbd | Self::KlMatching => 2,
            _ => 1,
        }
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        self.value(row) as f32
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        self.value(row)
    }

    fn from_stable(&self, value: f64) -> f64 {
        value
    }

    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}

impl Serialize for FittedScore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for FittedScore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let score = by_name(&name).ok().and_then(Score::fitted);
        score.ok_or_else(|| serde::de::Error::custom(format!("unknown fitted score `{name}`")))
    }
}

/// Values of the fitted scores of one image; NaN for those that were not fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FittedValues([f64; FittedScore::COUNT]);

impl Default for FittedValues {
    /// No score is fitted.
    fn default() -> Self {
        Self([f64::NAN; FittedScore::COUNT])
    }
}

impl FittedValues {
    /// Returns the value of a score.
    pub fn get(&self, score: FittedScore) -> f64 {
        self.0[score.index()]
    }

    /// Sets the value of a score.
    pub fn set(&mut self, score: FittedScore, value: f64) {
        self.0[score.index()] = value;
    }
}

/// A set of fitted scores.
///
/// ```
/// use clipn_ood::scores::{FittedScore, FittedScoreSet};
///
/// let set: FittedScoreSet = [FittedScore::Vim, FittedScore::Knn].into_iter().collect();
/// assert!(set.contains(FittedScore::Knn) && !set.contains(FittedScore::Mds));
/// assert_eq!(set.to_string(), "knn, vim");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FittedScoreSet(u16);

impl FittedScoreSet {
    /// Returns the set of all fitted scores.
    pub fn all() -> Self {
        FittedScore::ALL.into_iter().collect()
    }

    /// Whether a score is in the set.
    pub fn contains(self, score: FittedScore) -> bool {
        self.0 & (1 << score.index()) != 0
    }

    /// Whether no score is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Iterates over the scores of the set, in the order of [`FittedScore::ALL`].
    pub fn iter(self) -> impl Iterator<Item = FittedScore> {
        FittedScore::ALL
            .into_iter()
            .filter(move |score| self.contains(*score))
    }

    /// Returns the set without a score.
    #[must_use]
    pub fn without(self, score: FittedScore) -> Self {
        Self(self.0 & !(1 << score.index()))
    }
}

impl FromIterator<FittedScore> for FittedScoreSet {
    fn from_iter<I: IntoIterator<Item = FittedScore>>(scores: I) -> Self {
        let bits = scores.into_iter().map(|score| 1 << score.index());
        Self(bits.fold(0, |set, bit: u16| set | bit))
    }
}

impl Serialize for FittedScoreSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for FittedScoreSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

impl fmt::Display for FittedScoreSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, score) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", score.as_str())?;
        }
        Ok(())
    }
}
