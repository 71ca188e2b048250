//! Data sets: class directories, flat directories and image lists, and the benchmark definitions
//! that combine an in-distribution set with out-of-distribution sets. Only names are read here; a
//! broken image is detected when it is decoded. For training: images with captions, in shards or
//! tables, and batches of them.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use clipn::dataset::ImageFolder;
//!
//! let set = ImageFolder::read(Path::new("pets"))?.labelled("pets")?;
//! println!("{} images of {} classes", set.len(), set.folders.len());
//! # Ok::<(), clipn::dataset::DatasetError>(())
//! ```

mod benchmark;
mod captions;
mod error;
mod folder;
mod list;
mod loading;
mod map;
mod pictures;
mod random;
mod read;
mod set;
mod walk;
mod webdataset;

pub use benchmark::{
    Benchmark, BenchmarkClasses, ClassSource, IdDefinition, OodDefinition, OodKind, OodSet,
    OpenedBenchmark, Selection, SetSource,
};
pub use captions::{CaptionTable, TableFormat};
pub use error::DatasetError;
pub use folder::{ClassDirectory, ImageFolder};
pub use list::read_list;
pub use loading::{
    CachedImages, CaptionLoader, CaptionSource, Epoch, LoaderSettings, MaxBad, Position, Rounding,
    Sampling, ShuffleBuffer, SkipReason, Skipped, SkippedSample, TrainBatch, TrainingDataError,
};
pub use map::{FolderMap, MapEntry, MapSource};
pub use pictures::{
    ArchiveImages, Content, FolderImages, ListSeparator, MAX_STREAMED_IMAGE_BYTES, NamedImage,
    PathList, is_shard_name,
};
pub use set::{IMAGE_EXTENSIONS, ImageSet, Sample, is_image_name};
pub use webdataset::{CaptionField, SampleFields, Shard, ShardSet, expand_braces, expand_shards};

use error::first_few;
use read::read_limited;
