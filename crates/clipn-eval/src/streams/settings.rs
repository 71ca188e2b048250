use serde::{Deserialize, Serialize};

/// Order and mixture of streams; the defaults are the protocol of the papers, in three orders.
///
/// ```
/// use clipn_eval::streams::StreamSettings;
///
/// let settings = StreamSettings::default().with_ood_shares([0.01, 0.5]);
/// assert_eq!((settings.batch, settings.orders), (256, 3));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamSettings {
    /// Images per batch, at least 1.
    pub batch: usize,
    /// Number of orders, at least 1.
    pub orders: usize,
    /// Random seed of the orders and of the images that are left out.
    pub seed: u64,
    /// Parts of a stream that are out-of-distribution, between 0 and 1. For each of them, images of the set
    /// that has too many are left out at random. Empty for all images of both sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ood_shares: Vec<f64>,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            batch: 256,
            orders: 3,
            seed: 0,
            ood_shares: Vec::new(),
        }
    }
}

impl StreamSettings {
    /// Sets the number of images per batch; 0 counts as 1.
    #[must_use]
    pub fn with_batch(self, batch: usize) -> Self {
        Self {
            batch: batch.max(1),
            ..self
        }
    }

    /// Sets the number of orders; 0 counts as 1.
    #[must_use]
    pub fn with_orders(self, orders: usize) -> Self {
        Self {
            orders: orders.max(1),
            ..self
        }
    }

    /// Sets the random seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets the parts of a stream that are out-of-distribution; those that are not between 0 and 1 are
    /// dropped.
    #[must_use]
    pub fn with_ood_shares(self, shares: impl IntoIterator<Item = f64>) -> Self {
        let between = shares
            .into_iter()
            .filter(|share| *share > 0.0 && *share < 1.0);
        Self {
            ood_shares: between.collect(),
            ..self
        }
    }

    /// The mixtures that are evaluated: all images, or each share.
    pub(super) fn mixtures(&self) -> Vec<Option<f64>> {
        if self.ood_shares.is_empty() {
            return vec![None];
        }
        self.ood_shares.iter().copied().map(Some).collect()
    }
}
