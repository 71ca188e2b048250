//! Towers in 8-bit integers: what they may differ in from f32, and what not.

use clipn_engine::{TextEncoder, VisionEncoder};
use clipn_model::{
    ConversionTarget, FeatureMatrix, ImageBatch, ImageTower, ModelConfig, ModelError, ModelWeights,
    Precision, PretrainedWeights, TextParams, TextSide, TextTower, VisionParams, WeightsConversion,
};
use clipn_testing::fixture;
use clipn_testing::random::Random;
use clipn_text::tokenizer::TokenBatch;

/// A ViT of width 64 with images of 4 × 4 patches.
fn config() -> ModelConfig {
    let mut config = ModelConfig::embedded("ViT-B-32").unwrap();
    config.embed_dim = 48;
    config.vision.image_size = 32;
    config.vision.patch_size = 8;
    config.vision.width = 64;
    config.vision.heads = 2;
    config.vision.layers = 3;
    config.vision.mlp_width = 256;
    config.text.width = 64;
    config.text.heads = 2;
    config.text.layers = 3;
    config.text.mlp_width = 256;
    config.text.vocab_size = 50;
    config.text.context_length = 12;
    config
}

fn vision(config: &ModelConfig) -> VisionParams<f32> {
    Random::new(1).vision(config)
}

fn text(config: &ModelConfig) -> TextParams<f32> {
    Random::new(2).text(config, 0)
}

fn encode_images(tower: &VisionEncoder, pixels: &[f32], side: usize) -> FeatureMatrix<f32> {
    let images = ImageBatch::new(pixels, side, side).unwrap();
    let mut features = tower.encode(images).unwrap();
    features.normalize();
    features
}

fn least_cosine(a: &FeatureMatrix<f32>, b: &FeatureMatrix<f32>) -> f32 {
    let dot = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    a.rows().zip(b.rows()).map(dot).fold(1.0, f32::min)
}

fn texts(count: usize, length: usize) -> Vec<Vec<u32>> {
    let mut random = Random::new(7);
    (0..count)
        .map(|_| {
            let mut ids: Vec<u32> = (0..length)
                .map(|_| (random.next_u64() % 48) as u32)
                .collect();
            ids[3 + (random.next_u64() as usize) % (length - 3)] = 49;
            ids
        })
        .collect()
}

#[test]
fn the_features_of_an_image_do_not_depend_on_its_batch_to_the_bit() {
    let config = config();
    let side = config.vision.image_size;
    let image = 3 * side * side;
    let mut pixels: Vec<f32> = Random::new(3).values(9 * image, 2.0);
    // A neighbor of another range, which a scale of the whole batch would follow.
    pixels[4 * image..5 * image]
        .iter_mut()
        .for_each(|p| *p *= 50.0);
    for precision in [Precision::F32, Precision::Int8] {
        let tower = VisionEncoder::with_precision(&config, vision(&config), precision);
        let encode = |pixels: &[f32]| tower.encode(ImageBatch::new(pixels, side, side).unwrap());
        let together = encode(&pixels).unwrap();
        for (pixels, found) in pixels.chunks(image).zip(together.rows()) {
            assert_eq!(encode(pixels).unwrap().values(), found, "{precision}");
        }
        let pairs = encode(&pixels[image..3 * image]).unwrap();
        assert!(pairs.rows().eq(together.rows().skip(1).take(2)));
    }
}

#[test]
fn the_features_of_a_text_do_not_depend_on_its_batch_to_the_bit() {
    let config = config();
    let length = config.text.context_length;
    let texts = texts(20, length);
    for precision in [Precision::F32, Precision::Int8] {
        let tower = TextEncoder::with_precision(&config, text(&config), precision);
        let encode = |ids: Vec<u32>| {
            tower
                .encode(&TokenBatch::new(ids, length).unwrap())
                .unwrap()
        };
        let together = encode(texts.concat());
        for (text, found) in texts.iter().zip(together.rows()) {
            assert_eq!(encode(text.clone()).values(), found, "{precision}");
        }
    }
}

#[test]
fn features_are_close_to_those_of_f32() {
    let config = config();
    let side = config.vision.image_size;
    let pixels: Vec<f32> = Random::new(3).values(8 * 3 * side * side, 2.0);
    let [f32_tower, int8] = [Precision::F32, Precision::Int8]
        .map(|p| VisionEncoder::with_precision(&config, vision(&config), p));
    let (expected, found) = (
        encode_images(&f32_tower, &pixels, side),
        encode_images(&int8, &pixels, side),
    );
    assert_ne!(expected.values(), found.values());
    let least = least_cosine(&expected, &found);
    assert!(least > 0.999, "{least}");

    let length = config.text.context_length;
    let tokens = TokenBatch::new(texts(8, length).concat(), length).unwrap();
    let [mut expected, mut found] = [Precision::F32, Precision::Int8].map(|p| {
        let tower = TextEncoder::with_precision(&config, text(&config), p);
        tower.encode(&tokens).unwrap()
    });
    expected.normalize();
    found.normalize();
    let least = least_cosine(&expected, &found);
    assert!(least > 0.998, "{least}");
}

