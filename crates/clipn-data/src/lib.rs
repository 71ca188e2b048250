//! Image data sets: class directories, image lists, out-of-distribution (OOD) benchmarks, streams of
//! unlabeled images, and image-caption pairs for training.
//!
//! ```text
//!  evaluation      ImageFolder ─┐
//!                  list, table ─┼─▶ ImageSet (paths, labels) ─┐
//!                  ClassMap    ─┘                             ├─▶ OpenedBenchmark (ID and OOD sets)
//!                  Benchmark (TOML) ──────────────────────────┘
//!
//!  inference       FolderImages, PathList, ArchiveImages ──▶ NamedImage (name, source of bytes)
//!
//!  training        ShardSet (WebDataset) ─┐
//!                  CaptionTable (CSV)    ─┴─▶ CaptionLoader ──▶ Epoch ──▶ TrainBatch
//! ```
//!
//! Sets for evaluation consist of paths only: a broken image is detected when it is decoded. The order
//! of images depends on their names, and that of training samples on the seed, never on the file
//! system or on the number of threads.
//!
//! # Example
//!
//! ```
//! use clipn_data::ImageFolder;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let pets = tempfile::tempdir()?;
//! # for file in ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"] {
//! #     let path = pets.path().join(file);
//! #     std::fs::create_dir_all(path.parent().unwrap())?;
//! #     std::fs::write(path, b"")?;
//! # }
//! # let pets = pets.path();
//! let set = ImageFolder::read(pets)?.labeled("pets")?;
//! assert_eq!(set.class_directories, ["cat", "dog"]);
//! assert_eq!(set.len(), 3);
//! assert_eq!(set.samples[2].label, Some(1));
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `parquet` | no | Parquet files as training data, as sets for evaluation and as lists of images |

mod archive;
mod error;
mod eval_sets;
mod features;
mod image_name;
mod patterns;
mod skipped_files;
mod sources;
mod tables;
mod text_file;
mod training;
mod walk;

pub use archive::is_archive_name;
pub use error::DatasetError;
pub use eval_sets::{
    Benchmark, BenchmarkCheck, BenchmarkClasses, ClassDirectory, ClassMap, ClassMapSource,
    ClassMatching, ClassSource, IdDefinition, ImageFolder, ImagePaths, ImageSet, IncompleteSet,
    LabeledImage, ListFormat, ListedClasses, MapEntry, MatchedClasses, OodDefinition, OodKind,
    OodSet, OpenedBenchmark, Selection, SetCheck, SetImages, SetRole, SetSource, ShiftedDefinition,
    TrainDefinition, TrainSet, is_archive_file, read_archived_images, read_image_list,
    read_path_list,
};
pub use features::{
    FeatureError, FeatureFile, FeatureFormat, FeatureWriter, KeyKind, keys_beside, npy, read_labels,
};
#[cfg(feature = "parquet")]
#[cfg_attr(docsrs, doc(cfg(feature = "parquet")))]
pub use features::{write_feature_table, write_keys_table};
pub use image_name::{
    IMAGE_EXTENSIONS, NameKind, UNREADABLE_IMAGE_EXTENSIONS, is_ignored_name, is_image_name,
};
pub use patterns::{MatchedPaths, matched_paths, unmatched_names};
pub use skipped_files::SkippedFiles;
pub use sources::{
    ArchiveImages, FolderImages, ImageContent, ListSeparator, LostSource, MAX_STREAMED_IMAGE_BYTES,
    NamedImage, PathList, TableImages,
};
pub use tables::{TableKind, is_table_file};
#[cfg(feature = "parquet")]
pub use training::ParquetCaptions;
pub use training::{
    BatchPeers, CachedImage, CachedImages, CaptionField, CaptionLoader, CaptionSource,
    CaptionTable, CaptionTableFormat, DamageReport, Epoch, EpochPosition, FeatureKeys,
    LoaderSettings, MultilineFields, Rounding, SampleFields, Sampling, Shard, ShardDamage,
    ShardSet, ShuffleBuffer, SkipLimit, SkipReason, SkippedSample, SkippedSamples, TableQuoting,
    TrainBatch, TrainingDataError, expand_braces, expand_shards,
};
