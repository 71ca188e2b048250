//! Compares gradients over random architectures and inputs: those of the reference towers with
//! finite differences, and those of the fast towers with the reference towers.

use clipn_engine::reference::{ReferenceText, ReferenceVision};
use clipn_engine::{TextTransformer, VisionTransformer};
use clipn_model::{
    Activation, ImageBatch, ModelConfig, NamedTensor, PromptSelection, Real, TensorGradient,
    TextConfig, TextGradient, TextParams, TextSide, TextTower, TrainableImageTower,
    TrainableTextTower, VisionConfig, VisionParams,
};
use clipn_testing::condition::{self, Comparison, Perturbation};
use clipn_testing::figures::relative_to_max;
use clipn_testing::random::Random;
use clipn_text::tokenizer::TokenBatch;
use proptest::prelude::*;

fn config(
    embed_dim: usize,
    activation: Activation,
    vision: [usize; 6],
    text: [usize; 5],
) -> ModelConfig {
    let ([grid, patch_size, heads, head_width, layers, mlp_width], t) = (vision, text);
    ModelConfig {
        name: "random".to_owned(),
        embed_dim,
        activation,
        vision: VisionConfig {
            image_size: grid * patch_size,
            patch_size,
            width: heads * head_width,
            layers,
            heads,
            mlp_width,
            stages: None,
        },
        text: TextConfig {
            context_length: t[0],
            vocab_size: 50,
            width: t[1] * t[2],
            layers: t[3],
            heads: t[1],
            mlp_width: t[4],
        },
    }
}

