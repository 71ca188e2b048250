//! `clipn eval`: evaluates one or several models on a benchmark.

mod args;
mod benchmark;
mod columns;
mod documents;
mod explain;
mod features;
mod files;
mod model;
mod overlaps;
mod streams;
mod tables;
mod tracking;
mod train;

pub(crate) use args::EvalArgs;
use args::ScoreList;
pub(crate) use benchmark::{is_built_in, load as load_benchmark, report_matching};
pub(crate) use files::{NewResults, lock_directory, refuse_existing, with_runs, write_merged};
pub(crate) use tables::{print, write_tables};

use std::path::Path;
use std::sync::Arc;

use clipn::classifier::Classifier;
use clipn::count::count;
use clipn::dataset::{ImageSet, OodSet};
use clipn::evaluation::{
    Evaluation, EvaluationOptions, EvaluationRecord, EvaluationRun, Evaluator, ImageEncoder,
    NotFiniteScore, Results, ScorePrecision, Spread, check_comparable, merge,
};
use clipn::metrics::CoarseCause;
use clipn::negatives::{Negatives, Selection};
use clipn::report::ReportOptions;
use clipn::training::Reduction;
use serde_json::{Value, json};

use model::{EvaluatedModel, OpenedModel};

use crate::common::classes::{self, ClassesToEncode};
use crate::common::coarse::{CoarseEntry, warn_of_coarse};
use crate::common::distributed::{
    EvaluationRanks, Ranks, describe_program, describe_set, rank_0_first,
};
use crate::common::error::CliError;
use crate::common::messages::{note_of_skipped, warning};
use crate::common::progress::Bar;
use crate::common::scores::available_scores;

/// The data that all models are evaluated on.
struct EvaluationData {
    name: String,
    /// Heading of reports.
    title: String,
    id: ImageSet,
    shifted: Vec<ImageSet>,
    ood: Vec<OodSet>,
}

/// `clipn eval`.
pub(crate) fn run(args: &EvalArgs) -> Result<(), CliError> {
    args.distribution
        .run(Reduction::Shares, |ranks| run_on(args, ranks))
}