/// Parameters that compute the same as those of [`vision`] with large values in a few channels of
/// the layer norms.
fn with_outlier_channels(config: &ModelConfig) -> VisionParams<f32> {
    let mut params = vision(config);
    let width = config.vision.width;
    for block in &mut params.blocks {
        let layers = [
            (&mut block.ln_1, &mut block.in_proj),
            (&mut block.ln_2, &mut block.c_fc),
        ];
        for (norm, layer) in layers {
            for channel in [3, 17, 40, 59] {
                norm.weight.make_mut()[channel] *= 32.0;
                norm.bias.make_mut()[channel] *= 32.0;
                let weights = layer.weight.make_mut();
                weights[channel..]
                    .iter_mut()
                    .step_by(width)
                    .for_each(|weight| *weight /= 32.0);
            }
        }
    }
    params
}

#[test]
fn outlier_channels_cost_nothing() {
    let config = config();
    let side = config.vision.image_size;
    let pixels: Vec<f32> = Random::new(3).values(8 * 3 * side * side, 2.0);
    let encoder = |params: VisionParams<f32>, precision: Precision| {
        let tower = VisionEncoder::with_precision(&config, params, precision);
        encode_images(&tower, &pixels, side)
    };
    let expected = encoder(vision(&config), Precision::F32);
    let outliers = with_outlier_channels(&config);
    // Factors of 2 leave the function as it is, to the bit.
    assert_eq!(encoder(outliers.clone(), Precision::F32), expected);
    let plain = least_cosine(&expected, &encoder(vision(&config), Precision::Int8));
    let balanced = least_cosine(&expected, &encoder(outliers, Precision::Int8));
    assert!(
        balanced > 0.999 && plain - balanced < 2e-4,
        "{plain} {balanced}"
    );
}

#[test]
fn balancing_does_not_change_a_bit_in_f32() {
    let config = config();
    let side = config.vision.image_size;
    let pixels: Vec<f32> = Random::new(3).values(4 * 3 * side * side, 2.0);
    let params = with_outlier_channels(&config);
    let mut balanced = params.clone();
    for block in &mut balanced.blocks {
        let own = block.balanced();
        assert_ne!(own.ln_1.weight[..], block.ln_1.weight[..]);
        *block = own;
    }
    let [expected, found] =
        [params, balanced].map(|p| encode_images(&VisionEncoder::new(&config, p), &pixels, side));
    assert_eq!(expected, found);
}

fn open(path: &std::path::Path) -> ModelWeights {
    let config = ModelConfig::load(fixture("models/vit_gelu/vit_gelu.json")).unwrap();
    PretrainedWeights::open(path)
        .unwrap()
        .weights(Some(config))
        .unwrap()
}

#[test]
fn quantized_files_give_the_same_features_as_their_source_in_int8() {
    let directory = tempfile::tempdir().unwrap();
    let source = fixture("models/vit_gelu/model.safetensors");
    let out = directory.path().join("int8.safetensors");
    let conversion = WeightsConversion {
        int8: true,
        ..WeightsConversion::new(ConversionTarget::Clipn)
    };
    let config = ModelConfig::load(fixture("models/vit_gelu/vit_gelu.json")).unwrap();
    let from = PretrainedWeights::open(&source).unwrap();
    let summary = conversion.run(&from, Some(config), &out).unwrap();
    assert!(summary.dtypes["i8"] > 10, "{:?}", summary.dtypes);
    let [original, stored] =
        [&source, &out].map(|path| open(path).with_precision(Precision::Int8).unwrap());
    assert!(stored.is_quantized() && !original.is_quantized());

    let side = original.config().vision.image_size;
    let pixels: Vec<f32> = Random::new(3).values(3 * 3 * side * side, 2.0);
    let encode = |weights: &ModelWeights| {
        encode_images(&VisionEncoder::from_weights(weights), &pixels, side)
    };
    assert_eq!(encode(&stored), encode(&original));
    let tokens = TokenBatch::new(vec![126, 5, 9, 127, 126, 7, 127, 0], 4).unwrap();
    for text_side in [TextSide::Yes, TextSide::No] {
        let [expected, found] = [&original, &stored].map(|w| {
            TextEncoder::from_weights(w, text_side)
                .encode(&tokens)
                .unwrap()
        });
        assert_eq!(expected, found);
    }
    // In f32, the file has the values that its integers represent.
    let represented = stored.with_precision(Precision::F32).unwrap();
    let in_f32 = original.with_precision(Precision::F32).unwrap();
    let least = least_cosine(&encode(&in_f32), &encode(&represented));
    assert!(least > 0.99 && least < 1.0, "{least}");
}

#[test]
fn a_resnet_in_int8_is_refused() {
    let config = ModelConfig::load(fixture("models/rn_tiny/rn_tiny.json")).unwrap();
    let weights = PretrainedWeights::open(fixture("models/rn_tiny/model.safetensors"))
        .unwrap()
        .weights(Some(config))
        .unwrap();
    let error = weights.with_precision(Precision::Int8).unwrap_err();
    assert!(
        matches!(
            error,
            ModelError::UnsupportedPrecision {
                precision: Precision::Int8,
                ..
            }
        ),
        "{error}"
    );
}
