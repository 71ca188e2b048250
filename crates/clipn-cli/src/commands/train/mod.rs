//! `clipn train`: trains a CLIP, or teaches one to say "no".

mod args;
mod data;
mod observer;
pub(crate) mod overrides;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clipn::count::count;
use clipn::dataset::Benchmark;
use clipn::download::{DownloadError, FetchPurpose, HubName};
use clipn::image::{Augmentation, OutlierMix, Preprocessing, TrainingCrop};
use clipn::model::{ModelConfig, Precision, PretrainedWeights};
use clipn::training::{
    AdamWSettings, GradientScaling, LossWeights, ObjectiveName, ObjectiveSettings, OpenLearner,
    RunStart, SingleProcess, TrainRun, TrainSettings, TrainingError,
};

pub(crate) use args::TrainArgs;

use crate::common::distributed::{Ranks, rank_0_first};
use crate::common::error::{CliError, INTERRUPTED};
use crate::common::interrupt;
use crate::common::messages::{detail, note, warning};
use crate::common::progress::Bar;
use crate::common::weights::locate;
use args::AugmentationName;
use observer::RunReporter;

/// `clipn train`: trains, and prints the path of the newest weights.
pub(crate) fn run(args: &TrainArgs) -> Result<(), CliError> {
    interrupt::set_notice_code(args.requeue_exit_code);
    args.distribution.run(args.reduce, |ranks| {
        let weights = train_on(args, ranks)?;
        if ranks.rank() > 0 {
            return Ok(());
        }
        writeln!(std::io::stdout().lock(), "{}", weights.display()).map_err(CliError::Output)
    })
}

/// Trains in one process, and returns the newest weights, also if no step is left.
pub(crate) fn train(args: &TrainArgs) -> Result<PathBuf, CliError> {
    let alone: Ranks = Arc::new(SingleProcess);
    train_on(args, &alone)
}

fn train_on(args: &TrainArgs, ranks: &Ranks) -> Result<PathBuf, CliError> {
    let mut settings = match &args.settings {
        Some(path) => overrides::apply(&TrainSettings::load(path)?, &settings(args)?, &args.given)?,
        None => settings(args)?,
    };
    // 0 in settings of the command line, and in those of earlier versions.
    let threads_of_file = settings.threads;
    overrides::check_objective(settings.objective.name, &args.given)?;
    overrides::check_data(settings.data.kind, &args.given)?;
    settings.check()?;
    check_resumed(args)?;
    let requested_model = settings.model.clone();
    rank_0_first(ranks, || locate_weights(&mut settings, args))?;
    check_pretrained(&settings, args.resume.is_some())?;
    let name = args.name.clone().unwrap_or_else(|| {
        format!(
            "{}-{}",
            settings.objective.name,
            default_name(&requested_model)
        )
    });
    let directory = args.logs.join(name);
    let start = match args.resume.as_deref() {
        None => RunStart::Fresh,
        Some("latest") => RunStart::Latest,
        Some(path) => RunStart::From(PathBuf::from(path)),
    };
    let benchmark = match (&args.eval_benchmark, &args.data_root) {
        (Some(name), Some(root)) => Some(Benchmark::load(name)?.open(root)?),
        _ => None,
    };
    let bar = Bar::default();
    let device = args.device.open_for_training()?;
    if args.settings.is_some() && settings.precision != device.precision() {
        warning(format_args!(
            "the settings have the precision {}; this run on {device} computes in {}",
            settings.precision,
            device.precision()
        ));
    }
    let open_learner: &OpenLearner<'_> =
        &|config, towers, trainable| device.learner(config, towers, trainable);
    let builder = TrainRun::builder(settings, &directory)
        .with_start(start)
        .with_changed_settings(args.override_settings)
        .with_progress(&bar)
        .with_communicator(Arc::clone(ranks));
    let builder = if device.is_cpu() {
        builder
    } else {
        builder.with_learner(device.precision(), open_learner)
    };
    let mut run = builder.open()?;
    report(&run);
    run.lock_warnings().iter().for_each(warning);
    for damaged in run.damaged_checkpoints() {
        let consequence = match run.step() {
            0 => "the run starts from the beginning",
            _ => "resuming continues from an earlier checkpoint",
        };
        warning(format_args!(
            "{} is damaged, and {consequence}",
            damaged.display()
        ));
    }
    if run.damaged_features() > 0 {
        warning(format_args!(
            "damaged cached features, computed again: {}",
            run.damaged_features()
        ));
    }
    if let Some(before) = run.changed_threads() {
        note(format_args!(
            "resuming with {} a checkpoint that was trained with {before}: the last bits of the weights \
             differ from those of an uninterrupted run",
            count(run.settings().threads, "thread")
        ));
    }
    let threads = run.settings().threads;
    if run.step() == 0 && ![0, threads].contains(&threads_of_file) {
        note(format_args!(
            "training with {}, and the settings are of a run with {threads_of_file}: the last bits of \
             the weights differ from that run's; --threads {threads_of_file} repeats it",
            count(threads, "thread")
        ));
    }
    if !run.changed_settings().is_empty() {
        let changed: Vec<String> = run
            .changed_settings()
            .iter()
            .map(ToString::to_string)
            .collect();
        warning(format_args!(
            "resuming with other settings than those of the checkpoint: {}",
            changed.join("; ")
        ));
    }
    if run.step() >= run.total_steps() {
        note(format_args!(
            "{} is complete after {}; nothing left to train",
            directory.display(),
            count(run.step(), "step")
        ));
    }
    let reporter = RunReporter::new(args, run.settings().objective.name, benchmark)?;
    let outcome = interrupt::in_long_steps(|| run.run(&reporter))?;
    drop(reporter);
    if outcome.interrupted {
        return Err(CliError::TrainingInterrupted {
            step: outcome.step,
            steps: run.total_steps(),
            exit_code: interrupt_code(args, ranks)?,
        });
    }
    Ok(outcome.checkpoint.join("model.safetensors"))
}

