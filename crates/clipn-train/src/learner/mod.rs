//! Training on a device: parameters, gradients and moments stay there, and features cross the bus.

mod device;

pub use device::{DeviceLearner, FrozenImageTower};

use std::any::Any;
use std::fmt;

use clipn_gpu::AdamWStep;
use clipn_model::{
    FeatureMatrix, ImageBatch, ImageTower, ModelError, NamedTensor, PromptSelection, Real,
    TextTower,
};
use clipn_text::tokenizer::TokenBatch;

/// Recorded forward pass of a [`Learner`].
pub struct LearnerTape(pub(crate) Box<dyn Any + Send>);

impl fmt::Debug for LearnerTape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LearnerTape").finish_non_exhaustive()
    }
}

/// Tensors of a trained tower that are read or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LearnerState {
    /// Parameters.
    Values,
    /// Gradients.
    Gradients,
    /// Running averages of the gradients.
    FirstMoments,
    /// Running averages of the squared gradients.
    SecondMoments,
}

/// The towers of a training run on a device. The trained ones have parameters, gradients and moments
/// there; the host sees features, and tensors when a checkpoint is written.
///
/// A [`Trainer`](crate::Trainer) with a learner computes the loss on the host, as without.
pub trait Learner<T: Real>: fmt::Debug + Send {
    /// Returns the name of the device.
    fn device(&self) -> &str;

    /// Returns the image tower with its current parameters.
    fn image(&self) -> &dyn ImageTower<T>;

    /// Returns the "yes" tower with its current parameters.
    fn yes(&self) -> &dyn TextTower<T>;

    /// Encodes images with the trained image tower, and records the pass.
    ///
    /// # Errors
    /// [`ModelError`] if the tower rejects the images, is frozen, or the device fails.
    fn forward_images(
        &mut self,
        images: ImageBatch<'_, T>,
    ) -> Result<(FeatureMatrix<T>, LearnerTape), ModelError>;

    /// Encodes texts with the trained text tower, and records the pass; `prompts` is `[N]`.
    ///
    /// # Errors
    /// [`ModelError`] if the tower rejects the texts or the device fails.
    fn forward_texts(
        &mut self,
        tokens: &TokenBatch,
        prompts: &[PromptSelection],
    ) -> Result<(FeatureMatrix<T>, LearnerTape), ModelError>;

    /// Adds the gradients of the parameters of the tower that recorded `tape`, given that of its
    /// features, `[N, D]`.
    ///
    /// # Errors
    /// [`ModelError`] if the length differs or the device fails.
    fn backward(&mut self, tape: LearnerTape, d_features: &[T]) -> Result<(), ModelError>;

    /// Sets all gradients to zero.
    ///
    /// # Errors
    /// [`ModelError::Tower`] if the device fails.
    fn clear_gradients(&mut self) -> Result<(), ModelError>;

    /// Returns the sum of the squared gradients of each trained parameter, by open_clip's name.
    ///
    /// # Errors
    /// [`ModelError::Tower`] if the device fails.
    fn squared_gradients(&mut self) -> Result<Vec<(String, f64)>, ModelError>;

    /// Steps the trained parameters by AdamW.
    ///
    /// # Errors
    /// [`ModelError::Tower`] if the device fails.
    fn step(&mut self, step: &AdamWStep) -> Result<(), ModelError>;

    /// Reads tensors of all trained parameters: those of the image tower, if it is trained, then those
    /// of the text tower.
    ///
    /// # Errors
    /// [`ModelError::Tower`] if the device fails.
    fn read(&self, state: LearnerState) -> Result<Vec<NamedTensor<Vec<T>>>, ModelError>;

    /// Replaces tensors of all trained parameters, in the order of [`Learner::read`].
    ///
    /// # Errors
    /// [`ModelError::Tower`] if a length differs or the device fails.
    fn write(&mut self, state: LearnerState, values: &[&[T]]) -> Result<(), ModelError>;
}
