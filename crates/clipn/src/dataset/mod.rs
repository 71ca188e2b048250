//! Where images come from: class folders, flat folders and image lists, and the benchmark definitions that join an
//! in-distribution set with out-of-distribution ones. Only names are read here; a broken image shows when it is decoded.
mod benchmark;
mod error;
mod folder;
mod list;
mod map;
mod read;
mod set;
mod walk;

pub use benchmark::{
    Benchmark, ClassSource, IdDefinition, OodDefinition, OodKind, OpenedBenchmark, OpenedClasses, OpenedOod,
    Selection, SetSource,
};
pub use error::DatasetError;
pub use folder::{ClassFolder, ImageFolder};
pub use list::read_list;
pub use map::{FolderMap, MapRow, MapSource};
pub use set::{IMAGE_EXTENSIONS, ImageSet, Sample, is_image_name};
