//! TensorBoard: an event file per evaluation, in a directory of its own.

use std::path::{Path, PathBuf};

use clipn::training_log::EventFile;

use super::TrackedRun;
use crate::common::error::CliError;

/// Writes the metrics as scalars of step 0, with the tags `eval/SCORE/SET/METRIC`. TensorBoard stores them as f32.
pub(super) fn write(directory: &Path, run: &TrackedRun<'_>) -> Result<PathBuf, CliError> {
    let own = directory.join(format!("eval-{}", run.id));
    let mut events = EventFile::create(&own, None)?;
    let tags: Vec<(String, f32)> = run
        .metrics
        .iter()
        .map(|(name, v)| (format!("eval/{name}"), *v as f32))
        .collect();
    let scalars: Vec<(&str, f32)> = tags.iter().map(|(tag, v)| (tag.as_str(), *v)).collect();
    events.scalars(run.time.as_secs_f64(), 0, &scalars)?;
    Ok(own)
}
