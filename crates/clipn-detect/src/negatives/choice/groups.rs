//! Groups of negatives: the score is the mean over groups, so their size decides what 0.5 means.

use clipn_base::random::{RandomSource, Xoshiro256};
use serde::{Deserialize, Serialize};

use crate::negatives::NegativesError;

/// Order of negatives, and the groups of that order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Indices of negatives, one group after another; negatives that are dropped are missing.
    pub order: Vec<usize>,
    /// End of each group in `order`, the last one equal to its length.
    pub ends: Vec<usize>,
}

/// How negatives are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Grouping {
    /// All negatives in one group: a single negative that outweighs the classes is enough to reject.
    Single,
    /// A number of groups of equal size; the remainder is dropped, see [`published_groups`].
    Published {
        /// Number of groups; NegLabel and CSP use 100.
        groups: usize,
        /// Seed of the permutation. The published one cannot be repeated on a CPU, and only the
        /// partition matters.
        seed: u64,
    },
    /// Groups in proportion to the number of classes, see [`proportional_groups`].
    Proportional {
        /// Size of a group, as a ratio to the number of classes; `None` for
        /// [`default_ratio`](Self::default_ratio).
        ratio: Option<f64>,
        /// Seed of the permutation.
        seed: u64,
    },
}

impl Grouping {
    /// Returns 3 / K^¼, the ratio of group size to K classes that keeps known images and rejects unknown
    /// ones about equally often at 0.5: groups of 5 for 2 classes, 17 for 10, 95 for 100, 533 for 1000.
    ///
    /// It is the result of a measurement (decision record 0013). A constant ratio rejects too little with
    /// few classes, or too much with many.
    pub fn default_ratio(classes: usize) -> f64 {
        3.0 / (classes.max(1) as f64).sqrt().sqrt()
    }

    /// Sets the seed of the permutation, if there is one.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        match self {
            Self::Single => self,
            Self::Published { groups, .. } => Self::Published { groups, seed },
            Self::Proportional { ratio, .. } => Self::Proportional { ratio, seed },
        }
    }

    /// Returns the seed of the permutation, if there is one.
    pub fn seed(self) -> Option<u64> {
        match self {
            Self::Single => None,
            Self::Published { seed, .. } | Self::Proportional { seed, .. } => Some(seed),
        }
    }

    /// Groups `count` negatives for a number of classes.
    ///
    /// # Errors
    /// Same as [`published_groups`] and [`proportional_groups`].
    pub fn apply(self, count: usize, classes: usize) -> Result<Groups, NegativesError> {
        match self {
            Self::Single => published_groups(count, 1, None),
            Self::Published { groups, seed } => {
                let kept = count - count.checked_rem(groups).unwrap_or(0);
                published_groups(count, groups, Some(&permutation(kept, seed)))
            }
            Self::Proportional { ratio, seed } => {
                let ratio = ratio.unwrap_or_else(|| Self::default_ratio(classes));
                proportional_groups(count, classes, ratio, seed)
            }
        }
    }
}

impl Default for Grouping {
    fn default() -> Self {
        Self::Proportional {
            ratio: None,
            seed: 0,
        }
    }
}

/// Groups `count` negatives as published: drops the last `count mod groups`, permutes the rest, and
/// cuts it into groups of equal size. `permutation` lists the indices of the negatives that are left, in
/// their new order; `None` keeps the order.
///
/// # Errors
/// [`NegativesError::InvalidGroups`] if there are no groups or more groups than negatives, or if
/// `permutation` does not contain every index once.
pub fn published_groups(
    count: usize,
    groups: usize,
    permutation: Option<&[usize]>,
) -> Result<Groups, NegativesError> {
    let invalid = |reason: String| NegativesError::InvalidGroups {
        words: count,
        reason,
    };
    if groups == 0 || groups > count {
        return Err(invalid(format!(
            "expected 1 to {count} groups, got {groups}"
        )));
    }
    let kept = count - count % groups;
    let order = match permutation {
        None => (0..kept).collect(),
        Some(permutation) => {
            let mut sorted = permutation.to_vec();
            sorted.sort_unstable();
            if !sorted.iter().copied().eq(0..kept) {
                return Err(invalid(format!(
                    "expected a permutation of {kept} indices, got {} values",
                    permutation.len()
                )));
            }
            permutation.to_vec()
        }
    };
    Ok(Groups {
        order,
        ends: equal_ends(kept, groups),
    })
}

