//! Decisions by a score that learns from the stream of images.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use clipn::adaptation::{AdaptiveMethod, AdaptiveScorer, StreamPosition};
use clipn::count::count;
use clipn::files::StateLock;
use clipn::number::decimals;
use clipn::streams::{AdaNegSettings, StreamScore, TanlSettings};
use serde_json::{Map, Value, json};

use super::outputs::{RowSink, Target, beside};
use super::rows::{Adaptation, Row};
use super::{ClassifyArgs, Input};
use crate::common::adaptation::{noise_features, parse_method};
use crate::common::args::parse_count;
use crate::common::detector::{OpenedDetector, no_classes};
use crate::common::error::CliError;
use crate::common::locks;
use crate::common::messages::{detail, status};
use crate::common::progress::Bar;

/// Extension of the memory beside an output.
const MEMORY: &str = ".memory.safetensors";

/// Decisions by a score that learns from the stream of images.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdaptArgs {
    /// Decide by a score that learns from the images before and in the batch: adaneg or tanl
    ///
    /// The decision depends on their order and mixture (docs/scores.md). Rows name the method, and have the
    /// decision without memory beside it.
    #[arg(
        long,
        value_name = "METHOD",
        conflicts_with_all = ["fdr", "no_reject", "num_shards", "distributed"],
        value_parser = parse_method
    )]
    pub adapt: Option<AdaptiveMethod>,
    /// Images that are scored together, after they have entered the memory
    #[arg(long, value_name = "N", default_value = "256", requires = "adapt", value_parser = parse_count)]
    pub adapt_batch: usize,
    /// Minimum score of --adapt for a label [default: adaneg: 0.55, the middle of its range; tanl: chosen
    /// from the last 20,000 scores]
    #[arg(long, value_name = "X", requires = "adapt", value_parser = parse_threshold)]
    pub adapt_threshold: Option<f64>,
    /// File of the memory: the run begins with it if it exists, and saves it [default: an empty memory, saved
    /// beside --output for --resume]
    #[arg(long, value_name = "FILE", requires = "adapt")]
    pub memory: Option<PathBuf>,
    /// Begin with an empty memory, and replace that in --memory
    #[arg(long, requires = "memory")]
    pub reset_memory: bool,
}

fn parse_threshold(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(threshold) if threshold.is_finite() => Ok(threshold),
        _ => Err("expected a number, such as 0.6".to_owned()),
    }
}

/// Adds what rows depend on to the settings of a run.
pub(super) fn describe(args: &AdaptArgs, settings: &mut Map<String, Value>) {
    if let Some(method) = args.adapt {
        settings.insert("adapted by".to_owned(), json!(method));
        settings.insert("images per batch".to_owned(), json!(args.adapt_batch));
        settings.insert("adapted threshold".to_owned(), json!(args.adapt_threshold));
        settings.insert("memory".to_owned(), json!(args.memory));
    }
}

/// A row with the feature of its image, which is empty if the image has none.
pub(super) struct FeatureRow {
    pub(super) row: Row,
    pub(super) feature: Vec<f32>,
}

/// Turns static rows into those of a score that learns, batch by batch.
pub(super) struct Adapter {
    scorer: AdaptiveScorer,
    class_names: Vec<String>,
    batch: usize,
    threshold: Option<f64>,
    file: Option<MemoryFile>,
    waiting: Vec<FeatureRow>,
    /// Number of waiting rows with a feature.
    ready: usize,
    /// Rows of the output up to the last batch.
    position: u64,
    /// The output, if its memory may go from one output to the next.
    stream: Option<String>,
    /// Names of the rows that are in the output already, but not in the memory.
    written: VecDeque<String>,
}

struct MemoryFile {
    path: PathBuf,
    interval: Duration,
    last: Instant,
    /// One process at a time has the memory.
    lock: Option<StateLock>,
}

impl MemoryFile {
    fn lock(&mut self) -> Result<(), CliError> {
        // The lock of the file that was replaced first.
        self.lock = None;
        self.lock = locks::of_file(&self.path)?;
        Ok(())
    }
}

