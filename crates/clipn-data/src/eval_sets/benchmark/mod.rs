//! Benchmark definitions: the in-distribution images with their class names, and the
//! out-of-distribution sets to separate them from. A definition is a TOML file with the keys in
//! [`raw`]; [`Benchmark::open`] finds its images below a data root.
mod definition;
mod load;
mod open;
mod raw;
mod train;

pub use definition::{
    Benchmark, ClassSource, IdDefinition, OodDefinition, OodKind, Selection, SetSource,
    TrainDefinition,
};
pub use open::{BenchmarkClasses, OodSet, OpenedBenchmark};
pub use train::TrainSet;
