//! Gradients and steps of the small models, from given gradients of the features.

use std::sync::Arc;

use clipn_engine::reference::{ReferenceText, ReferenceVision};
use clipn_gpu::{AdamWStep, Device, ParameterState};
use clipn_model::{
    ImageBatch, NamedTensor, PromptSelection, Real, TextGradient, TextSide, TrainableImageTower,
    TrainableTextTower,
};
use clipn_testing::figures::{relative_to_max, weights};
use clipn_text::tokenizer::TokenBatch;

use super::{MODELS, Towers, figures, prompt, to_f64, trainable, values};

/// Inputs of the first published training step.
struct Step<D: Device> {
    pixels: Vec<D::Value>,
    side: usize,
    tokens: TokenBatch,
    prompts: Vec<PromptSelection>,
}

impl<D: Device> Step<D> {
    fn read(model: &str) -> Self {
        let train = figures(&format!("models/{model}/train.safetensors"));
        let shape = train.shape("tokens_step0");
        let prompts = train.ids("prompt_idx_step0").into_iter();
        Self {
            pixels: values::<D>(&train, "images_step0"),
            side: train.shape("images_step0")[2],
            tokens: TokenBatch::new(train.ids("tokens_step0"), shape[1]).unwrap(),
            prompts: prompts.map(prompt).collect(),
        }
    }

    fn images(&self) -> ImageBatch<'_, D::Value> {
        ImageBatch::new(&self.pixels, self.side, self.side).unwrap()
    }
}

/// Some gradient of features, of several magnitudes.
fn d_features<T: Real>(len: usize) -> Vec<T> {
    let value = |i: usize| ((i * 31 % 97) as f64 - 48.0) / 97.0 * 0.1f64.powi((i % 3) as i32);
    (0..len).map(|i| T::from_f64(value(i))).collect()
}

type Gradients = Vec<(String, Vec<f64>)>;

fn named<T: Real>(tensors: Vec<NamedTensor<Vec<T>>>) -> Gradients {
    let tensor = |t: NamedTensor<Vec<T>>| (t.name, to_f64(&t.values));
    tensors.into_iter().map(tensor).collect()
}

/// Runs the backward passes of all three towers on the device.
fn of_device<D: Device>(towers: &Towers<D>, step: &Step<D>) -> Gradients {
    let Towers { image, yes, no } = towers;
    image.clear_gradients().unwrap();
    let (features, tape) = image.forward(step.images()).unwrap();
    image
        .backward(tape, &d_features(features.values().len()))
        .unwrap();
    let mut all = named(image.read(ParameterState::Gradient).unwrap());
    let mean = vec![PromptSelection::Mean; step.tokens.len()];
    for (tower, prompts) in [(yes, &mean), (no, &step.prompts)] {
        tower.clear_gradients().unwrap();
        let (features, tape) = tower.forward(&step.tokens, prompts).unwrap();
        tower
            .backward(tape, &d_features(features.values().len()))
            .unwrap();
        all.extend(named(tower.read(ParameterState::Gradient).unwrap()));
    }
    all
}

/// Runs the backward passes of the reference towers in f64, which match the published gradients.
fn of_reference<D: Device>(model: &str, step: &Step<D>) -> Gradients {
    let w = weights(model);
    let image = ReferenceVision::<f64>::from_weights(&w);
    let pixels = to_f64(&step.pixels);
    let (features, tape) = image
        .forward(ImageBatch::new(&pixels, step.side, step.side).unwrap())
        .unwrap();
    let mut gradient = image.params().zeros_like();
    let d = d_features(features.values().len());
    image.backward(tape, &d, &mut gradient).unwrap();
    let owned = |t: NamedTensor<&[f64]>| (t.name, t.values.to_vec());
    let mut all: Gradients = gradient.named_tensors().into_iter().map(owned).collect();
    let mean = vec![PromptSelection::Mean; step.tokens.len()];
    for (side, prompts) in [(TextSide::Yes, &mean), (TextSide::No, &step.prompts)] {
        let tower = ReferenceText::<f64>::from_weights(&w, side);
        let (features, tape) = tower.forward(&step.tokens, prompts).unwrap();
        let mut gradient = TextGradient::zeros_like(tower.params());
        let d = d_features(features.values().len());
        tower.backward(tape, &d, &mut gradient).unwrap();
        all.extend(named(gradient.to_dense(w.config().text.vocab_size, side)));
    }
    all
}

