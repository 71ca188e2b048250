//! Synthetic data set for demos: captioned images of shapes to train on, and evaluation sets with
//! classes seen and unseen in training.
//!
//! All images are drawn here, deterministically for a seed. They are written in the formats of real
//! data: WebDataset shards, image folders and a benchmark definition.
//!
//! ```
//! use clipn::demo::World;
//!
//! let sample = World::default().train_sample(0);
//! assert_eq!(sample.pixels.len(), 32 * 32 * 3);
//! assert!(!sample.caption.is_empty());
//! ```

mod canvas;
mod caption;
mod colour;
mod error;
mod far;
mod files;
mod geometry;
mod glyph;
mod picture;
mod random;
mod scene;
mod shape;
mod tar;
mod texture;
mod world;

pub use error::DemoError;
pub use world::{World, WorldFiles, WorldSample};
