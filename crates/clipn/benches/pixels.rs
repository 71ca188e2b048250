//! Decoding, resizing and cropping of real photos on one thread: `cargo bench -p clipn --bench
//! pixels`. Skipped if the photos in `CLIPN_TEST_DATA` (default `../shared` beside the repository)
//! are absent. Items are photos.
#![allow(clippy::unwrap_used)]

mod common;

use clipn::dataset::ImageFolder;
use clipn::image::{Preprocessing, decode_file};
use common::test_data;
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

/// Full-size photos, and small ones of a dataset.
#[divan::bench(args = ["data/imagenet-100", "data/coco-mini/images"], sample_count = 5, sample_size = 1)]
fn decode_resize_crop(bencher: Bencher<'_, '_>, folder: &str) {
    let Some(folder) = test_data(folder) else {
        return;
    };
    let files = ImageFolder::read(&folder)
        .unwrap()
        .unlabeled("photos")
        .unwrap()
        .samples;
    let preprocessing = Preprocessing::clip(224);
    bencher.counter(ItemsCount::new(files.len())).bench(|| {
        for file in &files {
            let image = decode_file(&file.path, &preprocessing.decode).unwrap();
            divan::black_box(preprocessing.crop(&image).unwrap());
        }
    });
}
