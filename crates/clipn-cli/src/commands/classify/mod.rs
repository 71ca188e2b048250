//! `clipn classify`: one row per image, in the order of the sources, in memory that does not grow
//! with the number of images.

mod adapt;
mod args;
mod fdr;
mod features;
mod outputs;
mod rows;
mod settings;
mod shard;
mod sources;

pub(crate) use args::{ClassifyArgs, ShardArgs, SourceArgs};
pub(crate) use outputs::beside;
pub(crate) use rows::without_path;
pub(crate) use settings::RunSettings;
pub(crate) use shard::ShardSpec;
pub(crate) use sources::{ImageStream, without_query};

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clipn::classifier::Classifier;
use clipn::count::count;
use clipn::dataset::NamedImage;
use clipn::detector::Detector;
use clipn::inference::{ImageRows, InferenceError, ItemError};
use clipn::model::Precision;
use clipn::progress::Progress;
use serde_json::{Map, Value, json};

use crate::common::detector::{OpenedDetector, no_classes};
use crate::common::device::Device;
use crate::common::error::hints::flag_for_image;
use crate::common::error::{CliError, chain_in_one_line};
use crate::common::messages::{hint, note_of_skipped, warning};
use crate::common::overwriting::refuse_inputs;
use crate::common::progress::Bar;
use crate::common::terminal::printable;
use adapt::{Adapter, FeatureRow};
use features::FeatureStream;
use outputs::{FileOutput, Printer, RowLayout, RowSink, Target, print_tally};
use rows::{Columns, Row, Tally};
use sources::SharedSkippedFiles;

/// `clipn classify`.
pub(crate) fn run(args: &ClassifyArgs) -> Result<(), CliError> {
    args.sources.check()?;
    let shard = ShardSpec::from_args(&args.shard)?;
    let output = args
        .output
        .as_deref()
        .map(|path| Target::new(shard.file_name(path), args.output_format))
        .transpose()?;
    if let Some(target) = &output
        && !(args.resume || args.force)
    {
        target.refuse_existing()?;
    }
    if let Some(target) = &output {
        refuse_inputs(&target.path, args.input_files())?;
    }
    let device = args.run.device.open()?;
    args.run.report(&device);
    let mut input = Input::open(args, shard)?;
    let bar = Bar::default();
    let opened = input.open_detector(args, &device, &bar)?;
    // A score that learns from the images reads them.
    if args.adapt.adapt.is_none() {
        args.detector.warn_of_unread_negatives(&opened.detector);
    }
    if let Some(q) = args.fdr {
        fdr::check(q, opened.detector.calibration())?;
    }
    let mut run = ClassifyRun {
        args,
        device: &device,
        bar: &bar,
        tally: Tally::default(),
        total: input.total(),
        skipped: input.skipped(),
        adapter: Adapter::open(args, &input, &opened, output.as_ref(), &bar)?,
    };
    let Some(target) = output else {
        run.begin_memory(None)?;
        return run.print(&opened.detector, input);
    };
    let settings = match &input {
        Input::Images(_) => run_settings(args, shard, &opened)?,
        Input::Features(_) => feature_settings(args, shard, &opened)?,
    };
    if args.resume && target.is_converted() {
        settings.check(&target.path, &target.settings)?;
        let path = target.path.display().to_string();
        let mut out = std::io::stdout();
        return writeln!(out, "{} is complete; nothing to do", printable(&path))
            .map_err(CliError::Output);
    }
    let file = if args.resume && target.exists() {
        run.skip_written(target.clone(), &settings, &mut input)?
    } else {
        let file = FileOutput::create(target.clone(), &settings, run.layout(), args.force)?;
        run.begin_memory(Some(&target.rows))?;
        file
    };
    run.write(&opened.detector, input, file, &target)
}

/// Where rows come from.
enum Input {
    Images(Box<ImageStream>),
    /// Features that were computed elsewhere.
    Features(FeatureStream),
}

impl Input {
    fn open(args: &ClassifyArgs, shard: ShardSpec) -> Result<Self, CliError> {
        if args.features.is_empty() {
            let images = ImageStream::open(&args.sources, shard)?;
            return Ok(Self::Images(Box::new(images)));
        }
        Ok(Self::Features(FeatureStream::open(&args.features, shard)?))
    }