/// The exit code of an interrupted run: that of a requeue if any rank got notice of its end.
fn interrupt_code(args: &TrainArgs, ranks: &Ranks) -> Result<u8, CliError> {
    let own = [u8::from(interrupt::is_noticed())];
    let all = ranks.all_gather_bytes(&own).map_err(TrainingError::from)?;
    Ok(if all.iter().any(|noticed| noticed == &[1]) {
        args.requeue_exit_code
    } else {
        INTERRUPTED
    })
}

/// Prints what is lost of the data, and if verbose the choices of a run.
fn report(run: &TrainRun) {
    let settings = run.settings();
    data::report(run);
    detail(format_args!(
        "architecture {}, from {}; {} loading threads",
        run.config().name,
        settings.model,
        settings.workers
    ));
    if settings.objective.name == ObjectiveName::ClipnHandcrafted {
        detail(format_args!("templates {}", settings.templates));
    }
}

/// Checks that the checkpoint of `--resume` is there, before the directory of the run is made.
fn check_resumed(args: &TrainArgs) -> Result<(), CliError> {
    let path = match args.resume.as_deref() {
        None | Some("latest") => return Ok(()),
        Some(path) => PathBuf::from(path),
    };
    match std::fs::metadata(&path) {
        Ok(_) => Ok(()),
        Err(source) => Err(CliError::ReadFile { path, source }),
    }
}

/// Replaces names of weights by paths. A resumed run does not need its initial weights, unless they
/// provide its architecture.
fn locate_weights(settings: &mut TrainSettings, args: &TrainArgs) -> Result<(), CliError> {
    let weights = settings.pretrained.clone();
    let is_repository = settings.model.starts_with(HubName::PREFIX);
    if weights.is_none() && !is_repository {
        return Ok(());
    }
    // Weights with a config are also the name of the architecture.
    let has_config = weights
        .as_deref()
        .is_some_and(|path| path.as_os_str() == settings.model.as_str());
    let model = (!has_config).then_some(settings.model.as_str());
    let located = match locate(
        weights.as_deref(),
        model,
        &args.downloads,
        FetchPurpose::Compute,
    ) {
        Err(CliError::Download(DownloadError::UnknownTag { .. })) if args.resume.is_some() => {
            return Ok(());
        }
        located => located?,
    };
    settings.model = located
        .model
        .unwrap_or_else(|| located.path.display().to_string());
    settings.pretrained = Some(located.path);
    Ok(())
}

