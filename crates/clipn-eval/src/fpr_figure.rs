//! False positive rates at several true positive rates, in several conventions.

use serde::{Deserialize, Serialize};

use clipn_ood::metrics::{FprConvention, MetricError, RankedScores};

use crate::metric_spread::{MetricSpread, SpreadSource};

/// True positive rate of FPR95.
pub(crate) const TPR_95: f64 = 0.95;

/// FPR at one true positive rate in one convention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FprFigure {
    /// True positive rate, from 0 to 1; 0.95 for FPR95.
    pub tpr: f64,
    /// Convention.
    pub convention: FprConvention,
    /// False positive rate.
    pub fpr: f64,
    /// Lowest and highest value over every order in which equal scores could be ranked
    /// ([`RankedScores::fpr_range`]).
    pub ties: [f64; 2],
    /// Variation over the repeats or runs, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<MetricSpread>,
}

/// Convention of FPR95, and further true positive rates.
///
/// ```
/// use clipn_eval::FprSettings;
/// use clipn_ood::metrics::FprConvention;
///
/// let settings = FprSettings::from(FprConvention::Openood).with_tprs([0.9, 0.99]);
/// assert_eq!(settings.tprs(), [0.95, 0.9, 0.99]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FprSettings {
    convention: FprConvention,
    tprs: Vec<f64>,
}

impl FprSettings {
    /// Sets the true positive rates, from 0 to 1, beside 0.95, which is always the first. Duplicates are
    /// removed.
    #[must_use]
    pub fn with_tprs(mut self, tprs: impl IntoIterator<Item = f64>) -> Self {
        self.tprs = vec![TPR_95];
        for tpr in tprs {
            if !self.tprs.contains(&tpr) {
                self.tprs.push(tpr);
            }
        }
        self
    }

    /// Convention of FPR95.
    pub fn convention(&self) -> FprConvention {
        self.convention
    }

    /// True positive rates, 0.95 first.
    pub fn tprs(&self) -> &[f64] {
        &self.tprs
    }
}

impl From<FprConvention> for FprSettings {
    fn from(convention: FprConvention) -> Self {
        Self {
            convention,
            tprs: vec![TPR_95],
        }
    }
}

impl Default for FprSettings {
    fn default() -> Self {
        FprConvention::default().into()
    }
}

impl FprFigure {
    /// Name of the metric without its convention, such as `FPR95`.
    pub fn name(&self) -> String {
        format!("FPR{}", self.percent())
    }

    /// True positive rate in per cent, such as `95` or `99.5`.
    pub fn percent(&self) -> f64 {
        // Rounded, so that 0.95 is 95 and not 95.00000000000001.
        (1e6 * self.tpr).round() / 1e4
    }

    /// The range over ties, if it is wide enough to be worth showing: more than 0.05 percentage points.
    pub fn wide_ties(&self) -> Option<[f64; 2]> {
        Some(self.ties).filter(is_wide)
    }

    /// Computes the FPR at every rate in every convention. Without `with_ties`, the ranges over ties are
    /// not computed.
    pub(crate) fn compute(
        ranked: &RankedScores,
        tprs: &[f64],
        conventions: &[FprConvention],
        with_ties: bool,
    ) -> Result<Vec<Self>, MetricError> {
        let mut figures = Vec::with_capacity(tprs.len() * conventions.len());
        for &tpr in tprs {
            for &convention in conventions {
                let fpr = ranked.fpr_at_tpr(tpr, convention)?;
                let ties = if with_ties {
                    ranked.fpr_range(tpr, convention)?
                } else {
                    [fpr; 2]
                };
                figures.push(Self {
                    tpr,
                    convention,
                    fpr,
                    ties,
                    spread: None,
                });
            }
        }
        Ok(figures)
    }

    /// Computes the means over sets or runs, figure by figure; empty if the lists are not of the same rates and
    /// conventions.
    pub(crate) fn means(lists: &[&[Self]]) -> Vec<Self> {
        let Some((first, others)) = lists.split_first() else {
            return Vec::new();
        };
        if others.iter().any(|other| keys(other) != keys(first)) {
            return Vec::new();
        }
        let n = lists.len() as f64;
        let mean = |index: usize, value: fn(&Self) -> f64| {
            lists.iter().map(|list| value(&list[index])).sum::<f64>() / n
        };
        let of_figure = |(index, figure): (usize, &Self)| Self {
            fpr: mean(index, |f| f.fpr),
            // Orders of equal scores are independent, so the mean of the lowest values is the lowest mean.
            ties: [mean(index, |f| f.ties[0]), mean(index, |f| f.ties[1])],
            spread: None,
            ..*figure
        };
        first.iter().enumerate().map(of_figure).collect()
    }

    /// Adds the variation over repeats that have a figure for each of `figures`, or none.
    pub(crate) fn add_spreads(figures: &mut [Self], repeats: &[&[Self]], source: SpreadSource) {
        for figure in figures {
            let values: Option<Vec<f64>> = repeats
                .iter()
                .map(|list| find(list, figure.tpr, figure.convention).map(|f| f.fpr))
                .collect();
            figure.spread = values
                .filter(|values| values.len() > 1)
                .map(|values| MetricSpread::from_values(values.into_iter(), source));
        }
    }
}

/// Finds the figure of a rate and a convention.
pub(crate) fn find(
    figures: &[FprFigure],
    tpr: f64,
    convention: FprConvention,
) -> Option<&FprFigure> {
    figures
        .iter()
        .find(|figure| figure.tpr == tpr && figure.convention == convention)
}

fn keys(figures: &[FprFigure]) -> Vec<(f64, FprConvention)> {
    figures.iter().map(|f| (f.tpr, f.convention)).collect()
}

/// Whether a range is wider than 0.05 percentage points.
pub(crate) fn is_wide(&[low, high]: &[f64; 2]) -> bool {
    high - low > 5e-4
}