/// Leaves out the key third of a bias before attention, whose gradient is rounding noise around zero.
fn without_noise<'a>(name: &str, values: &'a [f64]) -> [&'a [f64]; 2] {
    if !name.contains("in_proj_bias") {
        return [values, &[]];
    }
    let third = values.len() / 3;
    [&values[..third], &values[2 * third..]]
}

/// Compares the gradients of all parameters with those of the reference towers.
pub(crate) fn match_the_reference<D: Device>(device: &Arc<D>, tolerance: f64) {
    for (model, layers) in MODELS {
        let step = Step::<D>::read(model);
        let towers = trainable(device, model);
        let expected = of_reference(model, &step);
        let text = 12 * layers;
        let image = expected.len() - (5 + text) - (6 + text);
        assert!(image > 30, "{image} tensors");
        // Twice, so that nothing is left of the first batch.
        for _ in 0..2 {
            let found = of_device(&towers, &step);
            assert_eq!(found.len(), expected.len());
            let mut worst = (0.0, String::new());
            for ((name, found), (expected_name, expected)) in found.iter().zip(&expected) {
                assert_eq!(name, expected_name);
                let parts = without_noise(name, found).into_iter();
                for (found, expected) in parts.zip(without_noise(name, expected)) {
                    let error = match expected {
                        [] => 0.0,
                        _ => relative_to_max(found, expected),
                    };
                    assert!(
                        error <= tolerance,
                        "{model} {name}: {error:e} of the maximum"
                    );
                    if error > worst.0 {
                        worst = (error, name.clone());
                    }
                }
            }
            println!("{model}: largest error {:e} ({})", worst.0, worst.1);
        }
    }
}

/// Checks that gradients of micro-batches add up to those of the whole batch.
pub(crate) fn add_up_over_micro_batches<D: Device>(device: &Arc<D>, tolerance: f64) {
    let step = Step::<D>::read("vit_gelu");
    let no = trainable(device, "vit_gelu").no;
    let dim = weights("vit_gelu").config().embed_dim;
    let d = d_features::<D::Value>(step.tokens.len() * dim);
    let (_, tape) = no.forward(&step.tokens, &step.prompts).unwrap();
    no.backward(tape, &d).unwrap();
    let whole = named(no.read(ParameterState::Gradient).unwrap());
    no.clear_gradients().unwrap();
    for text in 0..step.tokens.len() {
        let ids = step.tokens.row(text).unwrap();
        let one = TokenBatch::new(ids.to_vec(), ids.len()).unwrap();
        let (_, tape) = no.forward(&one, &step.prompts[text..=text]).unwrap();
        no.backward(tape, &d[text * dim..][..dim]).unwrap();
    }
    let found = named(no.read(ParameterState::Gradient).unwrap());
    for ((name, found), (_, whole)) in found.iter().zip(&whole) {
        let parts = without_noise(name, found).into_iter();
        for (found, whole) in parts.zip(without_noise(name, whole)) {
            if !whole.is_empty() {
                let error = relative_to_max(found, whole);
                assert!(error <= tolerance, "{name}: {error:e} of the maximum");
            }
        }
    }
}

