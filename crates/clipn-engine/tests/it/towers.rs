//! Compares the towers' features with those of the published CLIPN code, and the fast towers with
//! the reference towers.

use clipn_checkpoint::Checkpoint;
use clipn_engine::reference::{ReferenceText, ReferenceVision};
use clipn_engine::{TextTransformer, VisionTransformer};
use clipn_model::{
    CoordinateMapping, FeatureMatrix, ImageBatch, ImageTower, ModelConfig, ModelWeights,
    NoSideOrigin, PatchGrid, PromptSelection, Real, TextSide, TextTower,
    resize_positional_embedding,
};
use clipn_testing::figures::{Figures, assert_close, weights};
use clipn_testing::fixture;
use clipn_text::tokenizer::TokenBatch;

/// Maximum errors, relative to the largest expected magnitude.
const F32: f64 = 1e-5;
const F64: f64 = 1e-10;

fn figures(path: &str) -> Figures {
    Figures::open(&fixture(path))
}

fn encode<T: Real>(tower: &dyn ImageTower<T>, pixels: &[T], shape: &[usize]) -> FeatureMatrix<T> {
    tower
        .encode(ImageBatch::new(pixels, shape[2], shape[3]).unwrap())
        .unwrap()
}

/// Compares one set of towers with all features in `io_*.safetensors`.
fn check_features<T: Real + Into<f64>>(
    model: &str,
    towers: (&dyn ImageTower<T>, &dyn TextTower<T>, &dyn TextTower<T>),
    values: impl Fn(&Figures, &str) -> Vec<T>,
    io: &str,
    tolerance: f64,
) {
    let inputs = figures(&format!("models/{model}/inputs.safetensors"));
    let expected = figures(&format!("models/{model}/{io}"));
    let (image, yes, no) = towers;
    let tokens = TokenBatch::new(inputs.ids("tokens"), inputs.shape("tokens")[1]).unwrap();
    let check = |mut found: FeatureMatrix<T>, name: &str| {
        assert_close(found.values(), &values(&expected, name), tolerance, name);
        if has_normalized_features(name) {
            found.normalize();
            assert_close(
                found.values(),
                &values(&expected, &format!("{name}_norm")),
                tolerance,
                name,
            );
        }
    };
    check(
        encode(image, &values(&inputs, "images"), &inputs.shape("images")),
        "image_features",
    );
    check(yes.encode(&tokens).unwrap(), "text_features_yes");
    check(no.encode(&tokens).unwrap(), "text_features_no");
    for index in [0, 7, 15] {
        let found = no
            .encode_with(&tokens, PromptSelection::Index(index))
            .unwrap();
        check(found, &format!("text_features_no_prompt{index}"));
    }
    check(
        no.encode_with(&tokens, PromptSelection::Mean).unwrap(),
        "text_features_no_prompt16",
    );
}

/// Whether the file also has the normalized features.
fn has_normalized_features(name: &str) -> bool {
    !name.contains("prompt")
}

#[test]
fn fast_towers_match_the_published_features() {
    for model in ["vit_gelu", "vit_quickgelu"] {
        let w = weights(model);
        let (yes, no) = (
            TextTransformer::from_weights(&w, TextSide::Yes),
            TextTransformer::from_weights(&w, TextSide::No),
        );
        check_features(
            model,
            (&VisionTransformer::from_weights(&w), &yes, &no),
            Figures::f32,
            "io_f32.safetensors",
            F32,
        );
    }
}

#[test]
fn reference_towers_match_the_published_features_in_f32() {
    for model in ["vit_gelu", "vit_quickgelu"] {
        let w = weights(model);
        let (yes, no) = (
            ReferenceText::from_weights(&w, TextSide::Yes),
            ReferenceText::from_weights(&w, TextSide::No),
        );
        check_features(
            model,
            (&ReferenceVision::from_weights(&w), &yes, &no),
            Figures::f32,
            "io_f32.safetensors",
            F32,
        );
    }
}

#[test]
fn reference_towers_match_the_published_features_in_f64() {
    for model in ["vit_gelu", "vit_quickgelu"] {
        let w = weights(model);
        let (yes, no) = (
            ReferenceText::from_weights(&w, TextSide::Yes),
            ReferenceText::from_weights(&w, TextSide::No),
        );
        check_features(
            model,
            (&ReferenceVision::from_weights(&w), &yes, &no),
            Figures::f64,
            "io_f64.safetensors",
            F64,
        );
    }
}

#[test]
fn the_logit_scale_matches_the_published_one() {
    for model in ["vit_gelu", "vit_quickgelu"] {
        let expected =
            figures(&format!("models/{model}/io_f64.safetensors")).f64("logit_scale_exp");
        assert_close(&[weights(model).logit_scale()], &expected, F64, model);
    }
}

#[test]
fn interpolates_positions_for_images_of_another_size() {
    let w = weights("vit_gelu");
    let figures = figures("models/posembed/posembed.safetensors");
    let own: Vec<f32> = w.vision_params::<f32>().positional_embedding.to_vec();
    for side in [48, 40, 24] {
        let name = |part: &str| format!("runtime_{side}x{side}.{part}");
        let grid = side / 8;
        let positions = resize_positional_embedding(
            &own,
            64,
            4,
            PatchGrid::square(grid),
            CoordinateMapping::HalfPixel,
        );
        assert_close(
            &positions[64..],
            &figures.f32(&name("pos_grid")),
            F32,
            "grid",
        );
        let (pixels, shape) = (figures.f32(&name("images")), figures.shape(&name("images")));
        for tower in [
            &VisionTransformer::from_weights(&w) as &dyn ImageTower<f32>,
            &ReferenceVision::from_weights(&w),
        ] {
            let found = encode(tower, &pixels, &shape);
            assert_close(
                found.values(),
                &figures.f32(&name("features")),
                F32,
                &name("features"),
            );
        }
    }
}

