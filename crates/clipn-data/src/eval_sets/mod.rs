//! Sets of images for evaluation: class directories, image lists, archives, tables, class maps, and the benchmarks that
//! combine them.

mod archive;
mod benchmark;
mod class_matching;
mod folder;
mod list;
mod map;
mod overlap;
mod set;
mod table;

pub use archive::{SetImages, is_archive_file, read_archived_images};
pub use benchmark::{
    Benchmark, BenchmarkCheck, BenchmarkClasses, ClassSource, IdDefinition, IncompleteSet,
    ListFormat, OodDefinition, OodKind, OodSet, OpenedBenchmark, Selection, SetCheck, SetRole,
    SetSource, ShiftedDefinition, TrainDefinition, TrainSet,
};
pub use class_matching::{ClassMatching, ListedClasses, MatchedClasses};
pub use folder::{ClassDirectory, ImageFolder};
pub use list::{read_image_list, read_path_list};
pub use map::{ClassMap, ClassMapSource, MapEntry};
pub use overlap::ImagePaths;
pub use set::{ImageSet, LabeledImage};
