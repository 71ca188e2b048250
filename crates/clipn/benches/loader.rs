//! Throughput of the training data loader in samples per second, with real shards in
//! `CLIPN_TEST_DATA` (default `../shared` beside the repository) and crops of the given size.
//! Skipped if the shards are absent.
#![allow(clippy::unwrap_used)]

mod common;

use clipn::dataset::{CaptionLoader, LoaderSettings, SampleFields, ShardSet, TrainBatch};
use common::test_data;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

const BATCH: usize = 500;

fn shards() -> Option<ShardSet> {
    let spec = test_data("data/tiny-imagenet")?.join("train-{000..003}.tar.gz");
    let set = ShardSet::open(&spec.to_string_lossy(), SampleFields::default());
    set.inspect_err(|error| eprintln!("skipped: {error}")).ok()
}

#[divan::bench(args = [(64, 0), (64, 2), (224, 0), (224, 1), (224, 2)], sample_count = 3, sample_size = 1)]
fn epoch_of_four_shards(bencher: divan::Bencher, (size, workers): (usize, usize)) {
    let Some(set) = shards() else { return };
    let settings = LoaderSettings {
        workers,
        ..LoaderSettings::new(size, BATCH)
    };
    let Ok(loader) = CaptionLoader::new(set.into(), settings) else {
        return;
    };
    bencher
        .counter(ItemsCount::new(loader.samples_per_epoch()))
        .bench(|| {
            let mut batch = TrainBatch::default();
            let Ok(mut epoch) = loader.epoch(0) else {
                return 0;
            };
            while let Ok(true) = epoch.next_into(&mut batch) {}
            epoch.position().batches
        });
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn skipping_four_shards(bencher: divan::Bencher) {
    let Some(set) = shards() else { return };
    let settings = LoaderSettings {
        workers: 0,
        ..LoaderSettings::new(64, BATCH)
    };
    let Ok(loader) = CaptionLoader::new(set.into(), settings) else {
        return;
    };
    bencher
        .counter(ItemsCount::new(loader.samples_per_epoch()))
        .bench(|| {
            let Ok(epoch) = loader.epoch(0) else {
                return false;
            };
            let mut position = epoch.position().clone();
            position.drawn = loader.samples_per_epoch();
            loader.resume(position).is_ok()
        });
}
