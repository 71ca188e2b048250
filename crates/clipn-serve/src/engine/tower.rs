use clipn::detector::Detector;
use clipn::model::{Features, ImageTower, Images, ModelError};

/// A detector's own image tower.
pub(super) struct DetectorTower(pub(super) Detector);

impl ImageTower<f32> for DetectorTower {
    fn embed_dim(&self) -> usize {
        self.0.tower().embed_dim()
    }

    fn image_size(&self) -> usize {
        self.0.tower().image_size()
    }

    fn encode(&self, images: Images<'_, f32>) -> Result<Features<f32>, ModelError> {
        self.0.tower().encode(images)
    }
}
