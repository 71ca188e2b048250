//! Optimizer steps of the `clipn` objective with ViT-B-32, with AdamW also on the token embedding:
//! `cargo bench -p clipn --bench training`. Items are samples.
#![allow(clippy::unwrap_used)]

mod common;

use clipn::engine::{TextTransformer, VisionTransformer};
use clipn::model::PromptSelection;
use clipn::tokenizer::TokenBatch;
use clipn::training::{
    AdamW, AdamWSettings, GradientScaling, ImageInput, MicroBatch, NoTexts, ObjectiveSettings,
    SingleProcess, TextInput, Towers, Trainer,
};
use common::{captions, features, full_texts, image_tower, pixels, text_tower};
use divan::Bencher;
use divan::counter::ItemsCount;

/// Number of learnable "no" prompts.
const PROMPTS: usize = 16;

fn main() {
    divan::main();
}

fn trainer() -> Trainer<f32, VisionTransformer, TextTransformer, SingleProcess> {
    let towers = Towers {
        image: image_tower("ViT-B-32"),
        yes: text_tower(0),
        no: Some(text_tower(PROMPTS)),
        logit_scale: 4.6,
    };
    let objective = ObjectiveSettings::default().build().unwrap();
    let optimizer = AdamW::new(AdamWSettings::default()).unwrap();
    Trainer::new(
        towers,
        objective,
        GradientScaling::True,
        optimizer,
        SingleProcess,
    )
    .unwrap()
}

/// One step on `tokens`, with pixels, or with cached features of the frozen towers.
fn step(bencher: Bencher<'_, '_>, tokens: &TokenBatch, is_cached: bool) {
    let mut trainer = trainer();
    let batch = tokens.len();
    let prompts: Vec<PromptSelection> = (0..batch)
        .map(|i| PromptSelection::Index(i % PROMPTS))
        .collect();
    let (images, yes) = if is_cached {
        (
            ImageInput::Features(features(batch, 6)),
            TextInput::Features(features(batch, 7)),
        )
    } else {
        (
            ImageInput::Pixels {
                values: pixels(batch).into(),
                size: 224,
            },
            TextInput::Tokens(tokens.clone()),
        )
    };
    let part = [MicroBatch {
        images,
        yes,
        no: Some(NoTexts {
            tokens: tokens.clone(),
            prompts,
        }),
        outliers: None,
    }];
    bencher
        .counter(ItemsCount::new(batch))
        .bench_local(|| trainer.step(&part, 1e-5).unwrap());
}

/// Only the "no" tower, with texts of full length.
#[divan::bench(sample_count = 7, sample_size = 1)]
fn train_text_32x77(bencher: Bencher<'_, '_>) {
    step(bencher, &full_texts(32, 77), true);
}

/// Only the "no" tower, with texts of full length.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn train_text_64x16(bencher: Bencher<'_, '_>) {
    step(bencher, &full_texts(64, 16), true);
}

/// The whole step, with the forward passes of both frozen towers.
#[divan::bench(sample_count = 7, sample_size = 1)]
fn step_clipn(bencher: Bencher<'_, '_>) {
    step(bencher, &captions(32), false);
}

/// The step with cached features of the frozen towers.
#[divan::bench(sample_count = 7, sample_size = 1)]
fn step_clipn_cached(bencher: Bencher<'_, '_>) {
    step(bencher, &captions(32), true);
}
