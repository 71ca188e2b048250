use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use clipn::classifier::{Wording, build};
use clipn::dataset::{Benchmark, CaptionField, MaxBad, OpenedBenchmark, Sampling, Skipped, TableFormat};
use clipn::download::{DownloadError, HubName, Purpose};
use clipn::evaluation::{Options, Parallelism, Precision, Recogniser, Results, evaluate};
use clipn::image::{Augmentation, Preprocessing, TrainingCrop};
use clipn::metrics::FprConvention;
use clipn::model::{ModelConfig, Pretrained};
use clipn::progress::Progress;
use clipn::prompts::{ClassNames, TemplateSet};
use clipn::scores;
use clipn::training::{
    AdamWSettings, DataSettings, DatasetKind, GradientScaling, Learns, ObjectiveSettings, Resume,
    RunObserver, StepTold, TrainRun, TrainSettings,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::{AugmentationName, DatasetType, TrainArgs};
use crate::error::CliError;
use crate::eval::write_tables;
use crate::interrupt;
use crate::progress::Bar;
use crate::weights::locate;

/// `clipn train`: prints where the trained weights are.
pub fn run(args: &TrainArgs) -> Result<(), CliError> {
    let Some(weights) = train(args)? else { return Ok(()) };
    writeln!(std::io::stdout().lock(), "{}", weights.display()).map_err(CliError::Output)
}

/// Trains, and gives the newest weights; none where there was nothing left to do.
pub fn train(args: &TrainArgs) -> Result<Option<PathBuf>, CliError> {
    let mut settings = match &args.settings {
        Some(path) => TrainSettings::load(path)?,
        None => settings(args)?,
    };
    settings.check()?;
    let asked = settings.model.clone();
    locate_weights(&mut settings, args)?;
    check_pretrained(&settings, args.resume.is_some())?;
    let name = args.name.clone().unwrap_or_else(|| format!("{}-{}", settings.objective.name, title(&asked)));
    let folder = args.logs.join(name);
    let resume = match args.resume.as_deref() {
        None => Resume::Fresh,
        Some("latest") => Resume::Latest,
        Some(path) => Resume::From(PathBuf::from(path)),
    };
    let benchmark = match (&args.eval_benchmark, &args.data_root) {
        (Some(name), Some(root)) => Some(Benchmark::load(name)?.open(root)?),
        _ => None,
    };
    let mut run = TrainRun::open(settings, &folder, &resume, &Bar::default())?;
    let watch = Watch::new(args, &run.settings().objective.name, benchmark)?;
    let outcome = run.run(&watch)?;
    watch.bar.finish_and_clear();
    if outcome.interrupted {
        return Err(CliError::TrainingInterrupted { step: outcome.step, steps: run.steps() });
    }
    Ok(outcome.checkpoint.map(|checkpoint| checkpoint.join("model.safetensors")))
}

/// Puts paths in the place of names of weights. A run that is resumed may do without the weights that it began with,
/// unless they tell its architecture.
fn locate_weights(settings: &mut TrainSettings, args: &TrainArgs) -> Result<(), CliError> {
    let weights = settings.pretrained.clone();
    let is_of_hub = settings.model.starts_with(HubName::PREFIX);
    if weights.is_none() && !is_of_hub {
        return Ok(());
    }
    // Weights that tell their architecture stand in the place of its name.
    let is_told = weights.as_deref().is_some_and(|path| path.as_os_str() == settings.model.as_str());
    let model = (!is_told).then_some(settings.model.as_str());
    let located = match locate(weights.as_deref(), model, &args.downloads, Purpose::Compute) {
        Err(CliError::Download(DownloadError::UnknownTag { .. })) if args.resume.is_some() => return Ok(()),
        located => located?,
    };
    settings.model = located.model.unwrap_or_else(|| located.path.display().to_string());
    settings.pretrained = Some(located.path);
    Ok(())
}

/// What a run is called after: the architecture, or the repository that its weights come from.
fn title(model: &str) -> String {
    match HubName::parse(model) {
        Ok(name) => name.name().to_owned(),
        Err(_) => Path::new(model).file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

fn settings(args: &TrainArgs) -> Result<TrainSettings, CliError> {
    let from_weights = || args.pretrained.as_ref().map(|path| path.display().to_string());
    let model = args.model.clone().or_else(from_weights).unwrap_or_default();
    let train_data = args.train_data.clone().unwrap_or_default();
    let is_table = || {
        let extension = Path::new(&train_data).extension();
        extension.is_some_and(|e| e.eq_ignore_ascii_case("csv") || e.eq_ignore_ascii_case("tsv"))
    };
    let kind = match args.dataset_type {
        DatasetType::Csv => DatasetKind::Csv,
        DatasetType::Auto if is_table() => DatasetKind::Csv,
        DatasetType::Auto | DatasetType::Webdataset => DatasetKind::Webdataset,
    };
    let captions = match (&args.json_caption_key, &args.class_names) {
        (Some(key), _) => vec![CaptionField::Json { extension: "json".to_owned(), key: key.clone() }],
        (None, Some(spec)) => {
            let names = ClassNames::resolve(spec)?.names().to_vec();
            vec![CaptionField::Class { extension: "cls".to_owned(), names }]
        }
        (None, None) => clipn::dataset::SampleFields::default().captions,
    };
    let cores = Parallelism::default().workers;
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
        workers: args.workers.unwrap_or(cores),
        cache_image_features: args.cache_image_features,
        feature_cache: args.feature_cache.clone(),
        save_frequency: args.save_frequency,
        save_every: args.save_every,
        keep: args.keep,
        objective: ObjectiveSettings {
            name: args.objective.name().to_owned(),
            tso: args.tso,
            weights: args.loss_weights,
        },
        optimizer: AdamWSettings {
            beta1: args.beta1,
            beta2: args.beta2,
            eps: args.eps,
            weight_decay: args.wd,
            max_gradient_norm: args.grad_clip_norm,
        },
        gradient_scaling: GradientScaling::True,
        data: DataSettings {
            kind,
            train_data,
            num_samples: args.train_num_samples,
            sampling: if args.dataset_resampled { Sampling::WithReplacement } else { Sampling::Shuffled },
            max_bad: MaxBad::Share(args.max_bad),
            captions,
            table: TableFormat {
                separator: args.csv_separator,
                image_key: args.csv_img_key.clone(),
                caption_key: args.csv_caption_key.clone(),
            },
        },
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
        (TrainingCrop::Centre, Some(_)) => {
            let problem =
                "--crop-scale asks for random crops, which --augmentation none has not; give one of them";
            return Err(CliError::Usage(problem.to_owned()));
        }
    };
    Ok(Augmentation {
        crop,
        horizontal_flip: args.flip,
        colour_jitter: args.colour_jitter,
        greyscale: args.greyscale,
        erasing: args.erasing,
    })
}

/// Holds what comes with the weights against what a run does: the architecture must be the run's, and the preprocessing
/// CLIP's. A run that is resumed may do without the weights that it began with.
fn check_pretrained(settings: &TrainSettings, resumes: bool) -> Result<(), CliError> {
    let Some(path) = settings.pretrained.as_ref().filter(|path| !resumes || path.exists()) else {
        return Ok(());
    };
    let pretrained = Pretrained::open(path)?;
    let config = pretrained.config_or(Some(ModelConfig::resolve(&settings.model)?))?;
    let size = config.vision.image_size;
    let clip = Preprocessing::clip(size);
    match pretrained.preprocessing()? {
        Some(own) if (Preprocessing { size, ..own.clone() }) != clip => Err(CliError::Usage(format!(
            "{} was trained on pictures with the mean {:?} and the deviation {:?}; `clipn train` knows CLIP's only, \
             {:?} and {:?}",
            path.display(),
            own.mean,
            own.std,
            clip.mean,
            clip.std
        ))),
        _ => Ok(()),
    }
}

/// A benchmark to look at between epochs.
struct Examination {
    benchmark: OpenedBenchmark,
    class_names: Vec<String>,
    templates: TemplateSet,
    every: u64,
}

/// Shows a run: a bar with losses, checkpoints and evaluations.
struct Watch {
    bar: ProgressBar,
    examination: Option<Examination>,
    objective: String,
    last_line: Mutex<Option<Instant>>,
}

impl Watch {
    fn new(args: &TrainArgs, objective: &str, benchmark: Option<OpenedBenchmark>) -> Result<Self, CliError> {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {eta} left  {msg}") {
            bar.set_style(style);
        }
        let examination = match benchmark {
            None => None,
            Some(benchmark) => Some(Examination {
                class_names: benchmark
                    .class_names(|list| ClassNames::named(list).ok().map(|c| c.names().to_vec()))?,
                benchmark,
                templates: TemplateSet::resolve(&args.eval_templates)?,
                every: args.eval_frequency.max(1),
            }),
        };
        Ok(Self { bar, examination, objective: objective.to_owned(), last_line: Mutex::new(None) })
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Where standard error is no terminal, a line every so often instead of the bar.
    fn line(&self, text: &str, is_last: bool) {
        let Ok(mut last) = self.last_line.lock() else { return };
        let is_due = last.is_none_or(|last| last.elapsed().as_secs() >= 10);
        if self.bar.is_hidden() && (is_due || is_last) {
            eprintln!("{text}");
            *last = Some(Instant::now());
        }
    }

    fn examine(&self, run: &TrainRun, examination: &Examination) -> Result<Results, CliError> {
        let towers = run.towers();
        let no = towers.no.as_ref().unwrap_or(&towers.yes);
        let is_paired = self.objective == "clipn-handcrafted" && examination.templates.no().is_some();
        let wording = if is_paired { Wording::HandCrafted } else { Wording::Learnable };
        let classifier =
            build(&examination.class_names, &examination.templates, wording, &towers.yes, no, self)?;
        let preprocessing = Preprocessing {
            grey: examination.benchmark.grey,
            ..Preprocessing::clip(run.config().vision.image_size)
        };
        let recogniser = Recogniser::new(&towers.image, &classifier, preprocessing)?;
        let of_objective = |score: &&&dyn scores::Score| run.learns() == Learns::No || !score.uses_no();
        let options = Options {
            scores: scores::all().iter().filter(of_objective).copied().collect(),
            precision: Precision::F32,
            parallelism: Parallelism::default(),
            strict: false,
        };
        let ood: Vec<_> = examination.benchmark.ood.iter().map(|set| (set.set.clone(), set.kind)).collect();
        let evaluation = evaluate(&recogniser, &examination.benchmark.id, &ood, &options, self)?;
        Ok(Results::compute(&evaluation, FprConvention::default())?)
    }

    /// Evaluates, prints the table and appends it to `eval.jsonl`.
    fn evaluate_epoch(&self, run: &TrainRun, epoch: u64, examination: &Examination) -> Result<(), CliError> {
        let results = self.examine(run, examination)?;
        let mut table = Vec::new();
        write_tables(&mut table, &results, examination.class_names.len() as u64, FprConvention::default())
            .map_err(CliError::Output)?;
        self.say(&format!("after epoch {epoch}\n{}", String::from_utf8_lossy(&table)));
        let line = json!({ "epoch": epoch, "step": run.step(), "results": results });
        let path = run.folder().join("eval.jsonl");
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}")).map_err(CliError::Output)
    }
}

impl Progress for Watch {
    fn is_cancelled(&self) -> bool {
        interrupt::requested()
    }
}

impl RunObserver for Watch {
    fn started(&self, run: &TrainRun) {
        self.say(&format!(
            "{}: {} steps of {} samples, {} an epoch, from step {}; logs and checkpoints in {}",
            self.objective,
            run.steps(),
            run.samples_per_step(),
            run.steps_per_epoch(),
            run.step(),
            run.folder().display()
        ));
        let groups = run.towers().trainable(run.learns());
        let total: usize = groups.iter().map(|g| g.parameters).sum();
        let listed: Vec<String> = groups.iter().map(|g| format!("{} {}", g.name, g.parameters)).collect();
        self.say(&format!("{total} parameters learn: {}", listed.join(", ")));
        self.bar.set_length(run.steps());
        self.bar.set_position(run.step());
        self.bar.reset_eta();
    }

    fn step(&self, told: &StepTold<'_>) {
        let record = told.record;
        let losses: Vec<String> =
            record.losses.iter().map(|(name, loss)| format!("{name} {loss:.4}")).collect();
        let text = format!(
            "loss {}, lr {:.2e}, {:.1} samples/s",
            losses.join(" "),
            record.lr,
            record.samples_per_second
        );
        self.bar.set_position(told.step);
        self.bar.set_message(text.clone());
        self.line(&format!("step {}/{}: {text}", told.step, told.steps), told.step == told.steps);
    }

    fn saved(&self, folder: &Path) {
        self.say(&format!("wrote {}", folder.display()));
    }

    fn epoch_ended(&self, run: &TrainRun, epoch: u64, skipped: &Skipped) {
        if skipped.total() > 0 {
            self.say(&format!("warning: epoch {epoch} left out {skipped}"));
        }
        let Some(examination) = &self.examination else { return };
        if !epoch.is_multiple_of(examination.every) && epoch != run.settings().epochs {
            return;
        }
        if let Err(error) = self.evaluate_epoch(run, epoch, examination) {
            self.say(&format!("warning: the evaluation after epoch {epoch} failed: {error}"));
        }
    }
}
