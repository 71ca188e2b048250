//! What the clipn crates share below everything else: messages, progress reports, SIMD dispatch,
//! random numbers, ordered parallel pipelines and the detection of what a file is.
//!
//! | module | for |
//! |---|---|
//! | [`content`] | what a file is, from its first bytes |
//! | [`count`] | numbers of things in words: 1 image, 2 images |
//! | [`files`] | files that keep state: replaced as a whole, owned by one process, whole after a kill |
//! | [`error`] | the messages of an error and of its sources in one line |
//! | [`text`] | text from outside made safe to print: control characters escaped, length limited |
//! | [`progress`] | [`Progress`](progress::Progress), through which long-running work reports and is cancelled; the library itself never prints |
//! | [`simd`] | the instruction set of the inner loops, chosen at run time |
//! | [`random`] | random numbers that are the same on every machine and in every version |
//! | [`features`] | what is wrong with a row of features |
//! | [`launcher`] | the rank of this process and the number of processes, as `mpirun` or `srun` announce them |
//! | [`ordered`] | a parallel map over a stream whose results keep its order, in bounded memory |
//!
//! # Example
//!
//! A stream is shuffled reproducibly and processed on two threads, in order:
//!
//! ```
//! use clipn_base::ordered::{ChunkLimits, OrderedMap};
//! use clipn_base::random::{RandomSource, Xoshiro256};
//! use clipn_base::simd::vectorized;
//!
//! let mut items: Vec<u32> = (0..100).collect();
//! Xoshiro256::new(7).shuffle(&mut items);
//! let expected: Vec<u32> = items.iter().map(|n| n * n).collect();
//!
//! let limits = ChunkLimits::new(8);
//! let squares = OrderedMap::new(items.into_iter(), limits, vec![(); 2], |(), chunk: Vec<u32>| {
//!     vectorized(|| chunk.iter().map(|n| n * n).collect::<Vec<u32>>())
//! })?;
//! assert_eq!(squares.flatten().collect::<Vec<u32>>(), expected);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The crate has no features.

pub mod content;
pub mod count;
pub mod error;
pub mod features;
pub mod files;
pub mod launcher;
pub mod number;
pub mod ordered;
pub mod progress;
pub mod random;
pub mod simd;
pub mod text;
