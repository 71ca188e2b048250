use std::path::{Path, PathBuf};

use clipn::dataset::ImageFolder;
use clipn::image::{Preprocessing, decode_file};
use serde_json::{Map, json};

use super::work::{Measured, Work};
use crate::common::error::CliError;

/// Side of the crops, that of most CLIPs.
const SIZE: usize = 224;

/// Every photograph of a folder from its file to its crop, as the published evaluation does it, on one thread. Files that
/// cannot be read are left out and counted.
pub fn pixels(folder: &Path) -> Result<Work, CliError> {
    let found = ImageFolder::read(folder)?.unlabelled("photographs")?;
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
        return Err(CliError::Usage(format!(
            "none of the {all} pictures in {} can be read; `clipn classify` tells why",
            folder.display()
        )));
    }
    let (count, unreadable) = (files.len(), all - files.len());
    Ok(Work {
        run: Box::new(move || {
            for file in &files {
                let image = decode_file(file, &preprocessing.decode)?;
                std::hint::black_box(preprocessing.crop(&image)?);
            }
            Ok(())
        }),
        model: None,
        shape: format!("{count} pictures to {SIZE} px"),
        items: count as f64,
        unit: "images",
        flops: None,
        details: Map::from_iter([("unreadable".to_owned(), json!(unreadable))]),
    })
}

/// Tells what a picture costs.
pub fn conclude(measured: &mut Measured) {
    measured
        .details
        .insert("ms_a_picture".to_owned(), json!(1e3 / measured.rate));
}
