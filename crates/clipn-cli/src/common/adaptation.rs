//! What the commands with scores that learn from the stream share.

use clipn::adaptation::{AdaptationError, AdaptiveMethod, noise_images};
use clipn::model::{FeatureMatrix, ImageBatch, ImageTower};

use crate::common::error::CliError;

/// Seed of the images of noise that TANL begins with.
const NOISE_SEED: u64 = 0;

pub(crate) fn parse_method(text: &str) -> Result<AdaptiveMethod, String> {
    text.parse()
        .map_err(|error: AdaptationError| error.to_string())
}

/// Normalized features of the images of noise, `[15, D]`.
pub(crate) fn noise_features(tower: &dyn ImageTower<f32>) -> Result<FeatureMatrix<f32>, CliError> {
    let size = tower.image_size();
    let pixels = noise_images(size, NOISE_SEED);
    let mut features = tower.encode(ImageBatch::new(&pixels, size, size)?)?;
    features.normalize();
    Ok(features)
}
