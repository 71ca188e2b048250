//! Compares the ResNet image tower with the published features, and the fast tower with the
//! reference tower.

use clipn_checkpoint::Checkpoint;
use clipn_engine::reference::ReferenceResNet;
use clipn_engine::{ResNetTower, TextTransformer, VisionTransformer, image_tower};
use clipn_model::{
    Activation, CoordinateMapping, ImageBatch, ImageTower, InferredArchitecture, ModelConfig,
    ModelWeights, PatchGrid, PromptSelection, Real, ResNetParams, TextConfig, TextSide, TextTower,
    VisionConfig, resize_positional_embedding,
};
use clipn_testing::condition::{self, Comparison};
use clipn_testing::figures::{Figures, assert_close, weights};
use clipn_testing::random::Random;
use clipn_testing::{fixture, test_data};
use clipn_text::tokenizer::TokenBatch;
use proptest::prelude::*;

/// Maximum errors, relative to the largest expected magnitude.
const F32: f64 = 1e-5;
const F64: f64 = 1e-10;

fn figures(name: &str) -> Figures {
    Figures::open(&fixture(&format!("models/rn_tiny/{name}.safetensors")))
}

/// Compares a tower with the published features of the four images.
fn check<T: Real + Into<f64>>(
    tower: &dyn ImageTower<T>,
    values: fn(&Figures, &str) -> Vec<T>,
    io: &str,
    tolerance: f64,
) {
    let (inputs, expected) = (figures("inputs"), figures(io));
    let pixels = values(&inputs, "images");
    let mut found = tower
        .encode(ImageBatch::new(&pixels, 64, 64).unwrap())
        .unwrap();
    assert_close(
        found.values(),
        &values(&expected, "image_features"),
        tolerance,
        "image_features",
    );
    found.normalize();
    assert_close(
        found.values(),
        &values(&expected, "image_features_norm"),
        tolerance,
        "normalized",
    );
}

#[test]
fn towers_match_the_published_features() {
    let w = weights("rn_tiny");
    check(
        &ResNetTower::from_weights(&w).unwrap(),
        Figures::f32,
        "io_f32",
        F32,
    );
    check(&*image_tower(&w), Figures::f32, "io_f32", F32);
    check(
        &ReferenceResNet::from_weights(&w).unwrap(),
        Figures::f32,
        "io_f32",
        F32,
    );
    check(
        &ReferenceResNet::from_weights(&w).unwrap(),
        Figures::f64,
        "io_f64",
        F64,
    );
}

#[test]
fn text_towers_of_a_resnet_model_match_the_published_features() {
    let w = weights("rn_tiny");
    let (inputs, expected) = (figures("inputs"), figures("io_f32"));
    let tokens = TokenBatch::new(inputs.ids("tokens"), inputs.shape("tokens")[1]).unwrap();
    let no = TextTransformer::from_weights(&w, TextSide::No);
    let features = |name: &str| expected.f32(name);
    let yes = TextTransformer::from_weights(&w, TextSide::Yes)
        .encode(&tokens)
        .unwrap();
    assert_close(yes.values(), &features("text_features_yes"), F32, "yes");
    assert_close(
        no.encode(&tokens).unwrap().values(),
        &features("text_features_no"),
        F32,
        "no",
    );
    let forced = no.encode_with(&tokens, PromptSelection::Index(7)).unwrap();
    assert_close(
        forced.values(),
        &features("text_features_no_prompt7"),
        F32,
        "prompt 7",
    );
}

#[test]
fn a_legacy_checkpoint_gives_the_same_features() {
    let Some(path) = test_data("golden/ckpt/rn_tiny_legacy.pt") else {
        return;
    };
    let config = ModelConfig::load(fixture("models/rn_tiny/rn_tiny.json")).unwrap();
    let w = ModelWeights::new(config, Checkpoint::open(&path).unwrap()).unwrap();
    check(&*image_tower(&w), Figures::f32, "io_f32", F32);
}

