//! `clipn bench`: how fast the towers, training, classifiers, pixels and metrics are on this machine, and how much memory
//! they take. A task a process; a table of all.

mod args;
mod captions;
mod child;
mod classifier;
mod metrics;
mod model;
mod output;
mod pixels;
mod random;
mod towers;
mod train;
mod work;

pub use args::BenchArgs;

use std::time::Duration;

use args::Task;
use clap::ValueEnum;
use clipn::download::{HubName, Purpose};
use clipn::engine::product_peak;
use model::Model;
use output::Report;
use work::{Measured, Work};

use crate::common::error::CliError;
use crate::common::weights::locate;

/// How long the machine's products are measured.
const PEAK: Duration = Duration::from_millis(1500);

/// `clipn bench`.
pub fn run(args: &mut BenchArgs) -> Result<(), CliError> {
    if args.child {
        return child::answer(measure_here(args));
    }
    locate_weights(args)?;
    let args = &*args;
    let tasks = tasks(args)?;
    check(&tasks, args)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores, usize::from);
    let measure = |task: Task, done: usize| {
        let threads = if matches!(task, Task::Pixels | Task::Metrics) {
            1
        } else {
            threads
        };
        child::measure(task, args, threads)?.ok_or(CliError::BenchInterrupted {
            done,
            total: tasks.len(),
        })
    };
    eprintln!("measuring the machine's matrix products on {threads} threads");
    let peak = measure(Task::ProductPeak, 0)?;
    let mut report = Report::new(threads, peak.gflops);
    for (done, &task) in tasks.iter().enumerate() {
        eprintln!(
            "measuring {} ({} of {})",
            task.name(),
            done + 1,
            tasks.len()
        );
        report.add(measure(task, done)?);
    }
    report.write(args.format)
}

/// Puts paths in the place of names of weights, once for all children.
fn locate_weights(args: &mut BenchArgs) -> Result<(), CliError> {
    let is_of_hub = args
        .model
        .as_deref()
        .is_some_and(|model| model.starts_with(HubName::PREFIX));
    if args.pretrained.is_none() && !is_of_hub {
        return Ok(());
    }
    let located = locate(
        args.pretrained.as_deref(),
        args.model.as_deref(),
        &args.downloads,
        Purpose::Compute,
    )?;
    args.model = Some(
        located
            .model
            .unwrap_or_else(|| located.path.display().to_string()),
    );
    args.pretrained = Some(located.path);
    Ok(())
}

/// The tasks asked for, each once, or all that the arguments allow.
fn tasks(args: &BenchArgs) -> Result<Vec<Task>, CliError> {
    let fixed = |task: &Task| matches!(task, Task::ImageB32 | Task::ImageB16);
    if args.model.is_some() && args.tasks.iter().any(fixed) {
        return Err(CliError::Usage(
            "image-b32 and image-b16 name their architectures; give the task `image` with --model"
                .to_owned(),
        ));
    }
    let mut tasks: Vec<Task> = Vec::new();
    for &task in &args.tasks {
        if !tasks.contains(&task) {
            tasks.push(task);
        }
    }
    if tasks.is_empty() {
        let allowed = |task: &Task| match task {
            Task::ImageB32 | Task::ImageB16 => args.model.is_none(),
            Task::Image => args.model.is_some(),
            Task::Pixels => args.data.is_some(),
            Task::ProductPeak => false,
            _ => true,
        };
        tasks = Task::value_variants()
            .iter()
            .copied()
            .filter(allowed)
            .collect();
    }
    Ok(tasks)
}

/// Refuses what would only fail after minutes.
fn check(tasks: &[Task], args: &BenchArgs) -> Result<(), CliError> {
    match &args.data {
        Some(folder) if !folder.is_dir() => {
            return Err(CliError::Usage(format!(
                "--data {} is not a folder; give one with photographs, or with a captions.tsv",
                folder.display()
            )));
        }
        None if tasks.contains(&Task::Pixels) => {
            return Err(CliError::Usage(
                "the task pixels measures photographs; give --data FOLDER".to_owned(),
            ));
        }
        _ => {}
    }
    Model::of(Task::Image, args).map(drop)
}

/// Measures the one task in this process.
fn measure_here(args: &BenchArgs) -> Result<Measured, CliError> {
    let Some(&task) = args.tasks.first() else {
        return Err(CliError::Usage("there is no task to measure".to_owned()));
    };
    let Some(work) = work(task, args)? else {
        return Ok(Measured::of_products(product_peak(PEAK)));
    };
    // The whole classifier takes minutes, once.
    let is_long = task == Task::Classifier && args.full;
    let reps = if is_long { 1 } else { args.repetitions() };
    let mut measured = work.measure(task, reps, !is_long)?;
    match task {
        Task::Classifier => classifier::conclude(&mut measured),
        Task::Pixels => pixels::conclude(&mut measured),
        _ => {}
    }
    Ok(measured)
}

/// What a task does; `None` for the products, which measure themselves.
fn work(task: Task, args: &BenchArgs) -> Result<Option<Work>, CliError> {
    let model = || Model::of(task, args);
    let work = match task {
        Task::ImageB32 | Task::Image => towers::image(&model()?, 32),
        Task::ImageB16 => towers::image(&model()?, 16),
        Task::Text77 => towers::text(&model()?, 32, 77),
        Task::Text16 => towers::text(&model()?, 64, 16),
        Task::Train77 => train::text(&model()?, 32, 77),
        Task::Train16 => train::text(&model()?, 64, 16),
        Task::Classifier => classifier::classifier(&model()?, args.full),
        Task::Step => train::step(&model()?, args, false),
        Task::StepCached => train::step(&model()?, args, true),
        Task::Pixels => match &args.data {
            Some(folder) => pixels::pixels(folder),
            None => Err(CliError::Usage("the task pixels needs --data".to_owned())),
        },
        Task::Metrics => metrics::metrics(),
        Task::ProductPeak => return Ok(None),
    };
    work.map(Some)
}