// A layer norm over few values loses digits in any f32 implementation, and so can a few features
// that nearly cancel, so both widths start at eight. The gradient of a hidden layer with one or two
// values can cancel, with no other value to compare with, so hidden layers start at four. The
// kernels' own tests use smaller widths.
prop_compose! {
    fn any_config()(
        embed_dim in 8usize..40,
        quick: bool,
        v in (1usize..5, 1usize..7, 1usize..4, 8usize..20, 1usize..4, 4usize..70),
        t in (2usize..20, 1usize..4, 8usize..20, 1usize..4, 4usize..70),
    ) -> ModelConfig {
        let activation = if quick { Activation::QuickGelu } else { Activation::Gelu };
        config(embed_dim, activation, [v.0, v.1, v.2, v.3, v.4, v.5], [t.0, t.1, t.2, t.3, t.4])
    }
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Texts of random lengths: the largest id, 49, is at a random position, in some texts twice.
fn texts(random: &mut Random, count: usize, length: usize) -> TokenBatch {
    let mut ids: Vec<u32> = (0..count * length)
        .map(|_| (random.next_u64() % 49) as u32)
        .collect();
    for row in ids.chunks_mut(length) {
        for _ in 0..1 + random.next_u64() % 2 {
            row[(random.next_u64() % length as u64) as usize] = 49;
        }
    }
    TokenBatch::new(ids, length).unwrap()
}

fn prompt_choices(random: &mut Random, count: usize, prompts: usize) -> Vec<PromptSelection> {
    let choice = |i: usize| {
        if i == prompts {
            PromptSelection::Mean
        } else {
            PromptSelection::Index(i)
        }
    };
    (0..count)
        .map(|_| choice((random.next_u64() % (prompts as u64 + 1)) as usize))
        .collect()
}

fn image_gradient<T: Real, I: TrainableImageTower<T>>(
    tower: &I,
    images: ImageBatch<'_, T>,
    d: &[T],
) -> (Vec<T>, VisionParams<T>) {
    let (features, tape) = tower.forward(images).unwrap();
    let mut gradient = tower.params().zeros_like();
    tower.backward(tape, d, &mut gradient).unwrap();
    (features.values().to_vec(), gradient)
}

fn text_gradient<T: Real, X: TrainableTextTower<T>>(
    tower: &X,
    tokens: &TokenBatch,
    prompts: &[PromptSelection],
    d: &[T],
) -> (Vec<T>, TextGradient<T>) {
    let (features, tape) = tower.forward(tokens, prompts).unwrap();
    let mut gradient = TextGradient::zeros_like(tower.params());
    tower.backward(tape, d, &mut gradient).unwrap();
    (features.values().to_vec(), gradient)
}

fn owned<T: Real>(named: Vec<NamedTensor<&[T]>>) -> Vec<NamedTensor<Vec<T>>> {
    let own = |t: NamedTensor<&[T]>| NamedTensor {
        name: t.name,
        shape: t.shape,
        values: t.values.to_vec(),
    };
    named.into_iter().map(own).collect()
}

/// Compares the gradients of a fast tower with those of the reference tower. `perturbed` returns
/// the latter for perturbed parameters and inputs.
fn compare(
    found: &[NamedTensor<Vec<f32>>],
    expected: &[NamedTensor<Vec<f64>>],
    mut perturbed: impl FnMut(&mut Perturbation) -> Vec<NamedTensor<Vec<f64>>>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    let mut tensors = Vec::new();
    for (found, expected) in found.iter().zip(expected) {
        prop_assert_eq!(&found.name, &expected.name);
        prop_assert_eq!(&found.shape, &expected.shape);
        prop_assert_eq!(found.values.len(), found.shape.iter().product::<usize>());
        tensors.push(Comparison {
            name: &found.name,
            found: &found.values,
            expected: &expected.values,
        });
    }
    condition::check(&tensors, |perturbation| {
        let changed = perturbed(perturbation);
        changed.into_iter().map(|t| t.values).collect()
    })
    .map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn gradients_of_fast_image_towers_agree_with_the_reference(
        config in any_config(), seed: u64, count in 0usize..6, rows in 1usize..5, columns in 1usize..5,
    ) {
        let fast = VisionTransformer::new(&config, Random::new(seed).vision(&config));
        let params = Random::new(seed).vision::<f64>(&config);
        let (own, patch) = (config.vision.image_size, config.vision.patch_size);
        for (height, width) in [(own, own), (rows * patch, columns * patch + patch / 2)] {
            let pixels: Vec<f32> = Random::new(!seed).values(count * 3 * height * width, 2.0);
            let d: Vec<f32> = Random::new(seed ^ 1).values(count * config.embed_dim, 1.0);
            let images = ImageBatch::new(&pixels, height, width).unwrap();
            let (_, found) = image_gradient(&fast, images, &d);
            let (wide, wide_d) = (widen(&pixels), widen(&d));
            let gradient = |params: VisionParams<f64>, pixels: &[f64], d: &[f64]| {
                let images = ImageBatch::new(pixels, height, width).unwrap();
                let (_, gradient) = image_gradient(&ReferenceVision::new(&config, params), images, d);
                owned(gradient.named_tensors())
            };
            let expected = gradient(params.clone(), &wide, &wide_d);
            compare(&owned(found.named_tensors()), &expected, |perturbation| {
                let (pixels, d) = (perturbation.perturbed(&wide), perturbation.perturbed(&wide_d));
                gradient(perturbation.vision(&params), &pixels, &d)
            })?;
        }
    }

    #[test]
    fn gradients_of_fast_text_towers_agree_with_the_reference(
        config in any_config(), seed: u64, count in 0usize..9, prompts in 0usize..4,
    ) {
        let fast = TextTransformer::new(&config, Random::new(seed).text(&config, prompts));
        let params = Random::new(seed).text::<f64>(&config, prompts);
        let mut random = Random::new(!seed);
        let tokens = texts(&mut random, count, 1 + seed as usize % config.text.context_length);
        let choices = prompt_choices(&mut random, count, prompts);
        let d: Vec<f32> = random.values(count * config.embed_dim, 1.0);
        let (features, found) = text_gradient(&fast, &tokens, &choices, &d);
        let wide_d = widen(&d);
        let run = |params: TextParams<f64>, d: &[f64]| {
            let (features, gradient) =
                text_gradient(&ReferenceText::new(&config, params), &tokens, &choices, d);
            (features, gradient.to_dense(50, TextSide::No))
        };
        let (exact, expected) = run(params.clone(), &wide_d);
        let forward = Comparison { name: "features", found: &features, expected: &exact };
        condition::check(&[forward], |perturbation| {
            vec![run(perturbation.text(&params), &wide_d).0]
        })
        .map_err(TestCaseError::fail)?;
        compare(&found.to_dense(50, TextSide::No), &expected, |perturbation| {
            let d = perturbation.perturbed(&wide_d);
            run(perturbation.text(&params), &d).1
        })?;
    }
}

/// Computes Σ d·features, whose gradient with respect to the features is `d`.
fn objective(features: &[f64], d: &[f64]) -> f64 {
    features.iter().zip(d).map(|(f, d)| f * d).sum()
}

/// Compares some values of every tensor's gradient with central differences of `objective`, which
/// returns the objective for a tensor, a position in it and a step of that parameter.
fn check_differences(
    gradient: &[NamedTensor<Vec<f64>>],
    random: &mut Random,
    objective: impl Fn(usize, usize, f64) -> f64,
) {
    const STEP: f64 = 1e-5;
    let all = gradient
        .iter()
        .flat_map(|t| &t.values)
        .fold(0.0f64, |m, v| m.max(v.abs()));
    for (which, tensor) in gradient.iter().enumerate() {
        // The value with the largest magnitude, and a few random ones.
        let length = tensor.values.len();
        let largest =
            (0..length).max_by(|&a, &b| tensor.values[a].abs().total_cmp(&tensor.values[b].abs()));
        let others = (0..5)
            .map(|_| (random.next_u64() % length as u64) as usize)
            .collect::<Vec<_>>();
        for at in largest.into_iter().chain(others) {
            let expected =
                (objective(which, at, STEP) - objective(which, at, -STEP)) / (2.0 * STEP);
            let error = (tensor.values[at] - expected).abs() / all;
            assert!(
                error < 1e-8,
                "{}[{at}]: {} {expected}",
                tensor.name,
                tensor.values[at]
            );
        }
    }
}

#[test]
fn reference_image_gradients_agree_with_finite_differences() {
    for (activation, size) in [(Activation::Gelu, (6, 6)), (Activation::QuickGelu, (9, 4))] {
        let config = config(5, activation, [3, 2, 2, 3, 2, 7], [4, 1, 4, 1, 4]);
        let tower = ReferenceVision::<f64>::new(&config, Random::new(1).vision(&config));
        let mut random = Random::new(2);
        let pixels: Vec<f64> = random.values(2 * 3 * size.0 * size.1, 1.0);
        let d: Vec<f64> = random.values(2 * 5, 1.0);
        let images = ImageBatch::new(&pixels, size.0, size.1).unwrap();
        let (_, gradient) = image_gradient(&tower, images, &d);
        check_differences(
            &owned(gradient.named_tensors()),
            &mut random,
            |which, at, step| {
                let mut moved = tower.clone();
                moved.params_mut().named_tensors_mut()[which].values[at] += step;
                objective(moved.forward(images).unwrap().0.values(), &d)
            },
        );
    }
}

#[test]
fn reference_text_gradients_agree_with_finite_differences() {
    for activation in [Activation::Gelu, Activation::QuickGelu] {
        let config = config(5, activation, [1, 2, 1, 3, 1, 4], [6, 2, 3, 2, 7]);
        let tower = ReferenceText::<f64>::new(&config, Random::new(3).text(&config, 3));
        let mut random = Random::new(4);
        let tokens = texts(&mut random, 4, 6);
        let prompts = [
            PromptSelection::Index(2),
            PromptSelection::Mean,
            PromptSelection::Index(0),
            PromptSelection::Index(2),
        ];
        let d: Vec<f64> = random.values(4 * 5, 1.0);
        let (_, gradient) = text_gradient(&tower, &tokens, &prompts, &d);
        check_differences(
            &gradient.to_dense(50, TextSide::No),
            &mut random,
            |which, at, step| {
                let mut moved = tower.clone();
                moved.params_mut().named_tensors_mut(TextSide::No)[which].values[at] += step;
                objective(moved.forward(&tokens, &prompts).unwrap().0.values(), &d)
            },
        );
    }
}

/// A text tower and a batch that is split into many chunks.
fn batch_of_many_chunks() -> (TextTransformer, TokenBatch, Vec<PromptSelection>, Vec<f32>) {
    let config = config(16, Activation::Gelu, [1, 2, 1, 3, 1, 4], [40, 3, 8, 3, 50]);
    let tower = TextTransformer::new(&config, Random::new(5).text(&config, 4));
    let mut random = Random::new(6);
    let tokens = texts(&mut random, 130, 40);
    let prompts = prompt_choices(&mut random, 130, 4);
    (tower, tokens, prompts, random.values(130 * 16, 1.0))
}

#[test]
fn gradients_are_bit_identical_per_thread_count_and_close_across_thread_counts() {
    let (tower, tokens, prompts, d) = batch_of_many_chunks();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            text_gradient(&tower, &tokens, &prompts, &d)
                .1
                .to_dense(50, TextSide::No)
        })
    };
    let one = run(1);
    for threads in [1, 2, 3, 7] {
        let (first, second) = (run(threads), run(threads));
        assert_eq!(first, second, "{threads} threads");
        for (found, expected) in first.iter().zip(&one) {
            assert!(
                relative_to_max(&found.values, &expected.values) < 1e-5,
                "{}",
                found.name
            );
        }
    }
}

