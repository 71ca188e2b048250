//! Local features against those of the code of GL-MCM, and the fast towers against the reference ones.

use clipn_checkpoint::Checkpoint;
use clipn_engine::reference::{ReferenceResNet, ReferenceVision};
use clipn_engine::{ResNetTower, VisionEncoder, VisionTransformer, image_tower};
use clipn_model::{
    ImageBatch, ImageTower, ImageTowerWeights, LocalFeatures, ModelConfig, Precision, Real,
};
use clipn_testing::figures::{Figures, assert_close};
use clipn_testing::fixture;

/// Maximum errors, relative to the largest expected magnitude.
const F32: f64 = 1e-5;
const F64: f64 = 1e-10;

struct Case {
    weights: ImageTowerWeights,
    figures: Figures,
    size: usize,
}

impl Case {
    fn open(name: &str, size: usize, vision: &str) -> Self {
        let path = fixture(&format!("scores/authors/{name}.safetensors"));
        let text = r#""text_cfg": {"width": 32, "heads": 2, "layers": 1, "context_length": 8, "vocab_size": 16}"#;
        let json = format!(
            r#"{{"embed_dim": 24, "quick_gelu": true, "vision_cfg": {{"image_size": {size}, {vision}}}, {text}}}"#
        );
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join(format!("{name}.json"));
        std::fs::write(&config, json).unwrap();
        let config = ModelConfig::load(&config).unwrap();
        let weights = ImageTowerWeights::new(config, Checkpoint::open(&path).unwrap()).unwrap();
        Self {
            weights,
            figures: Figures::open(&path),
            size,
        }
    }

    fn vit() -> Self {
        let vision = r#""patch_size": 8, "width": 32, "layers": 3, "head_width": 16"#;
        Self::open("glmcm_vit", 32, vision)
    }

    fn resnet() -> Self {
        let vision = r#""layers": [1, 1, 1, 1], "width": 4, "head_width": 64"#;
        Self::open("glmcm_resnet", 64, vision)
    }

    fn encode<T: Real>(
        &self,
        tower: &dyn ImageTower<T>,
        values: fn(&Figures, &str) -> Vec<T>,
    ) -> LocalFeatures<T> {
        let pixels = values(&self.figures, "image");
        let images = ImageBatch::new(&pixels, self.size, self.size).unwrap();
        let features = tower.encode_local(images).unwrap();
        let global = tower.encode(images).unwrap();
        assert_eq!(*features.global(), global, "the features of the images");
        features
    }

    fn check<T: Real + Into<f64>>(
        &self,
        tower: &dyn ImageTower<T>,
        values: fn(&Figures, &str) -> Vec<T>,
        tolerance: f64,
    ) {
        let features = self.encode(tower, values);
        let [_, rows, columns, _] = self.figures.shape("local")[..] else {
            panic!("expected a grid of features");
        };
        let grid = features.grid();
        assert_eq!((grid.rows, grid.columns), (rows, columns));
        for (found, name) in [(features.global(), "global"), (features.local(), "local")] {
            assert_close(
                found.values(),
                &values(&self.figures, name),
                tolerance,
                name,
            );
        }
    }
}

#[test]
fn a_vit_matches_the_published_code() {
    let case = Case::vit();
    let weights = case.weights.weights();
    case.check(&ReferenceVision::from_weights(weights), Figures::f64, F64);
    case.check(&ReferenceVision::from_weights(weights), Figures::f32, F32);
    case.check(&VisionTransformer::from_weights(weights), Figures::f32, F32);
    case.check(&*image_tower(weights), Figures::f32, F32);
}

#[test]
fn a_resnet_matches_the_published_code() {
    let case = Case::resnet();
    let weights = case.weights.weights();
    let reference = ReferenceResNet::from_weights(weights).unwrap();
    case.check(&reference, Figures::f64, F64);
    let reference = ReferenceResNet::from_weights(weights).unwrap();
    case.check(&reference, Figures::f32, F32);
    let tower = ResNetTower::from_weights(weights).unwrap();
    case.check(&tower, Figures::f32, F32);
}

#[test]
fn an_int8_tower_is_close_and_depends_on_no_other_image() {
    let case = Case::vit();
    let (config, params) = (
        case.weights.config(),
        case.weights.weights().vision_params(),
    );
    let tower = VisionEncoder::with_precision(config, params, Precision::Int8);
    let features = case.encode(&tower, Figures::f32);
    assert_close(
        features.local().values(),
        &case.figures.f32("local"),
        // A width of 32 averages little of the rounding away.
        0.15,
        "int8",
    );
    let pixels = case.figures.f32("image");
    let single = ImageBatch::new(&pixels[..3 * 32 * 32], 32, 32).unwrap();
    let single = tower.encode_local(single).unwrap();
    let patches = single.local().values();
    assert_eq!(patches, &features.local().values()[..patches.len()]);
}
