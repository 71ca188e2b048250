//! Decoding and preprocessing of photos.

use std::path::{Path, PathBuf};

use clipn::dataset::ImageFolder;
use clipn::image::{Preprocessing, decode_file};
use serde_json::{Map, json};

use super::workload::{Measurement, Workload};
use crate::common::error::CliError;

/// Side of the crops in pixels, as in most CLIPs.
const SIZE: usize = 224;

/// Decodes, resizes and crops every photo of a directory as the published evaluation does, on one
/// thread. Unreadable files are skipped and counted.
pub(crate) fn pixels(directory: &Path) -> Result<Workload, CliError> {
    let found = ImageFolder::read(directory)?.unlabeled("photos")?;
    let all = found.samples.len();
    let preprocessing = Preprocessing::clip(SIZE);
    let files: Vec<PathBuf> = found
        .samples
        .into_iter()
        .map(|sample| sample.path)
        .collect();
    let files: Vec<PathBuf> = files
        .into_iter()
        .filter(|file| decode_file(file, &preprocessing.decode).is_ok())
        .collect();
    if files.is_empty() {
        return Err(CliError::usage_with_hint(
            format!(
                "none of the {all} images in {} can be read",
                directory.display()
            ),
            "`clipn classify` shows the error of each image",
        ));
    }
    let (count, unreadable) = (files.len(), all - files.len());
    Ok(Workload {
        run: Box::new(move || {
            for file in &files {
                let image = decode_file(file, &preprocessing.decode)?;
                std::hint::black_box(preprocessing.crop(&image)?);
            }
            Ok(())
        }),
        model: None,
        shape: format!("{count} images to {SIZE} px"),
        items: count as f64,
        unit: "images",
        flops: None,
        details: Map::from_iter([("unreadable".to_owned(), json!(unreadable))]),
    })
}

/// Adds the time per image.
pub(crate) fn add_details(measured: &mut Measurement) {
    measured
        .details
        .insert("ms_a_picture".to_owned(), json!(1e3 / measured.rate));
}
