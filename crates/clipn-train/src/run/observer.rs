use std::path::{Path, PathBuf};

use clipn_base::progress::{NoProgress, Progress};
use clipn_data::SkippedSamples;

use crate::run::TrainRun;
use crate::training_log::LogRecord;

/// A completed optimizer step, as reported to a [`RunObserver`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StepEvent<'a> {
    /// Steps completed so far, this one included.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Record written to the log.
    pub record: &'a LogRecord,
}

/// Callbacks of a run, all optional. [`Progress::is_cancelled`] is checked before every step.
/// [`NoProgress`] is an observer that does nothing.
pub trait RunObserver: Progress {
    /// Called before the first step of this start, when the run's size and trainable parameters are
    /// known.
    fn started(&self, _run: &TrainRun) {}
    /// Called if the run starts from a checkpoint that was followed by later ones, with the directories to which these
    /// were renamed: they are no longer checkpoints of the run.
    fn set_aside(&self, _dirs: &[PathBuf]) {}
    /// Called after every step.
    fn step(&self, _event: &StepEvent<'_>) {}
    /// Called after a checkpoint was written, with its directory.
    fn saved(&self, _dir: &Path) {}
    /// Called after every epoch, with its number from 1 and the samples that it skipped.
    fn epoch_ended(&self, _run: &TrainRun, _epoch: u64, _skipped: &SkippedSamples) {}
}

impl RunObserver for NoProgress {}

/// Result of [`TrainRun::run`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunOutcome {
    /// Whether the observer canceled the run before its last step.
    pub interrupted: bool,
    /// Steps completed in all, those before a resume included.
    pub step: u64,
    /// The newest checkpoint of the run, also if no step was left.
    pub checkpoint: PathBuf,
}
