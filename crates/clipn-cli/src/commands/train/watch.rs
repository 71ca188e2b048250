use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use clipn::classifier::{Wording, build};
use clipn::dataset::{OpenedBenchmark, Skipped};
use clipn::evaluation::{Options, Parallelism, Precision, Recogniser, Results, evaluate};
use clipn::image::Preprocessing;
use clipn::metrics::FprConvention;
use clipn::progress::Progress;
use clipn::prompts::{ClassNames, TemplateSet};
use clipn::scores;
use clipn::training::{Learns, RunObserver, StepTold, TrainRun};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::TrainArgs;
use crate::common::error::CliError;
use crate::commands::eval::write_tables;
use crate::common::interrupt;

/// A benchmark to look at between epochs.
struct Examination {
    benchmark: OpenedBenchmark,
    class_names: Vec<String>,
    templates: TemplateSet,
    every: u64,
}

/// Shows a run: a bar with losses, checkpoints and evaluations.
pub struct Watch {
    pub bar: ProgressBar,
    examination: Option<Examination>,
    objective: String,
    last_line: Mutex<Option<Instant>>,
}

impl Watch {
    pub fn new(
        args: &TrainArgs,
        objective: &str,
        benchmark: Option<OpenedBenchmark>,
    ) -> Result<Self, CliError> {
        let bar = ProgressBar::no_length();
        if let Ok(style) =
            ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {eta} left  {msg}")
        {
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
        Ok(Self {
            bar,
            examination,
            objective: objective.to_owned(),
            last_line: Mutex::new(None),
        })
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Where standard error is no terminal, a line every so often instead of the bar.
    fn line(&self, text: &str, is_last: bool) {
        let Ok(mut last) = self.last_line.lock() else {
            return;
        };
        let is_due = last.is_none_or(|last| last.elapsed().as_secs() >= 10);
        if self.bar.is_hidden() && (is_due || is_last) {
            eprintln!("{text}");
            *last = Some(Instant::now());
        }
    }

    fn examine(&self, run: &TrainRun, examination: &Examination) -> Result<Results, CliError> {
        let towers = run.towers();
        let no = towers.no.as_ref().unwrap_or(&towers.yes);
        let is_paired =
            self.objective == "clipn-handcrafted" && examination.templates.no().is_some();
        let wording = if is_paired {
            Wording::HandCrafted
        } else {
            Wording::Learnable
        };
        let classifier = build(
            &examination.class_names,
            &examination.templates,
            wording,
            &towers.yes,
            no,
            self,
        )?;
        let preprocessing = Preprocessing {
            grey: examination.benchmark.grey,
            ..Preprocessing::clip(run.config().vision.image_size)
        };
        let recogniser = Recogniser::new(&towers.image, &classifier, preprocessing)?;
        let of_objective =
            |score: &&&dyn scores::Score| run.learns() == Learns::No || !score.uses_no();
        let options = Options {
            scores: scores::all().iter().filter(of_objective).copied().collect(),
            precision: Precision::F32,
            parallelism: Parallelism::default(),
            strict: false,
        };
        let ood: Vec<_> = examination
            .benchmark
            .ood
            .iter()
            .map(|set| (set.set.clone(), set.kind))
            .collect();
        let evaluation = evaluate(&recogniser, &examination.benchmark.id, &ood, &options, self)?;
        Ok(Results::compute(&evaluation, FprConvention::default())?)
    }

    /// Evaluates, prints the table and appends it to `eval.jsonl`.
    fn evaluate_epoch(
        &self,
        run: &TrainRun,
        epoch: u64,
        examination: &Examination,
    ) -> Result<(), CliError> {
        let results = self.examine(run, examination)?;
        let mut table = Vec::new();
        write_tables(
            &mut table,
            &results,
            examination.class_names.len() as u64,
            FprConvention::default(),
        )
        .map_err(CliError::Output)?;
        self.say(&format!(
            "after epoch {epoch}\n{}",
            String::from_utf8_lossy(&table)
        ));
        let line = json!({ "epoch": epoch, "step": run.step(), "results": results });
        let path = run.folder().join("eval.jsonl");
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .map_err(CliError::Output)
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
        let listed: Vec<String> = groups
            .iter()
            .map(|g| format!("{} {}", g.name, g.parameters))
            .collect();
        self.say(&format!("{total} parameters learn: {}", listed.join(", ")));
        self.bar.set_length(run.steps());
        self.bar.set_position(run.step());
        self.bar.reset_eta();
    }

    fn step(&self, told: &StepTold<'_>) {
        let record = told.record;
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
        self.bar.set_position(told.step);
        self.bar.set_message(text.clone());
        self.line(
            &format!("step {}/{}: {text}", told.step, told.steps),
            told.step == told.steps,
        );
    }

    fn saved(&self, folder: &Path) {
        self.say(&format!("wrote {}", folder.display()));
    }

    fn epoch_ended(&self, run: &TrainRun, epoch: u64, skipped: &Skipped) {
        if skipped.total() > 0 {
            self.say(&format!("warning: epoch {epoch} left out {skipped}"));
        }
        let Some(examination) = &self.examination else {
            return;
        };
        if !epoch.is_multiple_of(examination.every) && epoch != run.settings().epochs {
            return;
        }
        if let Err(error) = self.evaluate_epoch(run, epoch, examination) {
            self.say(&format!(
                "warning: the evaluation after epoch {epoch} failed: {error}"
            ));
        }
    }
}
