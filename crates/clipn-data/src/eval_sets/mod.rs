//! Sets of images for evaluation: class directories, image lists, class maps, and the benchmarks that
//! combine them.

mod benchmark;
mod folder;
mod list;
mod map;
mod set;

pub use benchmark::{
    Benchmark, BenchmarkClasses, ClassSource, IdDefinition, OodDefinition, OodKind, OodSet,
    OpenedBenchmark, Selection, SetSource,
};
pub use folder::{ClassDirectory, ImageFolder};
pub use list::read_image_list;
pub use map::{ClassMap, ClassMapSource, MapEntry};
pub use set::{ImageSet, LabeledImage};
