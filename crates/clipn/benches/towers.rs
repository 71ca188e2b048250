//! Towers of the published sizes, with random weights: `cargo bench -p clipn --bench towers`. A
//! filter such as `image_b32` runs one alone.
#![allow(clippy::unwrap_used)]

mod common;

use clipn::engine::ResNetTower;
use clipn::model::{ImageBatch, ImageTower, TextTower};
use common::random::Random;
use common::{config, full_texts, image_encoder, pixels, text_encoder};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

fn images(bencher: Bencher<'_, '_>, model: &str, batch: usize) {
    let config = config(model);
    let tower: Box<dyn ImageTower<f32>> = match config.vision.stages {
        Some(_) => Box::new(ResNetTower::new(&config, &Random::new(1).resnet(&config))),
        None => Box::new(image_encoder(model)),
    };
    let pixels = pixels(batch);
    let encode = || {
        tower
            .encode(ImageBatch::new(&pixels, 224, 224).unwrap())
            .unwrap()
    };
    bencher.counter(ItemsCount::new(batch)).bench(encode);
}

fn texts(bencher: Bencher<'_, '_>, batch: usize, length: usize) {
    let (tower, tokens) = (text_encoder(0), full_texts(batch, length));
    bencher
        .counter(ItemsCount::new(batch * length))
        .bench(|| tower.encode(&tokens).unwrap());
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
