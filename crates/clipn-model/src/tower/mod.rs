//! Traits of towers, with the batches that go in and the features that come out.
//!
//! | trait | from | to |
//! |---|---|---|
//! | [`ImageTower`] | [`ImageBatch`], `[N, 3, H, W]` | [`FeatureMatrix`], `[N, D]` |
//! | [`ImageTower`] | the same | [`LocalFeatures`], also of the P patches, `[N·P, D]` |
//! | [`TextTower`] | token ids, `[N, L]` | [`FeatureMatrix`], `[N, D]` |
//! | [`TrainableImageTower`], [`TrainableTextTower`] | the same, and gradients of features | gradients of parameters |
//!
//! The traits are open: a crate for another device, or a program with a tower of its own, implements
//! them, and everything that takes a tower runs on it. [`ImageTower`] has an example.

mod device;
mod factory;
mod features;
mod image_batch;
mod inputs;
mod local;

use clipn_text::tokenizer::TokenBatch;

use crate::error::ModelError;
use crate::params::{TextGradient, TextParams, VisionParams};
use crate::precision::Precision;
use crate::real::Real;

pub use device::{DeviceSpec, ParseDeviceError};
pub use factory::TowerFactory;
pub use features::{FeatureMatrix, has_direction, normalize_backward, normalize_row};
pub use image_batch::ImageBatch;
pub use inputs::{
    add_positional_embedding_gradient, check_tokens, patch_grid, positional_embedding_for,
};
pub use local::LocalFeatures;

/// "No" prompt that a text tower adds to its token embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PromptSelection {
    /// Mean of the "no" prompts, as at inference; a tower without prompts adds nothing.
    #[default]
    Mean,
    /// One of the "no" prompts, from 0.
    Index(usize),
}

/// Image tower, which maps normalized pixels to features.
///
/// `clipn_engine` implements it on the CPU. The trait is open to other implementations, such as one
/// for a GPU or one of a program's own; a failure of theirs is a [`ModelError::Tower`].
///
/// ```
/// use clipn_model::{FeatureMatrix, ImageBatch, ImageTower, ModelError};
///
/// /// A tower whose features are the mean of each color channel.
/// struct MeanColor;
///
/// impl ImageTower<f32> for MeanColor {
///     fn embed_dim(&self) -> usize {
///         3
///     }
///
///     fn image_size(&self) -> usize {
///         2
///     }
///
///     fn encode(&self, images: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
///         let area = images.height() * images.width();
///         let channels = images.pixels().chunks_exact(area);
///         let means = channels.map(|channel| channel.iter().sum::<f32>() / area as f32);
///         Ok(FeatureMatrix::new(means.collect(), 3))
///     }
/// }
///
/// let tower: Box<dyn ImageTower<f32>> = Box::new(MeanColor);
/// let pixels = [0.0, 1.0, 0.0, 1.0, 2.0, 2.0, 2.0, 2.0, 3.0, 0.0, 0.0, 0.0];
/// let features = tower.encode(ImageBatch::new(&pixels, 2, 2)?)?;
/// assert_eq!(features.values(), [0.5, 2.0, 0.75]);
/// # Ok::<(), ModelError>(())
/// ```
pub trait ImageTower<T: Real>: Send + Sync {
    /// Returns the dimension `D` of the features.
    fn embed_dim(&self) -> usize;

    /// Returns the side of the model's square input in pixels.
    fn image_size(&self) -> usize;

    /// Returns the precision in which the tower computes, f32 by default.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// Returns the number of images per call with which the tower is fastest; `None` if it does not matter
    /// much, as on the CPU.
    fn preferred_batch(&self) -> Option<usize> {
        None
    }

    /// Encodes images `[N, 3, H, W]` to features `[N, D]`, not normalized. For sizes other than
    /// [`ImageTower::image_size`], positional embeddings are interpolated to the images' grid of
    /// patches.
    ///
    /// # Errors
    /// [`ModelError::ImageTooSmall`] if the images are smaller than one patch, [`ModelError::Tower`]
    /// if the device fails.
    fn encode(&self, images: ImageBatch<'_, T>) -> Result<FeatureMatrix<T>, ModelError>;

    /// Whether the tower computes features of patches, [`ImageTower::encode_local`]; false by default.
    fn has_local_features(&self) -> bool {
        false
    }

    /// Encodes images `[N, 3, H, W]` to features of the images, which are those of
    /// [`ImageTower::encode`], and of their P patches, none of them normalized. A tower without them
    /// returns an error, which is the default.
    ///
    /// # Errors
    /// Same as [`ImageTower::encode`], and [`ModelError::NoLocalFeatures`].
    fn encode_local(&self, images: ImageBatch<'_, T>) -> Result<LocalFeatures<T>, ModelError> {
        let _ = images;
        Err(ModelError::NoLocalFeatures)
    }
}

/// Text tower, "yes" or "no", which maps token ids to features.
///
/// Open to other implementations, as [`ImageTower`] is.
pub trait TextTower<T: Real>: Send + Sync {
    /// Returns the dimension `D` of the features.
    fn embed_dim(&self) -> usize;

