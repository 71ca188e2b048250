//! Benchmark definitions: which images are in-distribution, what their classes are called, and which sets they are told
//! from. A definition is a TOML file ([`raw`] has its keys); [`Benchmark::open`] finds its images below a data root.
mod definition;
mod open;
mod raw;

pub use definition::{
    Benchmark, ClassSource, IdDefinition, OodDefinition, OodKind, Selection, SetSource,
};
pub use open::{OpenedBenchmark, OpenedClasses, OpenedOod};