    fn open_detector(
        &self,
        args: &ClassifyArgs,
        device: &Device,
        bar: &Bar,
    ) -> Result<OpenedDetector, CliError> {
        let Self::Features(features) = self else {
            return args.detector.open(device, bar);
        };
        let classifier = args.text_features.classifier(
            args.detector.classes.as_deref(),
            args.detector.prompts.allow_duplicates,
        )?;
        let opened = args.detector.open_for_features(classifier, device, bar)?;
        features.check_dim(opened.detector.classifier().dim())?;
        Ok(opened)
    }

    fn total(&self) -> Option<u64> {
        match self {
            Self::Images(images) => images.total(),
            Self::Features(features) => Some(features.total()),
        }
    }

    fn skipped(&self) -> SharedSkippedFiles {
        match self {
            Self::Images(images) => images.skipped(),
            Self::Features(_) => SharedSkippedFiles::default(),
        }
    }

    fn interrupted(&self) -> Arc<AtomicBool> {
        match self {
            Self::Images(images) => images.interrupted(),
            Self::Features(features) => features.interrupted(),
        }
    }

    /// Skips the next item, and returns its name.
    fn skip_next(&mut self) -> Option<String> {
        match self {
            Self::Images(images) => images.next().map(|image| image.name),
            Self::Features(features) => features.skip_next(),
        }
    }
}

/// State of one run of the command.
struct ClassifyRun<'a> {
    args: &'a ClassifyArgs,
    device: &'a Device,
    bar: &'a Bar,
    tally: Tally,
    /// Number of images of this shard, if known in advance.
    total: Option<u64>,
    /// Files that are no images.
    skipped: SharedSkippedFiles,
    /// Decides in place of the detector with `--adapt`.
    adapter: Option<Adapter>,
}