/// Evaluates on this rank and all others. Rank 0 prints and writes the results.
fn run_on(args: &EvalArgs, ranks: &Ranks) -> Result<(), CliError> {
    let is_first = ranks.rank() == 0;
    if let Some(directory) = args.output.as_ref().filter(|_| is_first && !args.force) {
        refuse_existing(directory)?;
    }
    let device = args.run.device.open()?;
    if args.features.is_some() {
        // Scoring features takes seconds: rank 0 does it alone.
        return if is_first {
            features::run(args, &device)
        } else {
            Ok(())
        };
    }
    args.run.report(&device);
    let opened = rank_0_first(ranks, || model::open(args, &device))?;
    let bundle_classes = opened.first().and_then(OpenedModel::class_names);
    let benchmark = benchmark::open(args, bundle_classes)?;
    let matched = benchmark.match_classes(classes::built_in)?;
    report_matching(&matched);
    benchmark::warn_of_incomplete(&benchmark);
    let allow_duplicates = args.prompts.allow_duplicates || is_built_in(&benchmark);
    let plan = args.train.plan(&args.scores)?;
    let train = plan.map(|_| args.train.open(args, &matched)).transpose()?;
    if is_first {
        overlaps::warn_of_shared_images(&benchmark, train.as_ref());
    }
    let class_names = ClassesToEncode {
        names: matched.names,
        allow_duplicates,
    };
    let output = args.output.as_ref().filter(|_| is_first);
    let _lock = output
        .map(|directory| lock_directory(directory, args.force))
        .transpose()?;

    let bar = Bar::default();
    let gray = args.gray || benchmark.gray;
    let mut models = rank_0_first(ranks, || {
        let mut models = Vec::new();
        for model in opened {
            models.push(model.with_classes(&class_names, args, gray, &bar)?);
        }
        Ok(models)
    })?;
    if let (Some(plan), Some(train)) = (plan, &train) {
        for model in &mut models {
            train::fit_model(model, (args, &device), train, plan, &bar)?;
        }
    }
    // Fitted scores do not depend on the negatives, which are drawn by seed.
    let models = rank_0_first(ranks, || {
        let per_seed = models.iter().map(|model| model.per_seed(args, &bar));
        Ok(per_seed.collect::<Result<Vec<_>, CliError>>()?.concat())
    })?;
    for model in &models {
        streams::check(args, &model.classifier, true)?;
        if !args.seeds.is_empty() && model.classifier.negatives().is_none() {
            return Err(CliError::usage_with_hint(
                "--seeds without negatives: nothing is drawn",
                "give some with --negatives, such as --negatives wordnet",
            ));
        }
    }
    let scores = match &args.scores.0 {
        Some(scores) => scores.clone(),
        None => {
            let classifiers: Vec<_> = models.iter().map(|model| &model.classifier).collect();
            available_scores(&classifiers)
        }
    };
    if !args.seeds.is_empty() && !scores.iter().any(|score| score.uses_negatives()) {
        return Err(CliError::usage_with_hint(
            "--seeds has no effect: no score of --scores reads negatives",
            "evaluate a score that does, such as neglabel",
        ));
    }
    let options = EvaluationOptions::default()
        .with_scores(scores)
        .with_precision(args.score_precision)
        .with_parallelism(args.run.parallelism(&device))
        .with_strict(args.run.strict)
        .with_features(!args.stream.stream.is_empty());
    let data = EvaluationData {
        title: benchmark::heading(&benchmark),
        name: benchmark.name,
        id: benchmark.id,
        shifted: benchmark.shifted,
        ood: benchmark.ood,
    };
    // Before the work: models that are not comparable have no mean.
    let named_settings =
        |model: &EvaluatedModel| (model.name(), settings(args, &options, &data, model));
    check_comparable(&models.iter().map(named_settings).collect::<Vec<_>>())?;
    EvaluationRanks(Arc::clone(ranks)).check_same(|| described(args, &models, &data, &options))?;
    let mut evaluations = evaluate_models(args, &models, &data, &options, &bar, ranks)?;
    if !is_first {
        return Ok(());
    }
    leave_out_not_finite(args, &mut evaluations);
    if let ([model], [evaluation]) = (&models[..], &evaluations[..]) {
        let mut record = record(args, &options, &data, model, evaluation, &bar)?;
        let streams = streams::run(args, Some(model), &model.classifier, evaluation, &bar)?;
        record.streams = streams.as_ref().map(|streams| streams.record.clone());
        if let Some(directory) = &args.output {
            let written = NewResults::create(directory)?;
            if let Some(streams) = &streams {
                streams::write_scores(written.path(), evaluation, streams)?;
            }
            write(
                args,
                written.path(),
                &data,
                model,
                evaluation,
                &record,
                &bar,
            )?;
            written.commit()?;
        }
        tracking::track(&args.tracking, &model.name(), &record)?;
        model.report_decision(evaluation, args.score_precision);
        warn_of_skipped(&record.results);
        warn_of_ties(args, std::slice::from_ref(&record));
        return print(&record, args.format);
    }

    let mut runs = Vec::new();
    for (model, evaluation) in models.iter().zip(&evaluations) {
        let record = record(args, &options, &data, model, evaluation, &bar)?;
        tracking::track(&args.tracking, &model.name(), &record)?;
        runs.push(EvaluationRun {
            path: model.name(),
            record,
        });
    }
    let merged = merge(&runs)?;
    if let Some(directory) = &args.output {
        let written = NewResults::create(directory)?;
        for (index, ((model, evaluation), run)) in
            models.iter().zip(&evaluations).zip(&runs).enumerate()
        {
            let run_path = written.run_path(index);
            let record = &run.record;
            write(args, &run_path, &data, model, evaluation, record, &bar)?;
        }
        write_merged(written.path(), &merged, &data.title)?;
        written.commit()?;
    }
    warn_of_skipped(&merged.results);
    let records: Vec<EvaluationRecord> = runs.into_iter().map(|run| run.record).collect();
    warn_of_ties(args, &records);
    print(&merged, args.format)
}

