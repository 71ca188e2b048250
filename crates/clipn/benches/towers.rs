//! The towers at the published sizes, with random weights: `cargo bench -p clipn --bench towers`. A name, as
//! `image_b32`, runs one alone.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/random.rs"]
mod random;

use clipn::engine::{ResNetTower, TransformerText, VisionTower};
use clipn::model::{ImageTower, Images, ModelConfig, NoPrompt, TextGradient, TextTower, TrainText};
use clipn::tokenizer::TokenBatch;
use divan::Bencher;
use divan::counter::ItemsCount;
use random::Random;

fn main() {
    divan::main();
}

fn images(bencher: Bencher<'_, '_>, model: &str, batch: usize) {
    let config = ModelConfig::named(model).unwrap();
    let mut random = Random::new(1);
    let tower: Box<dyn ImageTower<f32>> = match config.vision.stages {
        Some(_) => Box::new(ResNetTower::new(&config, &random.resnet(&config))),
        None => Box::new(VisionTower::new(&config, random.vision(&config))),
    };
    let size = config.vision.image_size;
    let pixels: Vec<f32> = Random::new(2).values(batch * 3 * size * size, 2.0);
    let encode = || tower.encode(Images::new(&pixels, size, size).unwrap()).unwrap();
    bencher.counter(ItemsCount::new(batch)).bench(encode);
}

/// A text tower of ViT-B-32, and texts that fill their rows: the largest id stands last.
fn text_tower(prompts: usize, batch: usize, length: usize) -> (TransformerText, TokenBatch) {
    let config = ModelConfig::named("ViT-B-32").unwrap();
    let tower = TransformerText::new(&config, Random::new(1).text(&config, prompts));
    let mut random = Random::new(2);
    let mut row = || (1..length).map(|_| (random.next() % 49_000) as u32).chain([49_407]).collect::<Vec<_>>();
    let ids = (0..batch).flat_map(|_| row()).collect();
    (tower, TokenBatch::new(ids, length).unwrap())
}

fn texts(bencher: Bencher<'_, '_>, batch: usize, length: usize) {
    let (tower, tokens) = text_tower(0, batch, length);
    bencher.counter(ItemsCount::new(batch * length)).bench(|| tower.encode(&tokens).unwrap());
}

/// Items are images.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn image_b32(bencher: Bencher<'_, '_>) {
    images(bencher, "ViT-B-32", 32);
}

/// Items are images.
#[divan::bench(sample_count = 7, sample_size = 1)]
fn image_b16(bencher: Bencher<'_, '_>) {
    images(bencher, "ViT-B-16", 16);
}

/// Items are images.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn image_rn50(bencher: Bencher<'_, '_>) {
    images(bencher, "RN50", 8);
}

/// Items are tokens.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn text_32x77(bencher: Bencher<'_, '_>) {
    texts(bencher, 32, 77);
}

/// Items are tokens.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn text_64x16(bencher: Bencher<'_, '_>) {
    texts(bencher, 64, 16);
}

/// Forward with tape and backward of the "no" tower, every text with a prompt of its own.
fn training(bencher: Bencher<'_, '_>, batch: usize, length: usize) {
    let (tower, tokens) = text_tower(16, batch, length);
    let prompts: Vec<NoPrompt> = (0..batch).map(|i| NoPrompt::Index(i % 16)).collect();
    let d: Vec<f32> = Random::new(3).values(batch * 512, 1.0);
    let mut gradient = TextGradient::zeros_like(tower.params());
    bencher.counter(ItemsCount::new(batch * length)).bench_local(|| {
        gradient.clear();
        let (_, tape) = tower.forward(&tokens, &prompts).unwrap();
        tower.backward(tape, &d, &mut gradient).unwrap();
    });
}

/// Items are tokens.
#[divan::bench(sample_count = 7, sample_size = 1)]
fn train_text_32x77(bencher: Bencher<'_, '_>) {
    training(bencher, 32, 77);
}

/// Items are tokens.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn train_text_64x16(bencher: Bencher<'_, '_>) {
    training(bencher, 64, 16);
}
