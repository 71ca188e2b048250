//! Maps of the example images of a report.

use std::collections::HashMap;
use std::path::PathBuf;

use clipn::dataset::{ImageContent, NamedImage, read_archived_images};
use clipn::detector::Evidence;
use clipn::evaluation::Evaluation;
use clipn::inference::{InferenceError, InferencePipeline, ItemError};
use clipn::progress::Progress;
use clipn::report::{ReportOptions, example_images};
use clipn::scores::{LogitsRow, predict};

use super::model::EvaluatedModel;
use crate::common::error::CliError;
use crate::common::messages::warning;
use crate::common::progress::Bar;

/// Computes the maps of the example images of a report. Without a tower that can, it says so.
pub(super) fn evidence(
    model: &EvaluatedModel,
    evaluation: &Evaluation,
    page: &ReportOptions,
    bar: &Bar,
) -> Result<HashMap<PathBuf, Evidence>, CliError> {
    let paths = example_images(evaluation, page);
    let mut contents = read_archived_images(paths.iter().map(PathBuf::as_path));
    let image = |path: &PathBuf| NamedImage {
        name: path.display().to_string(),
        content: match contents.remove(path) {
            Some(bytes) => ImageContent::Bytes(bytes),
            None => ImageContent::File(path.clone()),
        },
    };
    let images: Vec<NamedImage> = paths.iter().map(image).collect();
    model.with_tower(|tower| {
        if !tower.has_local_features() {
            warning("--explain has no effect: the image tower computes no local features");
            return Ok(HashMap::new());
        }
        let names = model.classifier.class_names();
        let explain = |_: &NamedImage, row: Result<LogitsRow<'_, f32>, ItemError>| {
            let row = row.ok()?;
            let class = predict(row);
            Evidence::of(row, class, names.get(class)?)
        };
        let mut found = HashMap::new();
        let mut next = paths.iter();
        let sink = |evidence: Option<Evidence>| -> Result<(), InferenceError> {
            found.extend(next.next().cloned().zip(evidence));
            Ok(())
        };
        bar.begin("locating what is seen", images.len() as u64);
        let pipeline = InferencePipeline::new(tower, &model.classifier, &model.preprocessing)?
            .with_evidence()
            .map_err(InferenceError::from)?
            .with_progress(bar);
        let outcome = pipeline.run(images, explain, sink);
        bar.end();
        outcome?;
        Ok(found)
    })?
}
