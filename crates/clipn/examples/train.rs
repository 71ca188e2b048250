//! Teaches the built-in model "no" again, from images with captions.
//!
//! `cargo run --release -p clipn --features mini --example train -- CAPTIONS.tsv RUN_DIRECTORY`: the
//! table has the columns `filepath` and `title`, separated by tabs, as open_clip's.

use std::error::Error;
use std::path::{Path, PathBuf};

use clipn::dataset::SkipLimit;
use clipn::prelude::*;
use clipn::training::{DataSettings, RunObserver, StepEvent, TrainRun, TrainSettings};

/// Prints the losses of every step.
struct Printer;

impl Progress for Printer {}

impl RunObserver for Printer {
    fn step(&self, event: &StepEvent<'_>) {
        let losses = &event.record.losses;
        println!("step {} of {}: {losses:?}", event.step, event.total_steps);
    }
}

#[allow(dead_code)] // The tests include this file and call `train`.
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [captions, directory] = arguments.as_slice() else {
        return Err("expected a table and a directory: CAPTIONS.tsv RUN_DIRECTORY".into());
    };
    let checkpoint = train(captions.as_ref(), directory.as_ref(), 16)?;
    println!("wrote {}", checkpoint.display());
    Ok(())
}

/// Trains for an epoch, and returns the directory of the last checkpoint.
pub(crate) fn train(
    captions: &Path,
    directory: &Path,
    batch_size: usize,
) -> Result<PathBuf, Box<dyn Error>> {
    // The architecture as an open_clip config.
    let config = PretrainedWeights::mini()?.config_or(None)?;
    std::fs::create_dir_all(directory)?;
    let model = directory.join("model.json");
    std::fs::write(&model, config.to_open_clip().to_string())?;

    let captions = captions.display().to_string();
    let settings = TrainSettings {
        pretrained: Some(PretrainedWeights::MINI.into()),
        batch_size,
        epochs: 1,
        workers: 2,
        keep: 1,
        data: DataSettings {
            max_bad: SkipLimit::Count(0),
            ..DataSettings::new(captions.as_str())
        },
        ..TrainSettings::new(model.display().to_string(), captions.as_str())
    };
    let outcome = TrainRun::open(settings, directory)?.run(&Printer)?;
    Ok(outcome.checkpoint)
}
