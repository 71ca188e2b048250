//! A split of images into those that scores are fitted to and those that a threshold comes from.

use std::collections::BTreeMap;

use clipn_base::random::{RandomSource, Xoshiro256};
use clipn_ood::calibration::ComparisonSettings;

/// Images that scores are fitted to, and those that the threshold comes from: a threshold from the images of the
/// fit would accept too few others.
///
/// ```
/// use clipn_detect::fitting::FitSplit;
///
/// let split = FitSplit::new(&[Some(0), Some(1), Some(0), Some(1)], 0.5, 0);
/// assert_eq!((split.fit.len(), split.threshold.len()), (2, 2));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FitSplit {
    /// Indices of the images to fit to, ascending.
    pub fit: Vec<usize>,
    /// Indices of all others, ascending.
    pub threshold: Vec<usize>,
}

impl FitSplit {
    /// Smallest number of images that scores are fitted to for a comparison of scores. With fewer, the fit is
    /// noise.
    pub const MIN_IMAGES: usize = 100;

    /// Splits images with these classes, `[N]`, at random, each class in the same proportion. `fraction` is
    /// that of the images to fit to.
    pub fn new(classes: &[Option<usize>], fraction: f64, seed: u64) -> Self {
        let mut groups: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (index, class) in classes.iter().enumerate() {
            groups.entry(*class).or_default().push(index);
        }
        let mut split = Self {
            fit: Vec::new(),
            threshold: Vec::new(),
        };
        let mut random = Xoshiro256::new(seed);
        let mut seen = 0;
        for (_, mut group) in groups {
            random.shuffle(&mut group);
            seen += group.len();
            // Rounding the total rather than each class, so that small classes do not add up.
            let wanted = Self::images_to_fit(seen, fraction);
            let count = wanted.saturating_sub(split.fit.len()).min(group.len());
            let (fit, threshold) = group.split_at(count);
            split.fit.extend(fit);
            split.threshold.extend(threshold);
        }
        split.fit.sort_unstable();
        split.threshold.sort_unstable();
        split
    }

    /// Number of images to fit to, of `images`.
    pub fn images_to_fit(images: usize, fraction: f64) -> usize {
        ((fraction * images as f64).round() as usize).min(images)
    }

    /// Why scores cannot be fitted for a comparison of scores on `id` in-distribution and `ood` other images.
    /// `None` if they can: at least [`MIN_IMAGES`](Self::MIN_IMAGES) for the fit and, apart from these, enough
    /// for the comparison.
    ///
    /// ```
    /// use clipn_detect::fitting::FitSplit;
    /// use clipn_ood::calibration::ComparisonSettings;
    ///
    /// let problem = FitSplit::problem(&ComparisonSettings::default(), [40, 40], 0.5);
    /// assert_eq!(
    ///     problem.as_deref(),
    ///     Some("they are fitted to at least 100 images, got 20")
    /// );
    /// ```
    pub fn problem(
        comparison: &ComparisonSettings,
        [id, ood]: [usize; 2],
        fraction: f64,
    ) -> Option<String> {
        let (fitted, least) = (Self::images_to_fit(id, fraction), Self::MIN_IMAGES);
        if fitted < least {
            return Some(format!(
                "they are fitted to at least {least} images, got {fitted}"
            ));
        }
        let rest = comparison.check_counts(id - fitted, ood);
        rest.err()
            .map(|error| format!("of the images that are not fitted to: {error}"))
    }

    /// Features `[N, dim]` and classes `[N]` of the images to fit to, from those of all.
    ///
    /// # Panics
    /// If there are fewer images than were split.
    pub fn rows_to_fit(
        &self,
        features: &[f32],
        classes: &[Option<usize>],
        dim: usize,
    ) -> (Vec<f32>, Vec<Option<usize>>) {
        let row = |&index: &usize| features[index * dim..][..dim].iter().copied();
        let features = self.fit.iter().flat_map(row).collect();
        (features, self.fit.iter().map(|&i| classes[i]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_split_in_proportion() {
        let classes: Vec<Option<usize>> = (0..100)
            .map(|i| {
                if i < 40 {
                    Some(0)
                } else {
                    Some(i % 3).filter(|c| *c > 0)
                }
            })
            .collect();
        let split = FitSplit::new(&classes, 0.5, 0);
        assert_eq!((split.fit.len(), split.threshold.len()), (50, 50));
        let of = |part: &[usize], class| part.iter().filter(|i| classes[**i] == class).count();
        for class in [None, Some(0), Some(1), Some(2)] {
            let (fit, threshold) = (of(&split.fit, class), of(&split.threshold, class));
            assert!(
                fit.abs_diff(threshold) <= 1,
                "{class:?}: {fit} and {threshold}"
            );
        }
        let mut all = [split.fit.clone(), split.threshold.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(split, FitSplit::new(&classes, 0.5, 0));
        assert_ne!(split, FitSplit::new(&classes, 0.5, 1));
        assert_eq!(FitSplit::new(&classes, 0.2, 0).fit.len(), 20);
    }
}
