//! Progress of a run on the terminal, and evaluations between epochs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use clipn::classifier::ClassifierBuilder;
use clipn::count::count;
use clipn::dataset::{OpenedBenchmark, SkippedSamples};
use clipn::evaluation::{EvaluationOptions, Evaluator, Results};
use clipn::image::Preprocessing;
use clipn::inference::InferencePipeline;
use clipn::metrics::FprConvention;
use clipn::model::TextTower;
use clipn::progress::Progress;
use clipn::prompts::{PromptVariant, TemplateSet};
use clipn::scores;
use clipn::training::{ObjectiveName, RunObserver, StepEvent, TrainRun, TrainableTowers};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::TrainArgs;
use crate::commands::eval::{is_built_in, report_matching, write_tables};
use crate::common::classes;
use crate::common::distributed::{EvaluationRanks, describe_set};
use crate::common::error::{CliError, chain_in_one_line};
use crate::common::messages::{is_quiet, note, status, warning};
use crate::common::{interrupt, terminal};

/// A benchmark that is evaluated between epochs.
struct PeriodicEvaluation {
    benchmark: OpenedBenchmark,
    class_names: Vec<String>,
    templates: TemplateSet,
    /// Epochs between evaluations, at least 1.
    every: u64,
}

/// Reports a run on standard error: a bar with losses, checkpoints and evaluations.
pub(crate) struct RunReporter {
    bar: ProgressBar,
    evaluation: Option<PeriodicEvaluation>,
    objective: ObjectiveName,
    last_line: Mutex<Option<Instant>>,
}

impl RunReporter {
    pub(crate) fn new(
        args: &TrainArgs,
        objective: ObjectiveName,
        benchmark: Option<OpenedBenchmark>,
    ) -> Result<Self, CliError> {
        let evaluation = match benchmark {
            None => None,
            Some(benchmark) => {
                let matched = benchmark.match_classes(classes::built_in)?;
                report_matching(&matched);
                let (templates, description) =
                    TemplateSet::resolve_described(&args.eval_templates)?;
                description.iter().for_each(note);
                Some(PeriodicEvaluation {
                    class_names: matched.names,
                    benchmark,
                    templates,
                    every: args.eval_frequency,
                })
            }
        };
        let bar = if is_quiet() {
            ProgressBar::hidden()
        } else {
            ProgressBar::no_length()
        };
        if let Ok(style) =
            ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {eta} left  {msg}")
        {
            bar.set_style(style);
        }
        terminal::show_bar(&bar);
        Ok(Self {
            bar,
            evaluation,
            objective,
            last_line: Mutex::new(None),
        })
    }

    fn print(&self, text: &str) {
        status(text);
    }

    fn warn(&self, text: &str) {
        warning(text);
    }

    /// Prints a line at most every 10 seconds, and the last one, if there is no bar because
    /// standard error is no terminal.
    fn log_line(&self, text: &str, is_last: bool) {
        let Ok(mut last) = self.last_line.lock() else {
            return;
        };
        let is_due = last.is_none_or(|last| last.elapsed().as_secs() >= 10);
        if self.bar.is_hidden() && (is_due || is_last) {
            status(text);
            *last = Some(Instant::now());
        }
    }

    fn evaluate(&self, run: &TrainRun, periodic: &PeriodicEvaluation) -> Result<Results, CliError> {
        let towers = run.towers();
        let no = towers.no.as_ref().map(|no| no as &dyn TextTower<f32>);
        let is_paired =
            self.objective == ObjectiveName::ClipnHandcrafted && periodic.templates.no().is_some();
        let variant = if is_paired {
            PromptVariant::HandCrafted
        } else {
            PromptVariant::Learnable
        };
        let peers = EvaluationRanks(Arc::clone(run.communicator()));
        let built = ClassifierBuilder::new(&periodic.class_names)
            .with_templates(periodic.templates.clone())
            .with_variant(variant)
            .with_duplicates(is_built_in(&periodic.benchmark))
            .with_progress(self)
            .build_with_towers(&towers.yes, no);
        let classifier = peers
            .agree(built.map_err(CliError::from))?
            .with_scale(run.evaluation_scale())
            .with_no_scale(run.settings().objective.no_scale.unwrap_or(1.0));
        let preprocessing = Preprocessing {
            gray: periodic.benchmark.gray,
            ..Preprocessing::clip(run.config().vision.image_size)
        };
        let pipeline = InferencePipeline::new(&towers.image, &classifier, &preprocessing)?;
        let is_trained = |score: &&&dyn scores::Score| {
            let is_trained = run.trainable_towers() == TrainableTowers::NoTower || !score.uses_no();
            is_trained && classifier.score_inputs().check(**score).is_ok()
        };
        let scores: Vec<_> = scores::all().iter().filter(is_trained).copied().collect();
        let ood = periodic.benchmark.ood.iter().map(|ood| &ood.set);
        let sets = std::iter::once(&periodic.benchmark.id)
            .chain(&periodic.benchmark.shifted)
            .chain(ood);
        peers.check_same(|| Ok(sets.map(describe_set).collect()))?;
        let evaluation = peers
            .share(Evaluator::new(
                &periodic.benchmark.id,
                &periodic.benchmark.ood,
            ))
            .with_shifted(&periodic.benchmark.shifted)
            .with_options(EvaluationOptions::default().with_scores(scores))
            .with_progress(self)
            .evaluate(&pipeline)?;
        Ok(Results::compute(&evaluation, FprConvention::default())?)
    }

    /// The evaluation after an epoch, if one is due.
    fn due_evaluation(&self, run: &TrainRun, epoch: u64) -> Option<&PeriodicEvaluation> {
        let is_due = |periodic: &&PeriodicEvaluation| {
            epoch.is_multiple_of(periodic.every) || epoch == run.settings().epochs
        };
        self.evaluation.as_ref().filter(is_due)
    }

