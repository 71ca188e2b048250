//! WebDataset shards and the samples in them.
#![no_main]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/panics.rs"]
mod panics;
#[path = "support/temp.rs"]
mod temp;

use clipn_data::{CaptionLoader, LoaderSettings, SampleFields, Sampling, ShardSet, SkipLimit};
use clipn_image::Augmentation;

/// Maximum memory in bytes, in addition to twice the file: two zstd windows (100 MiB each; links need
/// a second reader), the files of two samples (256 MiB each, from sparse files), what is kept for
/// links (32 MiB), images.
const LIMIT: usize = 1 << 30;

/// Maximum number of batches: if most samples are corrupt, the same data are read again for each.
const MAX_BATCHES: usize = 4;

/// Reads a few batches; `None` at the first error.
fn read(bytes: &[u8]) -> Option<()> {
    let path = temp::write_file("shard.tar", bytes);
    let mut shards = ShardSet::open(path.to_str()?, SampleFields::default()).ok()?;
    shards.count_samples();
    let mut settings = LoaderSettings::new(16, 2);
    settings.preprocessing.decode.max_pixels = 1 << 16;
    settings.augmentation = Augmentation::none();
    (settings.workers, settings.prefetch) = (0, Some(1));
    (settings.sampling, settings.max_skipped) = (Sampling::InOrder, SkipLimit::Count(8));
    let epoch = CaptionLoader::new(shards.into(), settings)
        .ok()?
        .epoch(0)
        .ok()?;
    for batch in epoch.take(MAX_BATCHES) {
        assert_eq!(batch.ok()?.captions.len(), 2);
    }
    Some(())
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    panics::of_own_code_only();
    memory::within_memory_limit(2 * bytes.len() + LIMIT, || read(bytes));
});
