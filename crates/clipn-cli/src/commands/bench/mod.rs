//! `clipn bench`: speed and peak memory of towers, training, classifiers, pixels and metrics on
//! this machine. Each task runs in its own process.

mod args;
mod captions;
mod child;
mod classifier;
mod compare;
mod metrics;
mod model;
mod output;
mod pixels;
mod random;
mod towers;
mod train;
mod workload;

pub(crate) use args::BenchArgs;

use std::time::Duration;

use args::Task;
use clap::ValueEnum;
use clipn::count::count;
use clipn::download::{FetchPurpose, HubName};
use clipn::model::{DeviceSpec, TowerFactory};
use compare::Comparison;
use model::Model;
use output::Report;
use workload::{Measurement, Workload};

use crate::common::error::CliError;
use crate::common::messages::status;
use crate::common::weights::locate;

/// Duration of the peak measurement.
const PEAK_DURATION: Duration = Duration::from_millis(1500);

/// `clipn bench`.
pub(crate) fn run(args: &mut BenchArgs) -> Result<(), CliError> {
    if let Some(task) = child::requested_task() {
        return child::reply(task.and_then(|task| measure_here(task, args)));
    }
    let earlier = args.compare.as_deref().map(Comparison::open).transpose()?;
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
    status(format_args!(
        "measuring the machine's matrix products on {}",
        count(threads, "thread")
    ));
    let peak = measure(Task::ProductPeak, 0)?;
    let mut report = Report::new(threads, &peak);
    for (done, &task) in tasks.iter().enumerate() {
        status(format_args!(
            "measuring {} ({} of {})",
            task.name(),
            done + 1,
            tasks.len()
        ));
        report.add(measure(task, done)?);
    }
    if let Some(earlier) = earlier {
        report.compare(&earlier);
    }
    report.write(args.format)
}

/// Replaces names of weights by paths, once for all children.
fn locate_weights(args: &mut BenchArgs) -> Result<(), CliError> {
    let is_repository = args
        .model
        .as_deref()
        .is_some_and(|model| model.starts_with(HubName::PREFIX));
    if args.pretrained.is_none() && !is_repository {
        return Ok(());
    }
    let located = locate(
        args.pretrained.as_deref(),
        args.model.as_deref(),
        &args.downloads,
        FetchPurpose::Compute,
    )?;
    args.model = Some(
        located
            .model
            .unwrap_or_else(|| located.path.display().to_string()),
    );
    args.pretrained = Some(located.path);
    Ok(())
}

