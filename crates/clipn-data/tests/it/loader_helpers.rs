//! Loaders of synthetic shards.

use std::path::Path;

use clipn_data::{
    CaptionLoader, LoaderSettings, SampleFields, ShardSet, ShuffleBuffer, SkipLimit, TrainBatch,
};
use clipn_testing::shards::{number, write_shards};
use tempfile::TempDir;

pub(crate) fn settings(batch_size: usize) -> LoaderSettings {
    let shuffle = ShuffleBuffer {
        samples: 7,
        ..ShuffleBuffer::default()
    };
    LoaderSettings {
        shuffle,
        max_skipped: SkipLimit::Unlimited,
        ..LoaderSettings::new(8, batch_size)
    }
}

pub(crate) fn open(folder: &Path) -> ShardSet {
    ShardSet::open(folder.to_str().unwrap(), SampleFields::default()).unwrap()
}

pub(crate) fn loader(folder: &Path, settings: LoaderSettings) -> CaptionLoader {
    CaptionLoader::new(open(folder).into(), settings).unwrap()
}

pub(crate) fn batches(loader: &CaptionLoader, epoch: u64) -> Vec<TrainBatch> {
    loader
        .epoch(epoch)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// Returns the numbers of samples in the order delivered, each compared with its image.
pub(crate) fn numbers(batches: &[TrainBatch]) -> Vec<u32> {
    let mut numbers = Vec::new();
    for batch in batches {
        assert_eq!(batch.captions.len(), batch.keys.len());
        let values = batch.pixels.len() / batch.captions.len();
        for ((pixels, caption), key) in batch
            .pixels
            .chunks_exact(values)
            .zip(&batch.captions)
            .zip(&batch.keys)
        {
            let shown = number(pixels);
            assert_eq!(caption.trim(), format!("picture {shown}"));
            assert!(key.ends_with(&format!("/{shown:06}")), "{key}");
            numbers.push(shown);
        }
    }
    numbers
}

pub(crate) fn sorted(mut numbers: Vec<u32>) -> Vec<u32> {
    numbers.sort_unstable();
    numbers
}

pub(crate) fn folder(sizes: &[u32]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_shards(folder.path(), sizes);
    folder
}