/// Compares three AdamW steps from given gradients with the definition in f64, and the norm.
pub(crate) fn adamw_steps<D: Device>(device: &Arc<D>, tolerance: f64) {
    let tower = trainable(device, "vit_quickgelu").yes;
    let before = tower.read(ParameterState::Value).unwrap();
    let gradients: Vec<Vec<D::Value>> = before.iter().map(|t| d_features(t.values.len())).collect();
    let slices: Vec<&[D::Value]> = gradients.iter().map(|g| &g[..]).collect();
    tower.write(ParameterState::Gradient, &slices).unwrap();
    let squares = tower.squared_gradients().unwrap();
    for ((name, found), gradient) in squares.iter().zip(&gradients) {
        let expected: f64 = to_f64(gradient).iter().map(|g| g * g).sum();
        assert!(
            (found / expected - 1.0).abs() < 1e-5,
            "{name}: {found} of {expected}"
        );
    }
    let settings = AdamWStep {
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.98,
        eps: 1e-6,
        weight_decay: 0.2,
        step: 1,
        clip: 0.5,
    };
    for step in 1..=3 {
        tower.step(&AdamWStep { step, ..settings }).unwrap();
    }
    let after = tower.read(ParameterState::Value).unwrap();
    let first = tower.read(ParameterState::FirstMoment).unwrap();
    for (index, parameter) in before.iter().enumerate() {
        let decays = parameter.shape.len() > 1 && !parameter.name.contains("ln");
        let mut expected = to_f64(&parameter.values);
        let gradient = to_f64(&gradients[index]);
        let mut averages = Vec::new();
        for (value, gradient) in expected.iter_mut().zip(gradient) {
            let (mut m, mut v) = (0.0, 0.0);
            for step in 1..=3 {
                let g = gradient * 0.5;
                m = 0.9 * m + 0.1 * g;
                v = 0.98 * v + 0.02 * g * g;
                let corrected = (
                    m / (1.0 - 0.9f64.powi(step)),
                    v / (1.0 - 0.98f64.powi(step)),
                );
                let decay = if decays { 1.0 - 1e-3 * 0.2 } else { 1.0 };
                *value = *value * decay - 1e-3 * corrected.0 / (corrected.1.sqrt() + 1e-6);
            }
            averages.push(m);
        }
        let name = &parameter.name;
        let error = relative_to_max(&to_f64(&after[index].values), &expected);
        assert!(error <= tolerance, "{name}: {error:e}");
        let error = relative_to_max(&to_f64(&first[index].values), &averages);
        assert!(error <= tolerance, "{name}: first moment {error:e}");
    }
}

/// Compares the gradients of a batch that one program cannot hold with the sum over its texts.
pub(crate) fn of_many_texts<D: Device>(device: &Arc<D>, tolerance: f64) {
    let step = Step::<D>::read("vit_gelu");
    let no = trainable_no(device);
    let dim = weights("vit_gelu").config().embed_dim;
    let repeats = 5;
    let ids: Vec<u32> = (0..repeats)
        .flat_map(|_| step.tokens.ids().to_vec())
        .collect();
    let tokens = TokenBatch::new(ids, step.tokens.context_length()).unwrap();
    assert!(no.max_batch() < tokens.len(), "{}", no.max_batch());
    let prompts = step.prompts.repeat(repeats);
    let d = d_features::<D::Value>(tokens.len() * dim);
    let (found, tape) = no.forward(&tokens, &prompts).unwrap();
    no.backward(tape, &d).unwrap();
    let gradients = named(no.read(ParameterState::Gradient).unwrap());
    let free = Arc::new(clipn_gpu::HostDevice::<f64>::new());
    let reference = trainable_no(&free);
    let (expected, tape) = reference.forward(&tokens, &prompts).unwrap();
    reference.backward(tape, &to_f64(&d)).unwrap();
    let error = relative_to_max(&to_f64(found.values()), expected.values());
    assert!(error <= tolerance, "features: {error:e}");
    let expected = named(reference.read(ParameterState::Gradient).unwrap());
    for ((name, found), (_, expected)) in gradients.iter().zip(&expected) {
        let parts = without_noise(name, found).into_iter();
        for (found, expected) in parts.zip(without_noise(name, expected)) {
            if !expected.is_empty() {
                let error = relative_to_max(found, expected);
                assert!(error <= tolerance, "{name}: {error:e} of the maximum");
            }
        }
    }
}

fn trainable_no<D: Device>(device: &Arc<D>) -> clipn_gpu::DeviceTextTower<D> {
    let w = weights("vit_gelu");
    let params = w.text_params(TextSide::No);
    let device = Arc::clone(device);
    clipn_gpu::DeviceTextTower::trainable(device, w.config(), &params, TextSide::No).unwrap()
}