impl ClassifyRun<'_> {
    /// Begins the memory of `--adapt`, after an empty output was created.
    fn begin_memory(&mut self, output: Option<&Path>) -> Result<(), CliError> {
        match &mut self.adapter {
            Some(adapter) => adapter.begin(&self.args.adapt, output),
            None => Ok(()),
        }
    }

    fn columns(&self) -> Columns {
        Columns {
            top: self.top(),
            adapted: self.args.adapt.adapt.is_some(),
        }
    }

    fn top(&self) -> usize {
        usize::from(self.args.top)
    }

    fn layout(&self) -> RowLayout {
        RowLayout {
            columns: self.columns(),
            sync: Duration::from_secs(self.args.sync),
        }
    }

    /// Prints rows to standard output.
    fn print(&mut self, detector: &Detector, input: Input) -> Result<(), CliError> {
        let mut printer = Printer::new(self.args.format, self.columns(), self.args.explain)?;
        let outcome = self.classify(detector, input, &mut printer);
        printer.finish()?;
        match outcome? {
            Completion::All => self.check_results(),
            Completion::Interrupted => Err(CliError::Interrupted {
                done: self.tally.images,
                total: self.total,
            }),
        }
    }

    /// Writes rows to a file, and prints their counts to standard output.
    fn write(
        &mut self,
        detector: &Detector,
        input: Input,
        mut file: FileOutput,
        target: &Target,
    ) -> Result<(), CliError> {
        let before = self.tally.images;
        let outcome = self.classify(detector, input, &mut file);
        let result = match outcome {
            Ok(Completion::All) => {
                return file
                    .finish()
                    .and_then(|()| self.print_counts(target, before))
                    .and_then(|()| self.check_results());
            }
            Ok(Completion::Interrupted) => Err(CliError::ClassifyInterrupted {
                done: self.tally.images,
                total: self.total,
                path: target.rows.clone(),
            }),
            Err(error) => Err(error),
        };
        file.close()?;
        result
    }

    /// Whether there are rows, but every one has an error.
    fn all_failed(&self) -> bool {
        self.tally.unreadable > 0 && self.tally.unreadable == self.tally.images
    }

    /// Fails if no image has a result, or if a source ended early, since an unknown number of images has
    /// no rows then.
    fn check_results(&self) -> Result<(), CliError> {
        let images = self.tally.images;
        match self.tally.lost_sources {
            _ if self.all_failed() => Err(CliError::NoImageClassified { images }),
            0 => Ok(()),
            sources => Err(CliError::SourcesLost { sources, images }),
        }
    }

    fn print_counts(&self, target: &Target, before: u64) -> Result<(), CliError> {
        print_tally(
            self.args.format,
            &self.tally,
            &self.skipped.get(),
            before,
            &target.path.display().to_string(),
        )
    }

    /// Resumes an output: skips the images whose rows are in it, which must come first.
    fn skip_written(
        &mut self,
        target: Target,
        settings: &RunSettings,
        input: &mut Input,
    ) -> Result<FileOutput, CliError> {
        let path = target.rows.clone();
        let interrupted = input.interrupted();
        let layout = self.layout();
        let tally = &mut self.tally;
        // A run that wrote no row has no memory yet.
        let mut remembered = None;
        let (adapter, adapt) = (&mut self.adapter, &self.args.adapt);
        self.bar.begin_uncounted("skipping finished images");
        let file = FileOutput::resume(target, settings, layout, |written| {
            let row = tally.rows() + 1;
            if let Some(adapter) = adapter {
                let position = match remembered {
                    Some(position) => position,
                    None => adapter.resume(adapt, &path)?,
                };
                remembered = Some(position);
                if row > position {
                    adapter.is_written(written.name);
                    tally.count(written.outcome);
                    return Ok(());
                }
            }
            let differs = |now: &str| {
                CliError::usage_with_hint(
                    format!(
                        "cannot resume {}: row {row} is of {}, but {now}",
                        path.display(),
                        written.name
                    ),
                    "give the images that the run was started with, or start over with --force",
                )
            };
            match input.skip_next() {
                Some(name) if name == written.name => {}
                Some(name) => {
                    return Err(differs(&format!("the image is now {name}")));
                }
                None if interrupted.load(Ordering::Relaxed) => {
                    return Err(CliError::Interrupted {
                        done: tally.images,
                        total: None,
                    });
                }
                None => return Err(differs("there are fewer images now")),
            }
            tally.count(written.outcome);
            self.bar.advance(1);
            Ok(())
        });
        self.bar.end();
        let file = file?;
        match (remembered, &mut self.adapter) {
            (Some(position), _) if position > self.tally.rows() => Err(CliError::usage_with_hint(
                format!(
                    "cannot resume {}: its memory includes {}, but it has {}",
                    path.display(),
                    count(position, "row"),
                    self.tally.rows()
                ),
                "start over with --force",
            )),
            (None, Some(_)) => {
                self.begin_memory(Some(&path))?;
                Ok(file)
            }
            _ => Ok(file),
        }
    }

    /// Adds maps of what is seen where with `--explain`, if the tower computes them.
    fn explained(&self, detector: Detector, input: &Input) -> Result<Detector, CliError> {
        if !self.args.explain || matches!(input, Input::Features(_)) {
            return Ok(detector);
        }
        if !detector.tower().has_local_features() {
            warning(format_args!(
                "--explain does not say where in the image: {} computes no local features",
                self.device
            ));
            return Ok(detector);
        }
        Ok(detector.with_evidence(true)?)
    }

    /// Passes the row of every image to `out`, in order.
    fn classify(
        &mut self,
        detector: &Detector,
        input: Input,
        out: &mut dyn RowSink,
    ) -> Result<Completion, CliError> {
        let detector = detector.clone().with_top_k(self.top());
        let detector = self.explained(detector, &input)?;
        let pipeline = detector
            .pipeline()?
            .with_parallelism(self.args.run.parallelism(self.device))
            .with_progress(self.bar);
        let (strict, fdr) = (self.args.run.strict, self.args.fdr);
        let keeps_features = self.adapter.is_some();
        let decide = |image: &NamedImage, rows: Result<ImageRows<'_>, ItemError>| {
            let decided = rows.and_then(|rows| {
                let feature = if keeps_features { rows.feature } else { &[] };
                let detection = match rows.logits {
                    [logits, ..] => detector.decide(*logits)?,
                    [] => return Err(ItemError::InvalidFeatures),
                };
                Ok(FeatureRow {
                    row: Row::from_detection(image.name.clone(), detection),
                    feature: feature.to_vec(),
                })
            });
            decided.map_err(|error| (image.name.clone(), error))
        };
        let mut buffered = Vec::new();
        let mut advice: Vec<&str> = Vec::new();
        let before = self.tally.images;
        let tally = &mut self.tally;
        let adapter = &mut self.adapter;
        let sink = |row: Result<FeatureRow, (String, ItemError)>| {
            let row = match row {
                Ok(row) => row,
                Err((name, error)) if strict => return Err(CliError::from_item(name, error)),
                Err((name, error)) => {
                    advice.extend(flag_for_image(&error).filter(|flag| !advice.contains(flag)));
                    FeatureRow {
                        row: Row::failed(name, &chain_in_one_line(&error)),
                        feature: Vec::new(),
                    }
                }
            };
            if let Some(adapter) = adapter {
                return adapter.push(row, out, &mut |row| tally.count(row.outcome()));
            }
            let row = row.row;
            if fdr.is_some() {
                buffered.push(row);
                return Ok(());
            }
            tally.count(row.outcome());
            out.row(&row)
        };
        match self.total {
            Some(total) => {
                self.bar.begin("classifying", total);
                self.bar.advance(before);
            }
            None => self.bar.begin_uncounted("classifying"),
        }
        let interrupted = input.interrupted();
        let outcome = match input {
            Input::Images(images) => pipeline.run_each(images, decide, sink),
            Input::Features(features) => {
                features.classify(&detector, self.bar, keeps_features, sink)
            }
        };
        self.bar.end();
        match outcome {
            Err(CliError::Inference(InferenceError::Cancelled { .. })) => {
                return Ok(Completion::Interrupted);
            }
            Ok(()) if interrupted.load(Ordering::Relaxed) => return Ok(Completion::Interrupted),
            other => other?,
        }
        if let Some(adapter) = &mut self.adapter {
            let tally = &mut self.tally;
            adapter.finish(out, &mut |row| tally.count(row.outcome()))?;
        }
        if let Some(q) = fdr {
            fdr::decide(&mut buffered, q);
            for row in &buffered {
                self.tally.count(row.outcome());
                out.row(row)?;
            }
        }
        note_of_skipped("", &self.skipped.get());
        let Tally {
            images, unreadable, ..
        } = self.tally;
        if unreadable > 0 && !self.all_failed() {
            warning(format_args!(
                "{unreadable} of {} could not be classified",
                count(images, "image")
            ));
        }
        advice.into_iter().for_each(hint);
        Ok(Completion::All)
    }
}

