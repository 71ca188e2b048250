//! Benchmark definitions: the in-distribution images with their class names, and the
//! out-of-distribution sets to separate them from. A definition is a TOML file with the keys in
//! [`raw`]; [`Benchmark::open`] finds its images below a data root.
mod check;
mod classes;
mod definition;
mod load;
mod open;
mod raw;
mod select;
mod sets;
mod train;

pub use check::{BenchmarkCheck, SetCheck, SetRole};
pub use classes::BenchmarkClasses;
pub use definition::{
    Benchmark, ClassSource, IdDefinition, ListFormat, OodDefinition, OodKind, Selection, SetSource,
    ShiftedDefinition, TrainDefinition,
};
pub use open::{IncompleteSet, OodSet, OpenedBenchmark};
pub use train::TrainSet;