    /// Evaluates the towers after an epoch if that is due. An error is a warning, and training continues.
    fn evaluate_if_due(&self, run: &TrainRun, epoch: u64) {
        let Some(periodic) = self.due_evaluation(run, epoch) else {
            return;
        };
        if let Err(error) = self.evaluate_epoch(run, epoch, periodic) {
            self.warn(&format!(
                "the evaluation after epoch {epoch} failed: {}",
                chain_in_one_line(&error)
            ));
        }
    }

    /// Evaluates the checkpoint of an epoch's end that a run resumes from, unless the run did so before it was
    /// interrupted.
    fn evaluate_resumed(&self, run: &TrainRun) {
        let (step, per_epoch) = (run.step(), run.steps_per_epoch());
        if step == 0 || per_epoch == 0 || !step.is_multiple_of(per_epoch) {
            return;
        }
        let epoch = step / per_epoch;
        if self.due_evaluation(run, epoch).is_none() {
            return;
        }
        let lines = std::fs::read_to_string(run.directory().join("eval.jsonl"));
        let is_of_step = |line: &str| {
            let line: Option<Value> = serde_json::from_str(line).ok();
            line.is_some_and(|line| line["step"] == step)
        };
        let is_done = lines.is_ok_and(|lines| lines.lines().any(is_of_step));
        // Rank 0 decides: others may see the file later.
        let decided = run.communicator().bytes_of_root(&[u8::from(is_done)]);
        if decided.is_ok_and(|decided| decided == [0]) {
            self.evaluate_if_due(run, epoch);
        }
    }

    /// Evaluates, prints the table and appends the results to `eval.jsonl`.
    fn evaluate_epoch(
        &self,
        run: &TrainRun,
        epoch: u64,
        periodic: &PeriodicEvaluation,
    ) -> Result<(), CliError> {
        let results = self.evaluate(run, periodic)?;
        if run.communicator().rank() > 0 {
            return Ok(());
        }
        let mut table = Vec::new();
        write_tables(
            &mut table,
            &results,
            periodic.class_names.len() as u64,
            FprConvention::default(),
        )
        .map_err(CliError::Output)?;
        self.print(&format!("after epoch {epoch}"));
        for line in String::from_utf8_lossy(&table).lines().chain([""]) {
            self.print(line);
        }
        let line = json!({ "epoch": epoch, "step": run.step(), "results": results });
        let path = run.directory().join("eval.jsonl");
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .map_err(CliError::Output)
    }
}

impl Drop for RunReporter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        terminal::forget_bar();
    }
}

impl Progress for RunReporter {
    fn is_cancelled(&self) -> bool {
        interrupt::requested()
    }
}

impl RunObserver for RunReporter {
    fn started(&self, run: &TrainRun) {
        self.print(&format!(
            "{}: {} of {}, {} per epoch, from step {}; logs and checkpoints in {}",
            self.objective,
            count(run.total_steps(), "step"),
            count(run.samples_per_step(), "sample"),
            run.steps_per_epoch(),
            run.step(),
            run.directory().display()
        ));
        let groups = run.towers().trainable_groups(run.trainable_towers());
        let total: usize = groups.iter().map(|g| g.parameters).sum();
        let listed: Vec<String> = groups
            .iter()
            .map(|g| format!("{} {}", g.name, g.parameters))
            .collect();
        self.print(&format!(
            "{total} trainable parameters: {}",
            listed.join(", ")
        ));
        self.bar.set_length(run.total_steps());
        self.bar.set_position(run.step());
        self.bar.reset_eta();
        self.evaluate_resumed(run);
    }

    fn step(&self, event: &StepEvent<'_>) {
        let record = event.record;
        let losses: Vec<String> = record
            .losses
            .iter()
            .map(|(name, loss)| format!("{name} {loss:.4}"))
            .collect();
        let text = format!(
            "loss {}, lr {:.2e}, {:.1} samples/s",
            losses.join(" "),
            record.lr,
            record.samples_per_second
        );
        self.bar.set_position(event.step);
        self.bar.set_message(text.clone());
        self.log_line(
            &format!("step {}/{}: {text}", event.step, event.total_steps),
            event.step == event.total_steps,
        );
    }

    fn set_aside(&self, folders: &[PathBuf]) {
        let names: Vec<_> = folders
            .iter()
            .map(|folder| folder.file_name().unwrap_or_default().to_string_lossy())
            .collect();
        self.warn(&format!(
            "later checkpoints of an earlier run were renamed: {}",
            names.join(", ")
        ));
    }

    fn saved(&self, folder: &Path) {
        self.print(&format!("wrote {}", folder.display()));
    }

    fn epoch_ended(&self, run: &TrainRun, epoch: u64, skipped: &SkippedSamples) {
        if skipped.total() > 0 {
            self.warn(&format!("epoch {epoch} skipped {skipped}"));
        }
        let captions = run.steps_per_epoch() * run.samples_per_step();
        let truncated = run.truncated_captions();
        if truncated > 0 {
            self.warn(&format!(
                "epoch {epoch} cut {truncated} of {captions} captions to {} tokens",
                run.config().text.context_length
            ));
        }
        let unseen = run.unseen_words();
        if unseen.captions() > 0 {
            let examples = match unseen.examples() {
                // Other ranks read them.
                [] => String::new(),
                words => format!(", such as {}", words.join(", ")),
            };
            self.warn(&format!(
                "in epoch {epoch}, {} of {captions} captions have words that the \"yes\" tower was not \
                 trained on{examples}",
                unseen.captions(),
            ));
        }
        self.evaluate_if_due(run, epoch);
    }
}
