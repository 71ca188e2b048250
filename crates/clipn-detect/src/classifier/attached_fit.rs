use clipn_engine::PackedRows;
use clipn_model::Real;
use clipn_ood::fitted::ScoreFit;
use clipn_ood::scores::FittedValues;

use crate::classifier::ClassifierError;

/// Images whose products with the bank are computed at a time, which bounds the memory.
const BLOCK: usize = 64;

/// Fitted scores of a classifier, and their bank packed for products with image features.
#[derive(Clone)]
pub(super) struct AttachedFit {
    fit: ScoreFit,
    /// `None` without a bank.
    packed: Option<PackedRows<f32>>,
}

impl AttachedFit {
    pub(super) fn new(fit: ScoreFit) -> Result<Self, ClassifierError> {
        let packed = match fit.bank() {
            [] => None,
            _ => Some(PackedRows::new(&fit.normalized_bank(), fit.summary().dim)?),
        };
        Ok(Self { fit, packed })
    }

    pub(super) fn fit(&self) -> &ScoreFit {
        &self.fit
    }

    /// Computes the fitted scores of N images from features `[N, D]` and "yes" logits `[N, K]`.
    pub(super) fn values<T: Real>(
        &self,
        features: &[T],
        yes: &[T],
    ) -> Result<Vec<FittedValues>, ClassifierError> {
        let (dim, classes) = (self.fit.summary().dim, self.fit.summary().classes);
        let rows = self.packed.as_ref().map_or(0, PackedRows::len);
        let mut values = Vec::with_capacity(features.len() / dim);
        let wide = |row: &[T]| -> Vec<f64> {
            let wide = row.iter().map(|value| value.to_f64().unwrap_or(f64::NAN));
            wide.collect()
        };
        let blocks = features.chunks(BLOCK * dim);
        for (features, yes) in blocks.zip(yes.chunks(BLOCK * classes)) {
            let images = features.len() / dim;
            let mut cosines = vec![0.0; images * rows];
            if let Some(packed) = &self.packed {
                let narrow;
                let features = match T::as_f32s(features) {
                    Some(features) => features,
                    None => {
                        narrow = wide(features).iter().map(|v| *v as f32).collect::<Vec<_>>();
                        &narrow
                    }
                };
                packed.products(features, 1.0, &mut cosines)?;
            }
            let each = features.chunks_exact(dim).zip(yes.chunks_exact(classes));
            for (image, (feature, yes)) in each.enumerate() {
                let cosines = &cosines[image * rows..][..rows];
                values.push(self.fit.values(&wide(feature), &wide(yes), cosines));
            }
        }
        Ok(values)
    }
}

impl PartialEq for AttachedFit {
    fn eq(&self, other: &Self) -> bool {
        self.fit == other.fit
    }
}

impl std::fmt::Debug for AttachedFit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fit.fmt(f)
    }
}