/// The requested tasks without duplicates, or all that the arguments allow.
fn tasks(args: &BenchArgs) -> Result<Vec<Task>, CliError> {
    let fixed = args.tasks.iter().find(|task| task.has_fixed_model());
    if let (Some(_), Some(task)) = (&args.model, fixed) {
        return Err(CliError::usage_with_hint(
            format!(
                "{} has a fixed architecture and does not take --model",
                task.name()
            ),
            "measure the task `image` with --model",
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
            _ if !is_on_cpu(args) && !runs_on_devices(*task) => false,
            task if task.has_fixed_model() => args.model.is_none(),
            Task::Image | Task::ImageInt8 => args.model.is_some(),
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

/// Rejects flags that none of the tasks takes.
fn check_flags(tasks: &[Task], args: &BenchArgs) -> Result<(), CliError> {
    type Takes = fn(Task) -> bool;
    let flags: [(&str, bool, Takes); 4] = [
        ("--model", args.model.is_some(), Task::takes_model),
        (
            "--batch-size",
            args.batch_size.is_some(),
            Task::takes_batch_size,
        ),
        ("--data", args.data.is_some(), Task::takes_data),
        ("--full", args.full, Task::is_classifier),
    ];
    for (flag, is_given, takes) in flags {
        if is_given && !tasks.iter().any(|&task| takes(task)) {
            let all = Task::value_variants().iter().filter(|task| takes(**task));
            let names: Vec<String> = all.map(|task| task.name()).collect();
            return Err(CliError::usage_with_hint(
                format!("{flag} has no effect on the tasks"),
                format!("leave it out, or measure one of {}", names.join(", ")),
            ));
        }
    }
    Ok(())
}

/// Rejects arguments that would otherwise fail after minutes.
fn check(tasks: &[Task], args: &BenchArgs) -> Result<(), CliError> {
    check_flags(tasks, args)?;
    if let Some(task) = tasks.iter().find(|&&task| !runs_on_devices(task))
        && !is_on_cpu(args)
    {
        return Err(CliError::usage_with_hint(
            format!("the task {} is measured on the CPU only", task.name()),
            "leave --device out, or measure image-b32, image-b16, image, text77 or text16",
        ));
    }
    if args.device.precision.is_some() && is_on_cpu(args) {
        return Err(CliError::usage_with_hint(
            "on the CPU, tasks name their precision: --precision has no effect",
            "measure a task in int8, such as image-b32-int8",
        ));
    }
    match &args.data {
        Some(directory) if !directory.is_dir() => {
            return Err(CliError::usage_with_hint(
                format!("--data {} is not a directory", directory.display()),
                "give a directory of photos, or with a captions.tsv",
            ));
        }
        None if tasks.contains(&Task::Pixels) => {
            return Err(no_photos());
        }
        _ => {}
    }
    Model::for_task(Task::Image, args).map(drop)
}

/// Whether the arguments name the CPU.
fn is_on_cpu(args: &BenchArgs) -> bool {
    args.device.device == DeviceSpec::Cpu
}

/// Whether a task can be measured on a GPU.
fn runs_on_devices(task: Task) -> bool {
    matches!(
        task,
        Task::ImageB32
            | Task::ImageB16
            | Task::Image
            | Task::Text77
            | Task::Text16
            | Task::ProductPeak
    )
}

/// The error of the task `pixels` without `--data`.
fn no_photos() -> CliError {
    CliError::usage_with_hint(
        "the task pixels needs photos",
        "give their directory with --data",
    )
}

/// Measures one task in this process.
fn measure_here(task: Task, args: &BenchArgs) -> Result<Measurement, CliError> {
    let device = match is_on_cpu(args) {
        true => None,
        false => {
            let device = args.device.open()?;
            Some(format!("{}, {}", device.device(), device.precision()))
        }
    };
    Ok(Measurement {
        device,
        ..measure_workload(task, args)?
    })
}

fn measure_workload(task: Task, args: &BenchArgs) -> Result<Measurement, CliError> {
    let Some(workload) = workload(task, args)? else {
        let device = args.device.open()?;
        let rate = device.peak_gemm_flops(PEAK_DURATION)?;
        return Ok(Measurement::peak_gemm_flops(rate));
    };
    // The full classifier takes minutes, so it is built once.
    let is_long = task.is_classifier() && args.full;
    let reps = if is_long { 1 } else { args.repetitions() };
    let mut measured = workload.measure(task, reps, !is_long)?;
    match task {
        Task::Classifier | Task::ClassifierInt8 => classifier::add_details(&mut measured),
        Task::Pixels => pixels::add_details(&mut measured),
        _ => {}
    }
    Ok(measured)
}

/// The workload of a task; `None` for the matrix-product peak, which has its own measurement.
fn workload(task: Task, args: &BenchArgs) -> Result<Option<Workload>, CliError> {
    let model = || Model::for_task(task, args);
    let workload = match task {
        Task::ImageB32 | Task::ImageB32Int8 | Task::Image | Task::ImageInt8 => {
            towers::image(&model()?, 32, args)
        }
        Task::ImageB16 | Task::ImageB16Int8 => towers::image(&model()?, 16, args),
        Task::ImageB32Single | Task::ImageB32SingleInt8 => towers::single_image(&model()?, args),
        Task::Text77 | Task::Text77Int8 => towers::text(&model()?, 32, 77, args),
        Task::Text16 | Task::Text16Int8 => towers::text(&model()?, 64, 16, args),
        Task::Train77 => train::text(&model()?, 32, 77),
        Task::Train16 => train::text(&model()?, 64, 16),
        Task::Classifier | Task::ClassifierInt8 => classifier::classifier(&model()?, args.full),
        Task::Step => train::step(&model()?, args, false),
        Task::StepCached => train::step(&model()?, args, true),
        Task::Pixels => match &args.data {
            Some(directory) => pixels::pixels(directory),
            None => Err(no_photos()),
        },
        Task::Metrics => metrics::metrics(),
        Task::ProductPeak => return Ok(None),
    };
    workload.map(Some)
}