#[test]
fn resizes_positions_on_load_for_a_config_with_another_image_size() {
    let figures = figures("models/posembed/posembed.safetensors");
    for side in [48usize, 24] {
        let name = |part: &str| format!("load_{side}.{part}");
        let mut config = ModelConfig::load(fixture("models/vit_gelu/vit_gelu.json")).unwrap();
        config.vision.image_size = side;
        let checkpoint = Checkpoint::open(fixture("models/vit_gelu/model.safetensors")).unwrap();
        let w = ModelWeights::new(config, checkpoint).unwrap();
        let positions = w.vision_params::<f32>().positional_embedding;
        assert_close(
            &positions,
            &figures.f32(&name("positional_embedding")),
            F32,
            "positions",
        );
        let found = encode(
            &VisionTransformer::from_weights(&w),
            &figures.f32(&name("images")),
            &figures.shape(&name("images")),
        );
        assert_close(
            found.values(),
            &figures.f32(&name("features")),
            F32,
            &name("features"),
        );
    }
}

#[test]
fn nonsquare_images_use_their_own_grid() {
    let w = weights("vit_gelu");
    let pixels: Vec<f32> = (0..3 * 24 * 56)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0)
        .collect();
    let images = ImageBatch::new(&pixels, 24, 56).unwrap();
    let fast = VisionTransformer::from_weights(&w).encode(images).unwrap();
    let plain = ReferenceVision::<f32>::from_weights(&w)
        .encode(images)
        .unwrap();
    assert_close(fast.values(), plain.values(), F32, "24×56");
}

#[test]
fn text_features_do_not_depend_on_the_batch_or_the_padding() {
    let w = weights("vit_gelu");
    let tower = TextTransformer::from_weights(&w, TextSide::No);
    let rows: [Vec<u32>; 3] = [
        vec![126, 5, 127],
        vec![126, 9, 8, 7, 6, 5, 4, 127],
        vec![126, 127],
    ];
    let padded = |ids: &[u32], length: usize| [ids, &vec![0; length - ids.len()]].concat();
    let together = TokenBatch::new(rows.iter().flat_map(|r| padded(r, 16)).collect(), 16).unwrap();
    let together = tower.encode(&together).unwrap();
    for (row, found) in rows.iter().zip(together.rows()) {
        let alone = tower
            .encode(&TokenBatch::new(padded(row, 9), 9).unwrap())
            .unwrap();
        assert_close(found, alone.values(), 1e-6, "alone");
    }
}

#[test]
fn rejects_invalid_inputs_and_names_the_problem() {
    let w = weights("vit_gelu");
    let tower = TextTransformer::from_weights(&w, TextSide::Yes);
    let error = |ids: Vec<u32>, length| {
        tower
            .encode(&TokenBatch::new(ids, length).unwrap())
            .unwrap_err()
            .to_string()
    };
    assert!(error(vec![1, 128], 2).contains("token id 128"));
    assert!(error(vec![1; 17], 17).contains("at most 16 tokens (the context length), got 17"));
    let prompt = tower.encode_with(
        &TokenBatch::new(vec![1, 2], 2).unwrap(),
        PromptSelection::Index(0),
    );
    assert!(
        prompt
            .unwrap_err()
            .to_string()
            .contains("out of range for 0 prompts")
    );
    let pixels = vec![0.0f32; 3 * 4 * 4];
    let images = ImageBatch::new(&pixels, 4, 4).unwrap();
    assert!(
        VisionTransformer::from_weights(&w)
            .encode(images)
            .unwrap_err()
            .to_string()
            .contains("at least 8×8 pixels, got 4×4")
    );
    assert!(ImageBatch::new(&pixels, 5, 4).is_err() && ImageBatch::new(&pixels, 0, 4).is_err());
}

#[test]
fn a_mismatched_file_is_rejected_with_a_list_of_differences() {
    let mut config = ModelConfig::load(fixture("models/vit_gelu/vit_gelu.json")).unwrap();
    config.text.layers = 3;
    config.vision.layers = 1;
    config.embed_dim = 48;
    let checkpoint = Checkpoint::open(fixture("models/vit_gelu/model.safetensors")).unwrap();
    let error = ModelWeights::new(config, checkpoint)
        .unwrap_err()
        .to_string();
    for part in [
        "24 missing (transformer.resblocks.2.ln_1.weight, ",
        "3 with a wrong shape (",
        "visual.proj [64, 32], expected [64, 48]",
        "12 unexpected (",
        "visual.transformer.resblocks.1.ln_1.weight",
    ] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

#[test]
fn f32_parameters_are_views_into_the_mapped_file() {
    let w = weights("vit_gelu");
    let vision = w.vision_params::<f32>();
    assert!(vision.conv1.is_mapped() && vision.blocks[1].c_proj.weight.is_mapped());
    assert!(
        w.text_params::<f32>(TextSide::No)
            .token_embedding
            .is_mapped()
    );
    assert!(!w.vision_params::<f64>().conv1.is_mapped());
}

#[test]
fn detects_the_no_tower_in_the_file() {
    let w = weights("vit_gelu");
    assert_eq!(
        (w.no_side_origin(), w.no_prompts()),
        (NoSideOrigin::Stored, 16)
    );
}
