//! Synthetic data set for demos: captioned images of shapes to train on, and evaluation sets with
//! classes seen and unseen in training.
//!
//! All images are drawn here, deterministically for a seed. They are written in the formats of real
//! data: WebDataset shards, image folders and a benchmark definition.

mod builder;
mod canvas;
mod caption;
mod color;
mod error;
mod far_set;
pub(crate) mod files;
mod geometry;
mod glyph;
mod random;
mod scene;
mod shape;
mod shape_image;
mod texture;

pub(crate) use builder::{World, WorldSample};
pub(crate) use error::DemoError;

#[cfg(test)]
mod tests;