#[test]
fn backward_accumulates_gradients() {
    let (tower, tokens, prompts, d) = batch_of_many_chunks();
    let (_, once) = text_gradient(&tower, &tokens, &prompts, &d);
    let mut twice = once.clone();
    let (_, tape) = tower.forward(&tokens, &prompts).unwrap();
    tower.backward(tape, &d, &mut twice).unwrap();
    let pairs = once
        .to_dense(50, TextSide::No)
        .into_iter()
        .zip(twice.to_dense(50, TextSide::No));
    for (once, twice) in pairs {
        let doubled: Vec<f32> = once.values.iter().map(|v| 2.0 * v).collect();
        assert!(
            relative_to_max(&twice.values, &doubled) < 1e-5,
            "{}",
            once.name
        );
    }
    twice.clear();
    assert!(twice.token_embedding.is_empty());
    assert!(
        twice
            .to_dense(50, TextSide::No)
            .iter()
            .all(|t| t.values.iter().all(|&v| v == 0.0))
    );
}

#[test]
fn zip_gradient_pairs_every_parameter_with_its_gradient() {
    let (mut tower, tokens, prompts, d) = batch_of_many_chunks();
    let before = owned(tower.params().named_tensors(TextSide::No));
    let (_, gradient) = text_gradient(&tower, &tokens, &prompts, &d);
    let dense = gradient.to_dense(50, TextSide::No);
    for (parameter, gradient) in tower.params_mut().zip_gradient(&gradient, TextSide::No) {
        match gradient {
            TensorGradient::Dense(gradient) => {
                assert_eq!(parameter.values.len(), gradient.len(), "{}", parameter.name);
                parameter
                    .values
                    .iter_mut()
                    .zip(gradient)
                    .for_each(|(p, g)| *p -= 0.5 * g);
            }
            TensorGradient::Sparse(rows) => {
                assert_eq!(parameter.name, "token_embedding_no.weight");
                for (id, row) in rows.iter() {
                    let target = &mut parameter.values[id as usize * rows.width()..];
                    target.iter_mut().zip(row).for_each(|(p, g)| *p -= 0.5 * g);
                }
            }
        }
    }
    for ((before, after), gradient) in before
        .iter()
        .zip(tower.params().named_tensors(TextSide::No))
        .zip(&dense)
    {
        assert_eq!((&before.name, &before.shape), (&after.name, &after.shape));
        assert_eq!(
            (&before.name, &before.shape),
            (&gradient.name, &gradient.shape)
        );
        for ((b, a), g) in before.values.iter().zip(after.values).zip(&gradient.values) {
            assert_eq!(*a, b - 0.5 * g, "{}", after.name);
        }
    }
    assert_eq!(before.last().unwrap().name, "prompt_no");
}

