use std::fmt;

use crate::config::TextSide;
use crate::error::ModelError;
use crate::tower::{ImageTower, TextTower};
use crate::weights::ModelWeights;

/// Makes the towers of loaded weights on a device, for inference in the
/// [precision](ModelWeights::precision) of the weights.
///
/// `clipn_engine::CpuFactory` makes them on the CPU, `clipn_gpu::DeviceFactory` on a GPU. Everything that
/// opens weights takes a factory.
pub trait TowerFactory: fmt::Debug + Send + Sync {
    /// Returns the name of the device for people, such as `cpu` or `NVIDIA H100 80GB HBM3`.
    fn device(&self) -> String;

    /// Creates the image tower.
    ///
    /// # Errors
    /// [`ModelError::Tower`] if the device does not support the model or the precision or has not enough
    /// memory.
    fn image_tower(&self, weights: &ModelWeights) -> Result<Box<dyn ImageTower<f32>>, ModelError>;

    /// Creates the text tower of one side.
    ///
    /// # Errors
    /// Same as [`TowerFactory::image_tower`].
    fn text_tower(
        &self,
        weights: &ModelWeights,
        side: TextSide,
    ) -> Result<Box<dyn TextTower<f32>>, ModelError>;
}
