//! Classifies photos, as one of a few classes or as unknown.
//!
//! `cargo run -p clipn --features mini --example classify -- PHOTO…` uses the built-in model; if the
//! first argument ends in `.clipn`, it is the bundle to use.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use clipn::prelude::*;

#[allow(dead_code)] // The tests include this file and call `classify`.
fn main() -> Result<(), Box<dyn Error>> {
    let mut photos: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let is_bundle = photos
        .first()
        .is_some_and(|path| path.extension().is_some_and(|end| end == "clipn"));
    let detector = if is_bundle {
        Detector::open(photos.remove(0))?
    } else {
        built_in(&["school bus", "goldfish", "pizza"])?
    };
    classify(&detector, photos, &mut io::stdout())
}

/// A detector of the built-in model.
pub(crate) fn built_in(class_names: &[&str]) -> Result<Detector, Box<dyn Error>> {
    let classes = ClassifierBuilder::new(class_names.iter().copied());
    let bundle = BundleBuilder::new(classes)
        .with_image_tower(true)
        .build(&PretrainedWeights::mini()?)?;
    Ok(Detector::from_bundle(bundle)?)
}

/// Writes one line per photo, in order. Photos are decoded and encoded on all cores.
pub(crate) fn classify(
    detector: &Detector,
    photos: Vec<PathBuf>,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    for (photo, detection) in detector.detect_many(photos)? {
        match detection {
            Ok(detection) => writeln!(
                out,
                "{}: {} ({})",
                photo.display(),
                detection.label_or_unknown(),
                detection.reason
            )?,
            Err(error) => writeln!(out, "{error}")?,
        }
    }
    Ok(())
}