impl Adapter {
    /// Creates the adapter of the arguments with an empty memory; `None` without `--adapt`.
    pub(super) fn open(
        args: &ClassifyArgs,
        input: &Input,
        opened: &OpenedDetector,
        target: Option<&Target>,
        bar: &Bar,
    ) -> Result<Option<Self>, CliError> {
        let Some(method) = args.adapt.adapt else {
            return Ok(None);
        };
        let detector = &opened.detector;
        let classifier = detector.classifier();
        let scorer = match method {
            AdaptiveMethod::Tanl => {
                if matches!(input, Input::Features(_)) {
                    return Err(CliError::usage_with_hint(
                        "--adapt tanl begins with features of noise, and --features have no image tower",
                        "use --adapt adaneg",
                    ));
                }
                let words = match (&opened.weights, classifier.negatives()) {
                    (Some(loaded), _) if args.detector.bundle.is_empty() => {
                        let prompts = loaded.class_prompts(&args.detector.prompts)?;
                        let negatives = &args.detector.negatives;
                        negatives.all_words(loaded, classifier, &prompts, bar)?
                    }
                    (_, Some(negatives)) => negatives.clone(),
                    (None, None) if args.detector.bundle.is_empty() => return Err(no_classes()),
                    _ => return Err(without_negatives(method)),
                };
                detail(format_args!("{method}: {}", count(words.len(), "word")));
                let noise = noise_features(detector.tower())?;
                AdaptiveScorer::tanl(classifier, &words, &noise, TanlSettings::default())?
            }
            _ if classifier.negatives().is_none() => return Err(without_negatives(method)),
            _ => AdaptiveScorer::adaneg(classifier, AdaNegSettings::default())?,
        };
        status(format_args!(
            "{} decides, in batches of {}; its memory has at most {:.1} MB",
            method.display_name(),
            args.adapt.adapt_batch,
            scorer.max_bytes() as f64 / 1e6
        ));
        let own = |target: &Target| beside(&target.path, MEMORY);
        let path = args.adapt.memory.clone().or(target.map(own));
        Ok(Some(Self {
            scorer,
            class_names: classifier.class_names().to_vec(),
            batch: args.adapt.adapt_batch,
            threshold: args.adapt.adapt_threshold,
            file: path.map(|path| MemoryFile {
                path,
                interval: Duration::from_secs(args.sync),
                last: Instant::now(),
                lock: None,
            }),
            waiting: Vec::new(),
            ready: 0,
            position: 0,
            stream: None,
            written: VecDeque::new(),
        }))
    }

    /// Begins a run: with the memory of `--memory`, if there is one.
    pub(super) fn begin(
        &mut self,
        args: &AdaptArgs,
        output: Option<&Path>,
    ) -> Result<(), CliError> {
        self.position = 0;
        self.stream = name_of_stream(args, output);
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.lock()?;
        if args.reset_memory && file.path.exists() {
            AdaptiveScorer::check_memory(&file.path)?;
        }
        let is_kept = args.memory.is_some() && !args.reset_memory;
        if is_kept && file.path.exists() {
            self.scorer.load(&file.path)?;
            status(format_args!(
                "the memory of {} in {}",
                count(self.scorer.images(), "image"),
                file.path.display()
            ));
        }
        self.save()
    }

    /// Continues the run of an output; returns how many of its rows the memory includes.
    pub(super) fn resume(&mut self, args: &AdaptArgs, output: &Path) -> Result<u64, CliError> {
        self.stream = name_of_stream(args, Some(output));
        let Some(file) = &mut self.file else {
            return Ok(0);
        };
        file.lock()?;
        if !file.path.exists() {
            return Err(CliError::usage_with_hint(
                format!(
                    "cannot resume {}: its memory {} is missing",
                    output.display(),
                    file.path.display()
                ),
                "put the file back, or start over with --force",
            ));
        }
        let position = self.scorer.load(&file.path)?;
        if let (Some(own), Some(other)) = (&self.stream, &position.stream)
            && own != other
        {
            return Err(CliError::usage_with_hint(
                format!(
                    "cannot resume {}: its memory {} has continued with {other}",
                    output.display(),
                    file.path.display()
                ),
                "repeat the last run of a memory only, or give each output a memory of its own",
            ));
        }
        self.position = position.items;
        Ok(self.position)
    }

    /// A row of the output that the memory does not include yet: it is scored again, and not written.
    pub(super) fn is_written(&mut self, name: String) {
        self.written.push_back(name);
    }

    /// Adds a row. A full batch is decided and written; rows that wait for none are written at once.
    pub(super) fn push(
        &mut self,
        row: FeatureRow,
        sink: &mut dyn RowSink,
        count: &mut dyn FnMut(&Row),
    ) -> Result<(), CliError> {
        self.ready += usize::from(!row.feature.is_empty());
        self.waiting.push(row);
        if (1..self.batch).contains(&self.ready) {
            return Ok(());
        }
        self.decide(sink, count)?;
        let is_due = |file: &MemoryFile| file.last.elapsed() >= file.interval;
        if self.file.as_ref().is_some_and(is_due) {
            self.checkpoint(sink)?;
        }
        Ok(())
    }