    /// Returns the maximum number of tokens in a text.
    fn context_length(&self) -> usize;

    /// Encodes token ids `[N, L]`, with `L` at most [`TextTower::context_length`], to features `[N,
    /// D]`, not normalized. The features are taken at the first position of each row's largest id.
    ///
    /// # Errors
    /// [`ModelError::TokenOutOfRange`] for an id outside the vocabulary,
    /// [`ModelError::PromptOutOfRange`] for an unknown prompt, [`ModelError::TextTooLong`] for a row
    /// longer than the context, [`ModelError::Tower`] if the device fails.
    fn encode_with(
        &self,
        tokens: &TokenBatch,
        prompt: PromptSelection,
    ) -> Result<FeatureMatrix<T>, ModelError>;

    /// Calls [`TextTower::encode_with`] with the mean prompt, as at inference.
    ///
    /// # Errors
    /// Same as [`TextTower::encode_with`].
    fn encode(&self, tokens: &TokenBatch) -> Result<FeatureMatrix<T>, ModelError> {
        self.encode_with(tokens, PromptSelection::Mean)
    }

    /// Checks that files which the tower still reads from were not changed in place since they were
    /// opened. A tower that has its weights in memory has none, which is the default.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`](clipn_checkpoint::CheckpointError::Changed) if one was, after which
    /// encoding fails.
    fn check_unchanged(&self) -> Result<(), ModelError> {
        Ok(())
    }
}

/// Image tower that can be trained. The forward pass records a tape, from which the backward pass
/// computes the gradient of the parameters.
///
/// Open to other implementations, as [`ImageTower`] is. The parameters are those of a ViT.
pub trait TrainableImageTower<T: Real>: ImageTower<T> {
    /// Intermediate values of a forward pass that the backward pass needs.
    type Tape: Send;

    /// Same as [`ImageTower::encode`], but records a tape.
    ///
    /// # Errors
    /// Same as [`ImageTower::encode`].
    fn forward(
        &self,
        images: ImageBatch<'_, T>,
    ) -> Result<(FeatureMatrix<T>, Self::Tape), ModelError>;

    /// Adds the gradient of the parameters to `gradient`. `d_features`, `[N, D]`, is the gradient
    /// of the unnormalized features of the forward pass that recorded the tape. The parameters must
    /// not have changed since that pass.
    ///
    /// # Errors
    /// [`ModelError::InputLength`] if the shape of `d_features` or `gradient` is wrong; `gradient` is
    /// then unchanged.
    fn backward(
        &self,
        tape: Self::Tape,
        d_features: &[T],
        gradient: &mut VisionParams<T>,
    ) -> Result<(), ModelError>;

    /// Returns the parameters.
    fn params(&self) -> &VisionParams<T>;

    /// Returns the parameters for writing; their shapes must not change.
    fn params_mut(&mut self) -> &mut VisionParams<T>;
}

/// Text tower, "yes" or "no", that can be trained. The forward pass records a tape, from which the
/// backward pass computes the gradient of the parameters.
///
/// Open to other implementations, as [`ImageTower`] is.
pub trait TrainableTextTower<T: Real>: TextTower<T> {
    /// Intermediate values of a forward pass that the backward pass needs.
    type Tape: Send;

    /// Same as [`TextTower::encode_with`], but records a tape and uses one prompt per text;
    /// `prompts` is `[N]`.
    ///
    /// # Errors
    /// Same as [`TextTower::encode_with`], and [`ModelError::PromptCount`] if the number of prompts
    /// differs from the number of texts.
    fn forward(
        &self,
        tokens: &TokenBatch,
        prompts: &[PromptSelection],
    ) -> Result<(FeatureMatrix<T>, Self::Tape), ModelError>;

    /// Adds the gradient of the parameters to `gradient`. `d_features`, `[N, D]`, is the gradient
    /// of the unnormalized features of the forward pass that recorded the tape. The parameters must
    /// not have changed since that pass. The gradient of a mean prompt is distributed over all
    /// prompts.
    ///
    /// # Errors
    /// [`ModelError::InputLength`] if the shape of `d_features` or `gradient` is wrong; `gradient` is
    /// then unchanged.
    fn backward(
        &self,
        tape: Self::Tape,
        d_features: &[T],
        gradient: &mut TextGradient<T>,
    ) -> Result<(), ModelError>;

    /// Returns the parameters.
    fn params(&self) -> &TextParams<T>;

    /// Returns the parameters for writing; their shapes must not change.
    fn params_mut(&mut self) -> &mut TextParams<T>;
}