/// The model part of a run's default name: the architecture, or the repository of the weights.
fn default_name(model: &str) -> String {
    match HubName::parse(model) {
        Ok(name) => name.name().to_owned(),
        Err(_) => Path::new(model)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    }
}

fn settings(args: &TrainArgs) -> Result<TrainSettings, CliError> {
    let from_weights = || {
        args.pretrained
            .as_ref()
            .map(|path| path.display().to_string())
    };
    let model = args.model.clone().or_else(from_weights).unwrap_or_default();
    if model.is_empty() && args.settings.is_none() {
        return Err(match ObjectiveName::from(args.objective) {
            ObjectiveName::Clip => CliError::usage_with_hint(
                "neither an architecture nor weights are given",
                "give --model for random weights, or --pretrained",
            ),
            objective => CliError::usage_with_hint(
                format!("--objective {objective} needs the weights of a trained CLIP"),
                "give --pretrained; --objective clip trains a CLIP from the start",
            ),
        });
    }
    let threads = rayon::current_num_threads();
    Ok(TrainSettings {
        model,
        pretrained: args.pretrained.clone(),
        no_prompts: args.no_prompts,
        templates: args.templates.clone(),
        batch_size: args.batch_size,
        accum_freq: args.accum_freq,
        epochs: args.epochs,
        lr: args.lr,
        warmup: args.warmup,
        constant_lr: args.constant_lr,
        seed: args.seed,
        workers: args.workers.unwrap_or(threads),
        cache_image_features: args.cache_image_features,
        feature_cache: args.feature_cache.clone(),
        save_frequency: args.save_frequency,
        save_every: args.save_every,
        keep: args.keep,
        objective: ObjectiveSettings {
            name: args.objective.into(),
            tso: args.tso,
            no_scale: args.no_scale,
            weights: LossWeights {
                outlier: args.outlier_weight,
                ..args.loss_weights
            },
        },
        outliers: OutlierMix {
            illustrations: args.illustrations,
        },
        optimizer: AdamWSettings {
            beta1: args.beta1,
            beta2: args.beta2,
            eps: args.eps,
            weight_decay: args.wd,
            max_gradient_norm: args.grad_clip_norm,
        },
        gradient_scaling: GradientScaling::True,
        processes: 1,
        threads: 0,
        precision: Precision::F32,
        data: data::settings(args)?,
        augmentation: augmentation(args)?,
    })
}

fn augmentation(args: &TrainArgs) -> Result<Augmentation, CliError> {
    let named = match args.augmentation {
        AugmentationName::Published => Augmentation::published(),
        AugmentationName::None => Augmentation::none(),
    };
    let crop = match (named.crop, args.crop_scale) {
        (crop, None) => crop,
        (TrainingCrop::RandomResized { ratio, .. }, Some(scale)) => {
            TrainingCrop::RandomResized { scale, ratio }
        }
        (_, Some(_)) => {
            return Err(CliError::usage_with_hint(
                "--crop-scale sets random crops, which --augmentation none does not have",
                "leave one of them out",
            ));
        }
    };
    Ok(Augmentation {
        crop,
        horizontal_flip: args.flip,
        color_jitter: args.color_jitter,
        grayscale: args.grayscale,
        erasing: args.erasing,
    })
}

/// Validates what comes with the weights: the architecture must be the run's, and the preprocessing
/// CLIP's. A resumed run does not need its initial weights.
fn check_pretrained(settings: &TrainSettings, is_resumed: bool) -> Result<(), CliError> {
    let Some(path) = settings
        .pretrained
        .as_ref()
        .filter(|path| !is_resumed || path.exists())
    else {
        return Ok(());
    };
    let pretrained = PretrainedWeights::open(path)?;
    let config = pretrained.config_or(Some(ModelConfig::resolve(&settings.model)?))?;
    let size = config.vision.image_size;
    let clip = Preprocessing::clip(size);
    match pretrained.preprocessing()? {
        Some(own)
            if (Preprocessing {
                size,
                ..own.clone()
            }) != clip =>
        {
            Err(CliError::usage(format!(
                "unsupported preprocessing of {}: mean {:?} and std {:?}, expected CLIP's {:?} and \
                 {:?}",
                path.display(),
                own.mean,
                own.std,
                clip.mean,
                clip.std
            )))
        }
        _ => Ok(()),
    }
}
