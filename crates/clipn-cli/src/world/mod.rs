//! A small world of its own for `clipn demo`: pictures of shapes with captions to train on, and sets of classes that
//! were and were not among them to measure "none of these" with. Everything is drawn here, the same for a seed, and
//! written in the forms that real data has: WebDataset shards, image folders and a benchmark definition.

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