/// Leaves out scores that are not finite for an image, unless they were named: the others can be evaluated.
fn leave_out_not_finite(args: &EvalArgs, evaluations: &mut [Evaluation]) {
    if args.scores.0.is_some() {
        return;
    }
    let found: Vec<NotFiniteScore> = evaluations
        .iter()
        .flat_map(Evaluation::not_finite)
        .collect();
    for score in &found {
        warning(format_args!("left out {score}"));
    }
    let removed: Vec<_> = found.iter().map(|found| found.score).collect();
    for evaluation in evaluations {
        evaluation.remove_scores(&removed);
    }
}

/// Describes what the figures depend on, to compare ranks.
fn described(
    args: &EvalArgs,
    models: &[EvaluatedModel],
    data: &EvaluationData,
    options: &EvaluationOptions,
) -> Result<Vec<(String, String)>, CliError> {
    let mut described = describe_program().to_vec();
    let mut add = |what: &str, value: String| described.push((what.to_owned(), value));
    let scores = options.scores.iter().flatten().map(|score| score.name());
    add("scores", scores.collect::<Vec<_>>().join(","));
    add("score precision", args.score_precision.to_string());
    add("strict", options.strict.to_string());
    add("models", models.len().to_string());
    for model in models {
        add("image tower", model.image_tower_hash());
        add("classifier", model.classifier.hash());
        add(
            "preprocessing",
            serde_json::to_string(&model.preprocessing)?,
        );
        add("precision", model.describe()["precision"].to_string());
    }
    let shifted = data.shifted.iter();
    let ood = data.ood.iter().map(|ood| &ood.set);
    let sets = std::iter::once(&data.id).chain(shifted).chain(ood);
    described.extend(sets.map(describe_set));
    Ok(described)
}

/// Evaluates models. Models with equal image towers are evaluated together, so that their images
/// are encoded once.
fn evaluate_models(
    args: &EvalArgs,
    models: &[EvaluatedModel],
    data: &EvaluationData,
    options: &EvaluationOptions,
    bar: &Bar,
    ranks: &Ranks,
) -> Result<Vec<Evaluation>, CliError> {
    let peers = EvaluationRanks(Arc::clone(ranks));
    // A single model needs no hash.
    let towers: Vec<Option<_>> = models
        .iter()
        .map(|model| (models.len() > 1).then(|| model.image_tower_hash()))
        .collect();
    let share_tower = |a: usize, b: usize| {
        let config = |index: usize| models[index].config();
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
            .filter(|&other| share_tower(first, other))
            .collect();
        let classifiers: Vec<Classifier> = group
            .iter()
            .map(|&i| models[i].classifier.clone())
            .collect();
        let model = &models[first];
        let scored = model.with_tower(|tower| {
            let cache = args.cache.open(
                || model.image_tower_hash(),
                model.config(),
                &model.preprocessing,
                tower.precision(),
            )?;
            let encoder = ImageEncoder {
                tower,
                preprocessing: &model.preprocessing,
            };
            let scored = peers
                .share(Evaluator::new(&data.id, &data.ood))
                .with_shifted(&data.shifted)
                .with_options(options.clone())
                .with_progress(bar)
                .with_feature_cache(cache.as_ref())
                .evaluate_classifiers(encoder, &classifiers);
            args.cache.finish(cache.as_ref())?;
            Ok::<_, CliError>(scored?)
        })??;
        for (index, evaluation) in group.into_iter().zip(scored) {
            evaluations[index] = Some(evaluation);
        }
    }
    Ok(evaluations.into_iter().flatten().collect())
}

/// The results of a model, with the settings that reproduce them.
fn record(
    args: &EvalArgs,
    options: &EvaluationOptions,
    data: &EvaluationData,
    model: &EvaluatedModel,
    evaluation: &Evaluation,
    bar: &Bar,
) -> Result<EvaluationRecord, CliError> {
    let results = Results::compute(evaluation, args.fpr())?;
    let spread = args
        .repeat()
        .map(|repeat| Spread::repeat_with_progress(evaluation, args.fpr(), repeat, bar));
    Ok(EvaluationRecord {
        results,
        settings: settings(args, options, data, model),
        spread: spread.transpose()?,
        streams: None,
    })
}