    /// Decides the rows of the last batch, and saves the memory.
    pub(super) fn finish(
        &mut self,
        sink: &mut dyn RowSink,
        count: &mut dyn FnMut(&Row),
    ) -> Result<(), CliError> {
        self.decide(sink, count)?;
        if let Some(name) = self.written.front() {
            return Err(cannot_resume(name, "there are fewer images now"));
        }
        self.checkpoint(sink)
    }

    fn decide(
        &mut self,
        sink: &mut dyn RowSink,
        count: &mut dyn FnMut(&Row),
    ) -> Result<(), CliError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.ready = 0;
        let features: Vec<f32> = waiting
            .iter()
            .flat_map(|row| &row.feature)
            .copied()
            .collect();
        let mut scores = if features.is_empty() {
            Vec::new().into_iter()
        } else {
            self.scorer.batch(&features)?.into_iter()
        };
        for FeatureRow { mut row, feature } in waiting {
            if !feature.is_empty()
                && let Some(score) = scores.next()
            {
                self.adapt(&mut row, score);
            }
            self.position += 1;
            match self.written.pop_front() {
                None => {
                    count(&row);
                    sink.row(&row)?;
                }
                Some(name) if name == row.path => {}
                Some(name) => {
                    let now = format!("the image is now {}", row.path);
                    return Err(cannot_resume(&name, &now));
                }
            }
        }
        Ok(())
    }

    /// Replaces the decision of a row, which is kept beside it.
    fn adapt(&self, row: &mut Row, scored: StreamScore) {
        let method = self.scorer.method();
        let threshold = self.threshold.unwrap_or_else(|| self.scorer.threshold());
        let is_known = scored.score >= threshold;
        let fixed = row.label_or_unknown().unwrap_or_default().to_owned();
        let sign = if is_known { '≥' } else { '<' };
        let reason = format!(
            "{} {} {sign} {} after {} of the stream; without memory {fixed}: {}",
            method.display_name(),
            decimals(scored.score, 4),
            decimals(threshold, 4),
            count(self.scorer.images(), "image"),
            row.reason.as_deref().unwrap_or_default()
        );
        let adaptation = Adaptation {
            method,
            images: self.scorer.images(),
            fixed_label: row.label.take(),
            fixed_unknown: row.unknown,
            fixed_score: row.score,
            fixed_threshold: row.threshold,
            fixed_p_value: row.p_value.take(),
        };
        row.label = is_known.then(|| {
            self.class_names
                .get(scored.class)
                .cloned()
                .unwrap_or_default()
        });
        row.class = is_known.then_some(scored.class);
        row.unknown = Some(!is_known);
        row.score = Some(scored.score).filter(|score| score.is_finite());
        row.threshold = Some(threshold);
        row.reason = Some(reason);
        row.adaptation = Some(adaptation);
    }

    /// Saves the memory after the rows that it includes.
    fn checkpoint(&mut self, sink: &mut dyn RowSink) -> Result<(), CliError> {
        if self.file.is_none() {
            return Ok(());
        }
        sink.sync()?;
        self.save()
    }

    fn save(&mut self) -> Result<(), CliError> {
        if let Some(file) = &mut self.file {
            let position = StreamPosition::from(self.position).with_stream(self.stream.clone());
            self.scorer.save(&file.path, position)?;
            file.lock()?;
            file.last = Instant::now();
        }
        Ok(())
    }
}

/// The output of a memory that is named by `--memory`: its path, from the directory of the memory if it is below it,
/// so that both can be moved together. A memory beside the output belongs to that alone.
fn name_of_stream(args: &AdaptArgs, output: Option<&Path>) -> Option<String> {
    let memory = args.memory.as_ref()?;
    let Some(output) = output else {
        return Some("standard output".to_owned());
    };
    let path = output.canonicalize().unwrap_or_else(|_| output.to_owned());
    let directory = memory.parent().filter(|parent| *parent != Path::new(""));
    let directory = directory.unwrap_or(Path::new(".")).canonicalize();
    let below = directory
        .ok()
        .and_then(|directory| path.strip_prefix(directory).ok());
    Some(below.unwrap_or(&path).display().to_string())
}

fn without_negatives(method: AdaptiveMethod) -> CliError {
    CliError::usage_with_hint(
        format!("--adapt {method} without negatives"),
        "give some where the classifier is built, with --classes or by `clipn classifier build`: \
         --negatives wordnet",
    )
}
/// A row of an earlier run that is not of the image that is there now.
fn cannot_resume(name: &str, now: &str) -> CliError {
    CliError::usage_with_hint(
        format!("cannot resume: a row is of {name}, but {now}"),
        "give the images that the run was started with, or start over with --force",
    )
}
