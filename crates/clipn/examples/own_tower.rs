//! Runs a detector on an image tower of another engine, and on images that are no files.
//!
//! The tower here wraps the CPU tower and counts images; one for a GPU implements the same trait:
//! `cargo run -p clipn --features mini --example own_tower -- PHOTO…`

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clipn::engine::image_tower;
use clipn::image::ImageError;
use clipn::model::{FeatureMatrix, ImageBatch, ModelError};
use clipn::prelude::*;

/// An image tower that counts the images that it encodes.
pub(crate) struct CountingTower {
    inner: Box<dyn ImageTower<f32>>,
    images: AtomicUsize,
}

impl ImageTower<f32> for CountingTower {
    fn embed_dim(&self) -> usize {
        self.inner.embed_dim()
    }

    fn image_size(&self) -> usize {
        self.inner.image_size()
    }

    fn encode(&self, images: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
        self.images.fetch_add(images.len(), Ordering::Relaxed);
        self.inner.encode(images)
    }
}

/// An image file in memory, such as a row of a database.
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) bytes: Vec<u8>,
}

impl ImageSource for Row {
    fn read_tensor(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        preprocessing
            .preprocess_bytes(&self.bytes, out)
            .map_err(|error| error.with_path(format!("row {}", self.id)))
    }

    fn bytes_in_memory(&self) -> usize {
        self.bytes.len()
    }
}

#[allow(dead_code)] // The tests include this file and call `run`.
fn main() -> Result<(), Box<dyn Error>> {
    let mut rows = Vec::new();
    for (id, path) in (1..).zip(std::env::args_os().skip(1)) {
        let bytes = std::fs::read(path)?;
        rows.push(Row { id, bytes });
    }
    let encoded = run(rows, &mut io::stdout())?;
    println!("{encoded} images encoded");
    Ok(())
}

/// Writes one line per row, and returns the number of images that the tower has encoded.
pub(crate) fn run(rows: Vec<Row>, out: &mut dyn Write) -> Result<usize, Box<dyn Error>> {
    let pretrained = PretrainedWeights::mini()?;
    let weights = pretrained.weights(None)?;
    let classifier = ClassifierBuilder::new(["school bus", "goldfish", "pizza"])
        .with_metadata(&pretrained.metadata())
        .build(&weights)?;
    let tower = Arc::new(CountingTower {
        inner: image_tower(&weights),
        images: AtomicUsize::new(0),
    });
    let preprocessing = Preprocessing::clip(weights.config().vision.image_size);
    let shared: Arc<dyn ImageTower<f32>> = tower.clone();
    let detector = Detector::from_classifier(classifier, shared, preprocessing)?;
    for (row, detection) in detector.detect_many(rows)? {
        match detection {
            Ok(detection) => writeln!(out, "row {}: {}", row.id, detection.label_or_unknown())?,
            Err(error) => writeln!(out, "{error}")?,
        }
    }
    Ok(tower.images.load(Ordering::Relaxed))
}
