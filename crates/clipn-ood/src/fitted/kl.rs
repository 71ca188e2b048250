use super::scorer::{FeatureScorer, FitTensor, FittedImage};
use crate::scores::{KlMatching, LogitsRow, Score};

impl FeatureScorer for KlMatching {
    fn value(&self, image: &FittedImage<'_>) -> f64 {
        self.stable(LogitsRow::new(image.logits, &[]))
    }

    fn tensors(&self) -> Vec<FitTensor> {
        let classes = self.classes();
        vec![
            FitTensor::new(
                "kl-matching.ln_means",
                [classes, classes],
                self.ln_means().to_vec(),
            )
            .with_class_axes(2),
        ]
    }
}
