use std::sync::Arc;

use super::bank::{FeatureBank, openood_normalized};
use super::moments::dot;
use super::neighbors::{candidates, largest, product_error};
use super::scorer::{FeatureScorer, FittedImage};

/// NNGuide: the energy of the image times the mean of the K largest `v̂·ẑ_i·energy_i` (Park et al., 2023,
/// <https://arxiv.org/abs/2309.14888>, in the form of OpenOOD), over a random part of the images.
#[derive(Debug)]
pub(super) struct NnGuide {
    pub(super) bank: Arc<FeatureBank>,
    /// Number of rows of the bank to compare with, the first ones.
    pub(super) rows: usize,
    pub(super) k: usize,
}

impl FeatureScorer for NnGuide {
    fn value(&self, image: &FittedImage<'_>) -> f64 {
        let normalized = openood_normalized(image.feature);
        let energies = &self.bank.energies()[..self.rows];
        let cosines = image.cosines.iter().zip(energies);
        let guides: Vec<f32> = cosines.map(|(c, energy)| c * *energy as f32).collect();
        let magnitude = energies.iter().fold(0.0, |max: f64, e| max.max(e.abs()));
        // One more rounding than the product of the rows.
        let error = 1.5 * product_error(image.feature.len()) * magnitude as f32;
        let guide = |index: usize| -> f64 {
            let row: Vec<f64> = self.bank.normalized_row(index).collect();
            dot(&normalized, &row) * energies[index]
        };
        let guides = candidates(&guides, self.k, error).into_iter();
        let nearest = largest(guides.map(guide).collect(), self.k);
        image.energy * nearest.iter().sum::<f64>() / nearest.len() as f64
    }
}
