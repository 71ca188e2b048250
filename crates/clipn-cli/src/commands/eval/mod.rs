//! `clipn eval`: one model or several on one benchmark.

mod args;
mod benchmark;
mod files;
mod tables;

pub use args::EvalArgs;
pub use files::write_merged;
pub use tables::{print, write_tables};

use std::path::Path;

use clipn::classifier::{Classifier, Wording};
use clipn::dataset::{ImageSet, OodKind};
use clipn::evaluation::{
    Evaluation, Options, Record, Results, Run, Spread, check_alike, evaluate_each, merge,
};
use clipn::image::Preprocessing;
use clipn::prompts::ClassNames;
use clipn::report::ReportOptions;
use serde_json::{Value, json};

use crate::common::args::ModelArgs;
use crate::common::error::CliError;
use crate::common::model::Loaded;
use crate::common::progress::Bar;

/// Weights with the classifier that they make of the classes.
struct Model {
    asked: ModelArgs,
    loaded: Loaded,
    classifier: Classifier,
    wording: Wording,
    preprocessing: Preprocessing,
}

impl Model {
    /// The weights as they were asked for.
    fn name(&self) -> String {
        self.asked.asked().display().to_string()
    }
}

/// What all models are evaluated on.
struct Subject {
    name: String,
    /// The heading of reports.
    title: String,
    id: ImageSet,
    ood: Vec<(ImageSet, Option<OodKind>)>,
}

/// `clipn eval`.
pub fn run(args: &EvalArgs) -> Result<(), CliError> {
    let asked = args.models()?;
    let loaded = asked
        .iter()
        .map(Loaded::open)
        .collect::<Result<Vec<_>, _>>()?;
    let benchmark = benchmark::open(args)?;
    let class_names =
        benchmark.class_names(|list| ClassNames::named(list).ok().map(|c| c.names().to_vec()))?;
    if let Some(folder) = &args.output {
        files::make_folder(folder)?;
    }

    let bar = Bar::default();
    let grey = args.grey || benchmark.grey;
    let mut models = Vec::new();
    for (asked, loaded) in asked.into_iter().zip(loaded) {
        let (classifier, wording) = loaded.classifier(&class_names, &args.prompts, &bar)?;
        let preprocessing = Preprocessing {
            grey,
            ..loaded.preprocessing.clone()
        };
        models.push(Model {
            asked,
            loaded,
            classifier,
            wording,
            preprocessing,
        });
    }
    let options = Options {
        scores: args.scores.0.clone(),
        precision: args.score_precision,
        parallelism: args.run.parallelism(),
        strict: args.run.strict,
    };
    let subject = Subject {
        title: benchmark::heading(&benchmark),
        name: benchmark.name,
        id: benchmark.id,
        ood: benchmark
            .ood
            .into_iter()
            .map(|set| (set.set, set.kind))
            .collect(),
    };
    // Before the work: models that do not belong together have no mean.
    let told = |model: &Model| (model.name(), settings(args, &options, &subject, model));
    check_alike(&models.iter().map(told).collect::<Vec<_>>())?;
    let evaluations = evaluate_models(&models, &subject, &options, &bar)?;
    if let ([model], [evaluation]) = (&models[..], &evaluations[..]) {
        let record = record(args, &options, &subject, model, evaluation, &bar)?;
        if let Some(folder) = &args.output {
            write(args, folder, &subject, model, evaluation, &record)?;
        }
        tell_skipped(&record.results);
        return print(&record, args.format);
    }

    let mut runs = Vec::new();
    for (model, evaluation) in models.iter().zip(&evaluations) {
        let record = record(args, &options, &subject, model, evaluation, &bar)?;
        runs.push(Run {
            path: model.name(),
            record,
        });
    }
    let merged = merge(&runs)?;
    if let Some(folder) = &args.output {
        for (number, ((model, evaluation), run)) in
            models.iter().zip(&evaluations).zip(&runs).enumerate()
        {
            let folder = files::folder_of_run(folder, number);
            write(args, &folder, &subject, model, evaluation, &run.record)?;
        }
        write_merged(folder, &merged, &subject.title)?;
    }
    tell_skipped(&merged.results);
    print(&merged, args.format)
}