/// Groups `count` negatives in proportion to the number of classes: a group has about
/// max(1, round(`ratio`·`classes`)) negatives, sizes differ by at most one, and no negative is dropped.
/// The order is a permutation drawn from `seed`. If there are fewer negatives than a group has, all
/// are in one group, in their order.
///
/// # Errors
/// [`NegativesError::InvalidSetting`] if the ratio is not positive and finite,
/// [`NegativesError::InvalidGroups`] if there are no negatives.
pub fn proportional_groups(
    count: usize,
    classes: usize,
    ratio: f64,
    seed: u64,
) -> Result<Groups, NegativesError> {
    if !(ratio > 0.0 && ratio.is_finite()) {
        return Err(NegativesError::InvalidSetting {
            name: "the ratio of group size to classes",
            expected: "positive",
            value: ratio.to_string(),
        });
    }
    if count == 0 {
        return Err(NegativesError::InvalidGroups {
            words: 0,
            reason: "expected at least one negative".to_owned(),
        });
    }
    let size = (ratio * classes as f64).round().max(1.0);
    let groups = (count as f64 / size).round().clamp(1.0, count as f64) as usize;
    let order = match groups {
        1 => (0..count).collect(),
        _ => permutation(count, seed),
    };
    Ok(Groups {
        order,
        ends: equal_ends(count, groups),
    })
}

/// Draws a permutation of `0..count`.
fn permutation(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    Xoshiro256::new(seed).shuffle(&mut order);
    order
}

/// Ends of `groups` consecutive groups whose sizes differ by at most one.
fn equal_ends(count: usize, groups: usize) -> Vec<usize> {
    let end = |group: usize| (group as u64 * count as u64 / groups as u64) as usize;
    (1..=groups).map(end).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(ends: &[usize]) -> Vec<usize> {
        let mut before = 0;
        let size = |&end: &usize| end - std::mem::replace(&mut before, end);
        ends.iter().map(size).collect()
    }

    proptest! {
        #[test]
        fn proportional_groups_are_a_partition(count in 1usize..400, classes in 1usize..300, ratio in 0.01f64..5.0, seed: u64) {
            let groups = proportional_groups(count, classes, ratio, seed).unwrap();
            let mut order = groups.order.clone();
            order.sort_unstable();
            prop_assert!(order.into_iter().eq(0..count));
            let sizes = sizes(&groups.ends);
            prop_assert_eq!(sizes.iter().sum::<usize>(), count);
            let (min, max) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            prop_assert!(max - min <= 1 && *min >= 1, "{sizes:?}");
            // The number of groups is the rounded quotient, so their size is near the intended one.
            let size = (ratio * classes as f64).round().max(1.0);
            if sizes.len() > 1 {
                prop_assert!(*max as f64 <= 4.0 / 3.0 * size + 1.0 && *min as f64 >= size * 0.75 - 1.0, "{size} {sizes:?}");
            }
            prop_assert_eq!(&groups, &proportional_groups(count, classes, ratio, seed).unwrap());
        }

        #[test]
        fn published_groups_have_one_size(count in 1usize..400, groups in 1usize..50) {
            prop_assume!(groups <= count);
            let found = published_groups(count, groups, None).unwrap();
            prop_assert_eq!(sizes(&found.ends), vec![count / groups; groups]);
            prop_assert!(found.order.into_iter().eq(0..count / groups * groups));
        }
    }

    #[test]
    fn groups_grow_less_than_the_number_of_classes() {
        let size = |classes| {
            let groups = Grouping::default().apply(70_000, classes).unwrap();
            (70_000.0 / groups.ends.len() as f64).round() as usize
        };
        assert_eq!([2, 10, 100, 1000].map(size), [5, 17, 95, 534]);
    }

    #[test]
    fn few_negatives_are_one_group() {
        let groups = proportional_groups(3, 1000, 0.5, 0).unwrap();
        assert_eq!(groups.ends, [3]);
    }

    #[test]
    fn seeds_give_different_orders() {
        let order = |seed| proportional_groups(50, 5, 1.0, seed).unwrap().order;
        assert_ne!(order(0), order(1));
    }

    #[test]
    fn rejects_impossible_groups() {
        for (result, message) in [
            (
                published_groups(3, 4, None),
                "invalid groups of 3 negatives: expected 1 to 3 groups, got 4",
            ),
            (
                published_groups(5, 2, Some(&[0, 1, 2, 2])),
                "invalid groups of 5 negatives: expected a permutation of 4 indices, got 4 values",
            ),
            (
                proportional_groups(5, 2, f64::NAN, 0),
                "the ratio of group size to classes must be positive, got NaN",
            ),
            (
                proportional_groups(0, 2, 1.0, 0),
                "invalid groups of 0 negatives: expected at least one negative",
            ),
        ] {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
    }
}