fn settings(
    args: &EvalArgs,
    options: &EvaluationOptions,
    data: &EvaluationData,
    model: &EvaluatedModel,
) -> Value {
    let classifier = &model.classifier;
    let mut settings = json!({
        "clipn": env!("CARGO_PKG_VERSION"),
        "benchmark": data.name,
        "wording": model.prompts.variant(),
        "logit_scale": classifier.scale(),
        "text_cosines": classifier.text_cosines(),
        "has_no": classifier.has_no(),
        "score_precision": options.precision,
        "fpr_convention": args.fpr_convention,
        "tpr": args.fpr().tprs(),
        "preprocessing": model.preprocessing,
        "preprocess": model.preprocessing.resize,
        "batch_size": options.parallelism.batch_size,
        "workers": options.parallelism.workers,
    });
    describe_texts(classifier, &mut settings);
    args.train.describe(classifier.fit(), &mut settings);
    if let (Some(settings), Value::Object(model)) = (settings.as_object_mut(), model.describe()) {
        settings.extend(model);
    }
    settings
}

/// Notes the classes, the negatives, and the factor of the "no" logits if it is not the published 1.
fn describe_texts(classifier: &Classifier, settings: &mut Value) {
    settings["classes"] = json!(classifier.len());
    settings["class_names"] = json!(classifier.class_names());
    settings["negatives"] = json!(classifier.negatives().map(describe_negatives));
    if classifier.no_scale() != 1.0 {
        settings["no_scale"] = json!(classifier.no_scale());
    }
}

/// Describes negatives. The words of a user's list are not known otherwise; they are sorted, since a seed
/// orders them in groups.
fn describe_negatives(negatives: &Negatives) -> Value {
    let origin = negatives.origin();
    let mut described = json!({
        "count": negatives.len(),
        "groups": negatives.groups(),
        "origin": origin,
    });
    if origin.selection == Selection::UserList {
        let mut words: Vec<&String> = negatives.words().iter().collect();
        words.sort_unstable();
        described["words"] = json!(words);
    }
    described
}

fn write(
    args: &EvalArgs,
    directory: &Path,
    data: &EvaluationData,
    model: &EvaluatedModel,
    evaluation: &Evaluation,
    record: &EvaluationRecord,
    bar: &Bar,
) -> Result<(), CliError> {
    let mut page = ReportOptions::default()
        .with_title(&data.title)
        .with_settings(record.settings.clone())
        .with_precision(args.score_precision)
        .with_fpr_convention(args.fpr_convention)
        .with_spread(record.spread.clone())
        .with_streams(record.streams.clone())
        .with_preprocessing(model.preprocessing.clone());
    page = model.decide(page, evaluation);
    if args.explain {
        let evidence = explain::evidence(model, evaluation, &page, bar)?;
        page = page.with_evidence(evidence);
    }
    files::write_evaluation(directory, record, evaluation, model.epoch(), &page)
}

/// Warns of scores with few distinct values in any of the runs.
fn warn_of_ties(args: &EvalArgs, records: &[EvaluationRecord]) {
    let results = records.iter().flat_map(|record| &record.results.results);
    let entries = results.filter_map(|r| {
        Some(CoarseEntry {
            score: r.score,
            ood: &r.ood,
            coarse: r.coarse?,
        })
    });
    let advice: fn(CoarseCause) -> Option<&'static str> = match args.score_precision {
        ScorePrecision::F64 => |_| None,
        _ => |_| Some("--score-precision f64 separates what saturates in f32"),
    };
    warn_of_coarse(entries, advice);
}

fn warn_of_skipped(results: &Results) {
    for (set, skipped) in &results.skipped_files {
        note_of_skipped(&format!(" of {set}"), skipped);
    }
    let Some(first) = results.skipped.first() else {
        return;
    };
    warning(format_args!(
        "skipped {} that could not be read; the first: {}",
        count(results.skipped.len(), "image"),
        first.error
    ));
}