/// Evaluates models; those of one image tower together, so that their images are encoded once.
fn evaluate_models(
    models: &[Model],
    subject: &Subject,
    options: &Options,
    bar: &Bar,
) -> Result<Vec<Evaluation>, CliError> {
    // Alone, a model need not be told from others.
    let towers: Vec<Option<_>> = models
        .iter()
        .map(|model| (models.len() > 1).then(|| model.loaded.weights.image_tower_hash()))
        .collect();
    let alike = |a: usize, b: usize| {
        let config = |index: usize| models[index].loaded.weights.config();
        towers[a] == towers[b]
            && config(a).vision == config(b).vision
            && models[a].preprocessing == models[b].preprocessing
    };
    let mut evaluations: Vec<Option<Evaluation>> = models.iter().map(|_| None).collect();
    for first in 0..models.len() {
        if evaluations[first].is_some() {
            continue;
        }
        let group: Vec<usize> = (first..models.len())
            .filter(|&other| alike(first, other))
            .collect();
        let classifiers: Vec<Classifier> = group
            .iter()
            .map(|&i| models[i].classifier.clone())
            .collect();
        let tower = models[first].loaded.image_tower();
        let preprocessing = models[first].preprocessing.clone();
        let scored = evaluate_each(
            (&*tower, preprocessing),
            &classifiers,
            &subject.id,
            &subject.ood,
            options,
            bar,
        )?;
        for (index, evaluation) in group.into_iter().zip(scored) {
            evaluations[index] = Some(evaluation);
        }
        models[first].loaded.weights.release();
    }
    Ok(evaluations.into_iter().flatten().collect())
}

/// The results of a model, and what reproduces them.
fn record(
    args: &EvalArgs,
    options: &Options,
    subject: &Subject,
    model: &Model,
    evaluation: &Evaluation,
    bar: &Bar,
) -> Result<Record, CliError> {
    let results = Results::compute(evaluation, args.fpr_convention)?;
    let repeated = args
        .repeat()
        .map(|repeat| Spread::repeat(evaluation, args.fpr_convention, repeat, bar));
    Ok(Record {
        results,
        settings: settings(args, options, subject, model),
        spread: repeated.transpose()?,
    })
}

fn settings(args: &EvalArgs, options: &Options, subject: &Subject, model: &Model) -> Value {
    let Model {
        asked,
        loaded,
        classifier,
        wording,
        preprocessing,
    } = model;
    json!({
        "clipn": env!("CARGO_PKG_VERSION"),
        "benchmark": subject.name,
        "model": loaded.weights.config(),
        "pretrained": asked.asked(),
        "weights": loaded.path,
        "epoch": loaded.epoch,
        "no_prompts": loaded.weights.no_prompts(),
        "templates": loaded.templates(&args.prompts),
        "wording": wording,
        "logit_scale": classifier.scale(),
        "text_cosines": classifier.text_cosines(),
        "classes": classifier.len(),
        "score_precision": options.precision,
        "fpr_convention": args.fpr_convention,
        "preprocessing": preprocessing,
        "device": "cpu",
        "batch_size": options.parallelism.batch_size,
        "workers": options.parallelism.workers,
    })
}

fn write(
    args: &EvalArgs,
    folder: &Path,
    subject: &Subject,
    model: &Model,
    evaluation: &Evaluation,
    record: &Record,
) -> Result<(), CliError> {
    let page = ReportOptions {
        title: subject.title.clone(),
        settings: record.settings.clone(),
        precision: args.score_precision,
        fpr_convention: args.fpr_convention,
        spread: record.spread.clone(),
        ..ReportOptions::default()
    };
    files::write_evaluation(
        folder,
        record,
        evaluation,
        model.loaded.epoch.as_deref(),
        &page,
    )
}

fn tell_skipped(results: &Results) {
    let Some(first) = results.skipped.first() else {
        return;
    };
    eprintln!(
        "warning: {} images could not be read and are in no figure; the first: {}",
        results.skipped.len(),
        first.error
    );
}
