//! An ordered parallel map over a stream: results come in the order of the items, and no worker
//! runs far ahead of the slowest one, so memory does not grow with the number of items.
//!
//! [`map_ordered`] borrows its closures and pushes results into a sink; [`OrderedMap`] owns its
//! threads and is an iterator.
//!
//! ```
//! use clipn_base::ordered::{ChunkLimits, OrderedMap};
//!
//! let squares = OrderedMap::new(0..10, ChunkLimits::new(1), vec![(); 2], |(), chunk: Vec<u32>| {
//!     chunk[0] * chunk[0]
//! })?;
//! assert!(squares.eq((0..10).map(|n| n * n)));
//! # Ok::<(), std::io::Error>(())
//! ```

mod map;
#[cfg(test)]
mod tests;
mod tickets;

pub use map::{OrderedMap, WorkerPanicked, map_ordered};
pub use tickets::ChunkLimits;
