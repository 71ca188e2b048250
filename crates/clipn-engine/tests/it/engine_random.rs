//! Compares the fast towers with the reference towers in f64, over random architectures, sizes and
//! inputs, odd sizes included.

use clipn_engine::reference::{ReferenceText, ReferenceVision};
use clipn_engine::{TextEncoder, TextTransformer, VisionEncoder, VisionTransformer};
use clipn_model::{
    Activation, ImageBatch, ImageTower, ModelConfig, PromptSelection, TextConfig, TextParams,
    TextTower, VisionConfig, VisionParams,
};
use clipn_testing::condition::{self, Comparison};
use clipn_testing::figures::relative_to_max;
use clipn_testing::random::Random;
use clipn_text::tokenizer::TokenBatch;
use proptest::prelude::*;

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::Gelu), Just(Activation::QuickGelu)]
}

fn config() -> impl Strategy<Value = ModelConfig> {
    // Layer norms over fewer than 8 values can lose all digits of f32 to cancellation, in any order
    // of summation.
    let vision = (
        1usize..5,
        1usize..7,
        1usize..4,
        8usize..20,
        1usize..4,
        1usize..70,
    );
    let text = (1usize..9, 1usize..4, 8usize..20, 1usize..4, 1usize..70);
    (8usize..40, activation(), vision, text).prop_map(|(embed_dim, activation, v, t)| ModelConfig {
        name: "random".to_owned(),
        embed_dim,
        activation,
        vision: VisionConfig {
            image_size: v.0 * v.1,
            patch_size: v.1,
            width: v.2 * v.3,
            layers: v.4,
            heads: v.2,
            mlp_width: v.5,
            stages: None,
        },
        text: TextConfig {
            context_length: 2 + 2 * t.0,
            vocab_size: 50,
            width: t.1 * t.2,
            layers: t.3,
            heads: t.1,
            mlp_width: t.4,
        },
    })
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Compares the fast image tower with the reference tower in f64 for images of one size.
fn compare_image_towers(
    config: &ModelConfig,
    seed: u64,
    count: usize,
    height: usize,
    width: usize,
) -> Result<(), String> {
    let fast = VisionTransformer::new(config, Random::new(seed).vision(config));
    let pixels: Vec<f32> = Random::new(!seed).values(count * 3 * height * width, 2.0);
    let images = ImageBatch::new(&pixels, height, width).unwrap();
    let found = fast.encode(images).unwrap();
    assert_eq!(found.len(), count);

    let params = Random::new(seed).vision::<f64>(config);
    let wide = widen(&pixels);
    let encode = |params: VisionParams<f64>, pixels: &[f64]| {
        let images = ImageBatch::new(pixels, height, width).unwrap();
        let tower = ReferenceVision::new(config, params);
        tower.encode(images).unwrap().values().to_vec()
    };
    let features = Comparison {
        name: "features",
        found: found.values(),
        expected: &encode(params.clone(), &wide),
    };
    condition::check(&[features], |perturbation| {
        let pixels = perturbation.perturbed(&wide);
        vec![encode(perturbation.vision(&params), &pixels)]
    })
    .map_err(|error| format!("{height}×{width}: {error}"))
}

/// Compares the fast text tower with the reference tower in f64 for one prompt.
fn compare_text_towers(
    config: &ModelConfig,
    seed: u64,
    prompts: usize,
    tokens: &TokenBatch,
    prompt: PromptSelection,
) -> Result<(), String> {
    let fast = TextTransformer::new(config, Random::new(seed).text(config, prompts));
    let found = fast.encode_with(tokens, prompt).unwrap();
    assert_eq!(found.len(), tokens.len());

    let params = Random::new(seed).text::<f64>(config, prompts);
    let encode = |params: TextParams<f64>| {
        let tower = ReferenceText::new(config, params);
        tower.encode_with(tokens, prompt).unwrap().values().to_vec()
    };
    let features = Comparison {
        name: "features",
        found: found.values(),
        expected: &encode(params.clone()),
    };
    condition::check(&[features], |perturbation| {
        vec![encode(perturbation.text(&params))]
    })
    .map_err(|error| format!("{prompt:?}: {error}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn fast_image_towers_agree_with_the_reference(
        config in config(), seed: u64, count in 0usize..6, rows in 1usize..5, columns in 1usize..5,
    ) {
        let own = config.vision.image_size;
        let patch = config.vision.patch_size;
        for (height, width) in [(own, own), (rows * patch, columns * patch + patch / 2)] {
            compare_image_towers(&config, seed, count, height, width).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn fast_text_towers_agree_with_the_reference(
        config in config(), seed: u64, count in 0usize..9, prompts in 0usize..3,
    ) {
        let mut random = Random::new(!seed);
        let length = config.text.context_length;
        let ids = (0..count * length).map(|_| (random.next_u64() % 50) as u32).collect();
        let tokens = TokenBatch::new(ids, length).unwrap();
        for prompt in std::iter::once(PromptSelection::Mean).chain((0..prompts).map(PromptSelection::Index)) {
            compare_text_towers(&config, seed, prompts, &tokens, prompt).map_err(TestCaseError::fail)?;
        }
    }
}

#[test]
fn features_do_not_depend_on_the_number_of_threads() {
    let config = ModelConfig {
        name: "many".to_owned(),
        embed_dim: 16,
        activation: Activation::Gelu,
        vision: VisionConfig {
            image_size: 24,
            patch_size: 2,
            width: 24,
            layers: 2,
            heads: 3,
            mlp_width: 50,
            stages: None,
        },
        text: TextConfig {
            context_length: 40,
            vocab_size: 50,
            width: 24,
            layers: 2,
            heads: 3,
            mlp_width: 50,
        },
    };
    let tower = VisionTransformer::new(&config, Random::new(1).vision(&config));
    let text = TextTransformer::new(&config, Random::new(2).text(&config, 2));
    let pixels: Vec<f32> = Random::new(3).values(19 * 3 * 24 * 24, 2.0);
    let mut random = Random::new(4);
    let ids: Vec<u32> = (0..90 * 40)
        .map(|_| (random.next_u64() % 50) as u32)
        .collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let images = tower
                .encode(ImageBatch::new(&pixels, 24, 24).unwrap())
                .unwrap();
            let texts = text
                .encode(&TokenBatch::new(ids.clone(), 40).unwrap())
                .unwrap();
            (images, texts)
        })
    };
    let (images, texts) = run(1);
    assert_eq!((images.len(), texts.len()), (19, 90));
    for threads in [2, 3, 7] {
        let (more_images, more_texts) = run(threads);
        assert!(relative_to_max(more_images.values(), images.values()) < 1e-6);
        assert!(relative_to_max(more_texts.values(), texts.values()) < 1e-6);
    }
}

/// Texts that start with all or part of one of three random prefixes.
fn texts_with_common_prefixes(random: &mut Random, count: usize, length: usize) -> Vec<Vec<u32>> {
    let prefixes: Vec<Vec<u32>> = (0..3)
        .map(|_| {
            (0..length - 2)
                .map(|_| (random.next_u64() % 40) as u32)
                .collect()
        })
        .collect();
    (0..count)
        .map(|_| {
            let shared = random.next_u64() as usize % (length - 1);
            let mut ids = prefixes[random.next_u64() as usize % 3][..shared].to_vec();
            ids.extend([(random.next_u64() % 3) as u32, 49]);
            ids.resize(length, 0);
            ids
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Weights packed in advance give bit-identical results to weights packed in each product.
    #[test]
    fn encoders_and_towers_are_bit_identical(config in config(), seed: u64, count in 0usize..5) {
        let (vision, text) = (Random::new(seed).vision(&config), Random::new(seed).text(&config, 2));
        let side = config.vision.image_size;
        let pixels: Vec<f32> = Random::new(!seed).values(count * 3 * side * side, 2.0);
        let images = ImageBatch::new(&pixels, side, side).unwrap();
        let tower = VisionTransformer::new(&config, vision.clone());
        let expected = tower.encode(images).unwrap();
        prop_assert_eq!(&VisionEncoder::new(&config, vision).encode(images).unwrap(), &expected);
        prop_assert_eq!(&tower.with_packed_weights().encode(images).unwrap(), &expected);

        let length = config.text.context_length;
        let ids = texts_with_common_prefixes(&mut Random::new(!seed), count, length).concat();
        let tokens = TokenBatch::new(ids, length).unwrap();
        let tower = TextTransformer::new(&config, text.clone());
        let expected = tower.encode(&tokens).unwrap();
        prop_assert_eq!(&TextEncoder::new(&config, text).encode(&tokens).unwrap(), &expected);
        prop_assert_eq!(&tower.with_packed_weights().encode(&tokens).unwrap(), &expected);
    }

    /// Sharing the computation of a prefix does not change a single bit.
    #[test]
    fn texts_with_common_prefixes_are_bit_identical_to_texts_alone(
        config in config(), seed: u64, count in 1usize..40,
    ) {
        let tower = TextTransformer::new(&config, Random::new(seed).text(&config, 2));
        let length = config.text.context_length;
        let texts = texts_with_common_prefixes(&mut Random::new(!seed), count, length);
        let together = tower.encode(&TokenBatch::new(texts.concat(), length).unwrap()).unwrap();
        for (text, found) in texts.into_iter().zip(together.rows()) {
            let alone = tower.encode(&TokenBatch::new(text, length).unwrap()).unwrap();
            prop_assert_eq!(found, alone.values());
        }
    }
}