/// How a run ended.
enum Completion {
    All,
    Interrupted,
}

/// Adds the negatives of a classifier to the settings of a run. Outputs without negatives do not have them.
fn describe_negatives(classifier: &Classifier, settings: &mut Map<String, Value>) {
    if let Some(negatives) = classifier.negatives() {
        let hash = negatives.hash();
        let count = negatives.len();
        settings.insert(
            "negatives".to_owned(),
            json!(format!("{count} with hash {}", &hash[..16])),
        );
    }
}

/// What the rows of images and of features depend on alike. The names are part of the file format.
///
/// Of weights, it has the templates and the text towers, whose rows have other bits on another instruction set; of
/// a bundle or files of features, their rows.
fn common_settings(
    args: &ClassifyArgs,
    shard: ShardSpec,
    opened: &OpenedDetector,
) -> Result<Map<String, Value>, CliError> {
    let detector = &opened.detector;
    let classifier = detector.classifier();
    let mut settings: Map<String, Value> = [
        ("classes", json!(classifier.class_names())),
        ("logit scale", json!(classifier.scale())),
        ("rule", json!(detector.rule())),
        (
            "calibration pictures",
            json!(detector.calibration().map(|calibration| calibration.len())),
        ),
        ("false-discovery rate", json!(args.fdr)),
        ("classes told", json!(args.top)),
        ("part", json!(format!("{} of {}", shard.index, shard.count))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect();
    let prompts = match (detector.bundle(), &opened.weights) {
        (Some(bundle), _) => Some((bundle.prompts().clone(), json!(bundle.prompt_variant()))),
        (None, Some(loaded)) => Some((
            loaded.class_prompts(&args.detector.prompts)?,
            json!(args.detector.prompts.variant.settings_name()),
        )),
        (None, None) => None,
    };
    if let Some((prompts, variant)) = prompts {
        let templates = prompts.templates();
        let texts = match templates.sentences() {
            Some(sentences) => json!([templates.yes(), templates.no(), sentences]),
            None => json!([templates.yes(), templates.no()]),
        };
        settings.insert("templates".to_owned(), texts);
        settings.insert("wording".to_owned(), variant);
    }
    let (name, hash) = match (detector.bundle(), &opened.weights) {
        (None, Some(loaded)) => ("text towers", loaded.weights.text_towers_hash()),
        _ => ("classifier", classifier.hash()),
    };
    settings.insert(name.to_owned(), json!(hash));
    describe_negatives(classifier, &mut settings);
    describe_no_scale(classifier, &mut settings);
    adapt::describe(&args.adapt, &mut settings);
    Ok(settings)
}

/// Everything that rows of features depend on except the values of the features.
fn feature_settings(
    args: &ClassifyArgs,
    shard: ShardSpec,
    opened: &OpenedDetector,
) -> Result<RunSettings, CliError> {
    let paths = args.features.iter().map(|path| path.display().to_string());
    let mut settings = common_settings(args, shard, opened)?;
    for (name, value) in [
        ("text features", json!(args.text_features.text_features)),
        ("no features", json!(args.text_features.no_features)),
        (
            "negative features",
            json!(args.text_features.negative_features),
        ),
        ("bundle", json!(args.detector.bundle)),
        ("features", json!(paths.collect::<Vec<_>>())),
    ] {
        settings.insert(name.to_owned(), value);
    }
    Ok(RunSettings::new(settings))
}

/// Notes the factor of the "no" logits. Outputs of earlier versions, all with 1, do not have it.
fn describe_no_scale(classifier: &Classifier, settings: &mut Map<String, Value>) {
    if classifier.no_scale() != 1.0 {
        settings.insert("no scale".to_owned(), json!(classifier.no_scale()));
    }
}

/// Everything that rows depend on except the contents of the images. The names are part of the file
/// format.
fn run_settings(
    args: &ClassifyArgs,
    shard: ShardSpec,
    opened: &OpenedDetector,
) -> Result<RunSettings, CliError> {
    let detector = &opened.detector;
    let model = match (detector.bundle(), &opened.weights) {
        (Some(bundle), _) => bundle.identity().image_tower_hash.clone(),
        (None, Some(loaded)) => loaded.weights.image_tower_hash(),
        (None, None) => return Err(no_classes()),
    };
    let paths = |paths: &[PathBuf]| -> Vec<Value> {
        let text = |path: &PathBuf| path.display().to_string();
        paths
            .iter()
            .map(|path| Value::from(without_query(&text(path))))
            .collect()
    };
    let mut settings = common_settings(args, shard, opened)?;
    for (name, value) in [
        ("image tower", json!(model)),
        ("preprocessing", json!(detector.preprocessing())),
        ("paths", Value::from(paths(&args.sources.paths))),
        ("lists", Value::from(paths(&args.sources.list))),
        ("zero bytes in lists", json!(args.sources.null)),
    ] {
        settings.insert(name.to_owned(), value);
    }
    if let Some(key) = &args.sources.image_key {
        settings.insert("image key".to_owned(), json!(key));
    }
    if args.explain {
        settings.insert("explained".to_owned(), json!(true));
    }
    let precision = detector.tower().precision();
    // Outputs of earlier versions, all in f32, do not have it.
    if precision != Precision::F32 {
        settings.insert("precision".to_owned(), json!(precision));
    }
    Ok(RunSettings::new(settings))
}