#[test]
fn rejects_mismatched_inputs_and_names_the_problem() {
    let (tower, tokens, prompts, d) = batch_of_many_chunks();
    let error = tower
        .forward(&tokens, &prompts[1..])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("expected one prompt per text (130 texts), got 129"),
        "{error}"
    );
    let error = tower
        .forward(&tokens, &[PromptSelection::Index(4); 130])
        .unwrap_err()
        .to_string();
    assert!(error.contains("out of range for 4 prompts"), "{error}");
    let tape = || tower.forward(&tokens, &prompts).unwrap().1;
    let mut gradient = TextGradient::zeros_like(tower.params());
    let error = tower
        .backward(tape(), &d[1..], &mut gradient)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("expected 2080 values for the feature gradient, got 2079"),
        "{error}"
    );
    let other = config(16, Activation::Gelu, [1, 2, 1, 3, 1, 4], [40, 3, 8, 2, 50]);
    let mut other = TextGradient::zeros_like(&Random::new(5).text::<f32>(&other, 4));
    assert!(tower.backward(tape(), &d, &mut other).is_err());
    tower.backward(tape(), &d, &mut gradient).unwrap();
}

#[test]
fn changing_parameters_drops_the_packed_weights() {
    let (tower, tokens, ..) = batch_of_many_chunks();
    let mut packed = tower.clone().with_packed_weights();
    let before = packed.encode(&tokens).unwrap();
    assert_eq!(before, tower.encode(&tokens).unwrap());
    for tensor in packed.params_mut().named_tensors_mut(TextSide::No) {
        tensor.values.iter_mut().for_each(|v| *v *= 1.5);
    }
    let mut changed = tower;
    for tensor in changed.params_mut().named_tensors_mut(TextSide::No) {
        tensor.values.iter_mut().for_each(|v| *v *= 1.5);
    }
    let after = packed.encode(&tokens).unwrap();
    assert_eq!(after, changed.encode(&tokens).unwrap());
    assert_ne!(after, before);
}
