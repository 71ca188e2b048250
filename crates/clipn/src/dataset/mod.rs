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
    Benchmark, ClassSource, IdDefinition, OodDefinition, OodKind, OpenedBenchmark, OpenedClasses,
    OpenedOod, Selection, SetSource,
};
pub use captions::{CaptionTable, TableFormat};
pub use error::DatasetError;
pub use folder::{ClassFolder, ImageFolder};
pub use list::read_list;
pub use loading::{
    CaptionLoader, CaptionSource, Epoch, KnownPictures, LoaderSettings, MaxBad, Position, Rounding,
    Sampling, ShuffleBuffer, SkipReason, Skipped, SkippedSample, TrainBatch, TrainingDataError,
};
pub use map::{FolderMap, MapRow, MapSource};
pub use pictures::{
    Content, FolderPictures, ListSeparator, MAX_PICTURE_BYTES, NamedPicture, PathList,
    ShardPictures, is_shard_name,
};
pub use set::{IMAGE_EXTENSIONS, ImageSet, Sample, is_image_name};
pub use webdataset::{CaptionField, SampleFields, Shard, ShardSet, expand_braces, expand_shards};

use error::first_few;
use read::read_limited;
