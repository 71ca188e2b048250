use clipn_model::{
    ImageTower, ModelError, ModelWeights, Precision, TextSide, TextTower, TowerFactory,
};

use crate::text::TextEncoder;
use crate::vision::image_tower;

/// Makes towers on the CPU, in f32 or int8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuFactory;

impl TowerFactory for CpuFactory {
    fn device(&self) -> String {
        "cpu".to_owned()
    }

    fn image_tower(&self, weights: &ModelWeights) -> Result<Box<dyn ImageTower<f32>>, ModelError> {
        check(weights)?;
        Ok(image_tower(weights))
    }

    fn text_tower(
        &self,
        weights: &ModelWeights,
        side: TextSide,
    ) -> Result<Box<dyn TextTower<f32>>, ModelError> {
        check(weights)?;
        Ok(Box::new(TextEncoder::from_weights(weights, side)))
    }
}

fn check(weights: &ModelWeights) -> Result<(), ModelError> {
    match weights.precision() {
        Precision::F32 | Precision::Int8 => Ok(()),
        precision => Err(ModelError::PrecisionOnDevice {
            device: CpuFactory.device(),
            precision,
        }),
    }
}
