use std::sync::Arc;

use clipn_model::{ImageTower, ModelError, ModelWeights, TextSide, TextTower, TowerFactory};

use crate::device::Device;
use crate::tower::{DeviceImageTower, DeviceTextTower};

/// Makes towers on a device, of weights in the precision of the device.
///
/// ```
/// use std::sync::Arc;
///
/// use clipn_gpu::{DeviceFactory, HostDevice};
/// use clipn_model::{ImageBatch, TowerFactory};
///
/// # let weights = clipn_testing::figures::weights("vit_gelu");
/// let factory = DeviceFactory::new(Arc::new(HostDevice::<f32>::new()));
/// let tower = factory.image_tower(&weights)?;
/// let pixels = vec![0.0; 3 * 32 * 32];
/// assert_eq!(tower.encode(ImageBatch::new(&pixels, 32, 32)?)?.len(), 1);
/// # Ok::<(), clipn_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct DeviceFactory<D> {
    device: Arc<D>,
}

impl<D> Clone for DeviceFactory<D> {
    fn clone(&self) -> Self {
        Self {
            device: Arc::clone(&self.device),
        }
    }
}

impl<D: Device> DeviceFactory<D> {
    /// Creates a factory.
    pub fn new(device: Arc<D>) -> Self {
        Self { device }
    }

    /// Returns the device.
    pub fn device(&self) -> &Arc<D> {
        &self.device
    }
}

impl<D: Device> DeviceFactory<D> {
    /// Returns the device if it computes in the precision of the weights.
    fn device_of(&self, weights: &ModelWeights) -> Result<Arc<D>, ModelError> {
        if weights.precision() == self.device.precision() {
            return Ok(Arc::clone(&self.device));
        }
        Err(ModelError::PrecisionOnDevice {
            device: format!(
                "{}, opened for {},",
                self.device.name(),
                self.device.precision()
            ),
            precision: weights.precision(),
        })
    }
}

impl<D: Device<Value = f32>> TowerFactory for DeviceFactory<D> {
    fn device(&self) -> String {
        self.device.name().to_owned()
    }

    fn image_tower(&self, weights: &ModelWeights) -> Result<Box<dyn ImageTower<f32>>, ModelError> {
        let device = self.device_of(weights)?;
        Ok(Box::new(DeviceImageTower::from_weights(device, weights)?))
    }

    fn text_tower(
        &self,
        weights: &ModelWeights,
        side: TextSide,
    ) -> Result<Box<dyn TextTower<f32>>, ModelError> {
        let device = self.device_of(weights)?;
        Ok(Box::new(DeviceTextTower::from_weights(
            device, weights, side,
        )?))
    }
}