#[test]
fn a_checkpoint_sketch_describes_the_tower() {
    let checkpoint = Checkpoint::open(fixture("models/rn_tiny/model.safetensors")).unwrap();
    let lines = InferredArchitecture::infer(&checkpoint).describe();
    let image = &lines
        .iter()
        .find(|(heading, _)| *heading == "image")
        .unwrap()
        .1;
    assert_eq!(
        image,
        "ModifiedResNet, width 8, 2 + 1 + 1 + 1 blocks, image size 64"
    );
}

#[test]
fn rejects_mismatched_weights_and_lists_them_by_name() {
    let mut config = ModelConfig::load(fixture("models/rn_tiny/rn_tiny.json")).unwrap();
    config.vision.stages = Some([2, 2, 1, 1]);
    let open = || Checkpoint::open(fixture("models/rn_tiny/model.safetensors")).unwrap();
    let error = ModelWeights::new(config.clone(), open())
        .unwrap_err()
        .to_string();
    // Three convolutions, each with a batch norm of four tensors.
    assert!(
        error.contains("15 missing (visual.layer2.1.conv1.weight, visual.layer2.1.bn1.weight"),
        "{error}"
    );
    config.vision.stages = None;
    let error = ModelWeights::new(config, open()).unwrap_err().to_string();
    assert!(
        error.contains("visual.class_embedding") && error.contains("unexpected"),
        "{error}"
    );
    let error = ResNetTower::from_weights(&weights("vit_gelu"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("got a ViT"), "{error}");
}

#[test]
fn resizes_positions_on_load_for_a_config_with_another_image_size() {
    let open = |side: usize| {
        let mut config = ModelConfig::load(fixture("models/rn_tiny/rn_tiny.json")).unwrap();
        config.vision.image_size = side;
        ModelWeights::new(
            config,
            Checkpoint::open(fixture("models/rn_tiny/model.safetensors")).unwrap(),
        )
        .unwrap()
    };
    let own = open(64)
        .resnet_params::<f64>()
        .unwrap()
        .attnpool
        .positional_embedding;
    let resized = open(96)
        .resnet_params::<f64>()
        .unwrap()
        .attnpool
        .positional_embedding;
    assert_eq!(
        resized[..],
        resize_positional_embedding(
            &own,
            256,
            2,
            PatchGrid::square(3),
            CoordinateMapping::AlignCorners
        )[..]
    );
    let pixels: Vec<f32> = Random::new(5).values(2 * 3 * 96 * 96, 2.0);
    let images = ImageBatch::new(&pixels, 96, 96).unwrap();
    let found = image_tower(&open(96)).encode(images).unwrap();
    let expected = ReferenceResNet::from_weights(&open(96))
        .unwrap()
        .encode(images)
        .unwrap();
    assert_close(found.values(), expected.values(), F32, "96");
}

#[test]
fn rejects_images_that_are_too_small() {
    let pixels = vec![0.0f32; 3 * 30 * 64];
    let images = ImageBatch::new(&pixels, 30, 64).unwrap();
    let w = weights("rn_tiny");
    let plain = ReferenceResNet::<f32>::from_weights(&w).unwrap();
    for tower in [&*image_tower(&w), &plain as &dyn ImageTower<f32>] {
        let error = tower.encode(images).unwrap_err().to_string();
        assert!(
            error.contains("30×64") && error.contains("31×31"),
            "{error}"
        );
    }
}

fn resnet_config(
    width: usize,
    grid: usize,
    stages: [usize; 4],
    heads: usize,
    embed_dim: usize,
) -> ModelConfig {
    ModelConfig {
        name: "random".to_owned(),
        embed_dim,
        activation: Activation::Gelu,
        vision: VisionConfig {
            image_size: 32 * grid,
            patch_size: 32,
            width,
            layers: stages.iter().sum(),
            heads,
            mlp_width: 0,
            stages: Some(stages),
        },
        text: TextConfig {
            context_length: 4,
            vocab_size: 8,
            width: 8,
            layers: 1,
            heads: 1,
            mlp_width: 8,
        },
    }
}

fn config() -> impl Strategy<Value = ModelConfig> {
    // 32·width, the width of the attention pooling, is divisible by every number of heads.
    let heads = prop_oneof![Just(1usize), Just(2), Just(4), Just(8)];
    let stages = [1usize..3, 1usize..3, 1usize..3, 1usize..3];
    (2usize..14, 1usize..4, stages, 1usize..30, heads).prop_map(
        |(width, grid, stages, embed_dim, heads)| {
            resnet_config(width, grid, stages, heads, embed_dim)
        },
    )
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Compares the fast tower with the reference tower in f64 for images of one size.
fn compare_with_the_reference(
    config: &ModelConfig,
    seed: u64,
    count: usize,
    height: usize,
    width: usize,
) -> Result<(), String> {
    let fast = ResNetTower::new(config, &Random::new(seed).resnet(config));
    let pixels: Vec<f32> = Random::new(!seed).values(count * 3 * height * width, 2.0);
    let images = ImageBatch::new(&pixels, height, width).unwrap();
    let found = fast.encode(images).unwrap();
    assert_eq!(found.len(), count);

    let params = Random::new(seed).resnet::<f64>(config);
    let wide = widen(&pixels);
    let encode = |params: ResNetParams<f64>, pixels: &[f64]| {
        let images = ImageBatch::new(pixels, height, width).unwrap();
        let tower = ReferenceResNet::new(config, params);
        tower.encode(images).unwrap().values().to_vec()
    };
    let expected = encode(params.clone(), &wide);
    let features = Comparison {
        name: "features",
        found: found.values(),
        expected: &expected,
    };
    condition::check(&[features], |perturbation| {
        let pixels = perturbation.perturbed(&wide);
        vec![encode(perturbation.resnet(&params, config), &pixels)]
    })
    .map_err(|error| format!("{height}×{width}: {error}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn fast_towers_agree_with_the_reference(
        config in config(), seed: u64, count in 0usize..5, height in 31usize..120, width in 31usize..120,
    ) {
        let own = config.vision.image_size;
        for (height, width) in [(own, own), (height, width)] {
            compare_with_the_reference(&config, seed, count, height, width)
                .map_err(TestCaseError::fail)?;
        }
    }
}

/// The only feature of each image is a small difference of large terms. With AVX-512 its error is
/// 3.2e-5 of the largest feature, nine times that of the reference tower in f32, which is close by
/// chance.
#[test]
fn an_ill_conditioned_tower_agrees_with_the_reference() {
    let config = resnet_config(10, 1, [1, 1, 1, 2], 8, 1);
    compare_with_the_reference(&config, 12_215_124_266_502_385_408, 3, 75, 119).unwrap();
}

#[test]
fn features_do_not_depend_on_the_number_of_threads() {
    let w = weights("rn_tiny");
    let tower = image_tower(&w);
    let pixels: Vec<f32> = Random::new(3).values(230 * 3 * 64 * 64, 2.0);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            tower
                .encode(ImageBatch::new(&pixels, 64, 64).unwrap())
                .unwrap()
        })
    };
    let one = run(1);
    let alone = tower
        .encode(ImageBatch::new(&pixels[229 * 3 * 64 * 64..], 64, 64).unwrap())
        .unwrap();
    assert_close(one.rows().last().unwrap(), alone.values(), F32, "alone");
    for threads in [2, 5] {
        assert_close(run(threads).values(), one.values(), 1e-6, "threads");
    }
}

#[test]
fn image_tower_opens_a_vit() {
    let w = weights("vit_gelu");
    let pixels: Vec<f32> = Random::new(4).values(3 * 32 * 32, 2.0);
    let images = ImageBatch::new(&pixels, 32, 32).unwrap();
    let expected = VisionTransformer::from_weights(&w).encode(images).unwrap();
    assert_eq!(image_tower(&w).encode(images).unwrap(), expected);
}
