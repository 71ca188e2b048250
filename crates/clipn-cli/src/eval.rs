use std::io::Write;
use std::path::{Path, PathBuf};

use clipn::dataset::{
    Benchmark, ClassSource, IdDefinition, OodDefinition, OodKind, OpenedBenchmark, Selection, SetSource,
};
use clipn::evaluation::{
    Evaluation, Options, Recogniser, Results, evaluate, write_results_csv, write_results_json,
    write_scores_csv,
};
use clipn::image::Preprocessing;
use clipn::metrics::FprConvention;
use clipn::prompts::ClassNames;
use clipn::report::{ReportOptions, write_histograms, write_html};
use clipn::scores::by_name;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{EvalArgs, Format};
use crate::error::CliError;
use crate::loading::Loaded;
use crate::progress::Bar;
use crate::table::Table;

/// What `--format json` prints and `results.json` holds.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    results: Results,
    settings: Value,
}

/// `clipn eval`.
pub fn run(args: &EvalArgs) -> Result<(), CliError> {
    let loaded = Loaded::open(&args.model)?;
    let benchmark = open_benchmark(args)?;
    let class_names =
        benchmark.class_names(|list| ClassNames::named(list).ok().map(|c| c.names().to_vec()))?;
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder)
            .map_err(|source| CliError::OutputFolder { path: folder.clone(), source })?;
    }

    let bar = Bar::default();
    let (classifier, wording) = loaded.classifier(&class_names, &args.prompts, &bar)?;
    let tower = loaded.image_tower();
    let preprocessing = Preprocessing { grey: args.grey || benchmark.grey, ..loaded.preprocessing };
    let recogniser = Recogniser::new(&*tower, &classifier, preprocessing.clone())?;
    let options = Options {
        scores: args.scores.0.clone(),
        precision: args.score_precision,
        parallelism: args.run.parallelism(),
        strict: args.run.strict,
    };
    let ood: Vec<_> = benchmark.ood.into_iter().map(|set| (set.set, set.kind)).collect();
    let evaluation = evaluate(&recogniser, &benchmark.id, &ood, &options, &bar)?;
    let results = Results::compute(&evaluation, args.fpr_convention)?;

    let settings = json!({
        "clipn": env!("CARGO_PKG_VERSION"),
        "benchmark": benchmark.name,
        "model": loaded.weights.config(),
        "pretrained": args.model.asked(),
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
    });
    let report = Report { results, settings };
    if let Some(folder) = &args.output {
        let page = ReportOptions {
            title: benchmark.name,
            settings: report.settings.clone(),
            precision: options.precision,
            fpr_convention: args.fpr_convention,
            ..ReportOptions::default()
        };
        write_files(folder, &report, &evaluation, loaded.epoch.as_deref(), &page)?;
    }
    tell_skipped(&report.results);
    print(args, &report)
}

/// The benchmark that the arguments name or spell out.
fn open_benchmark(args: &EvalArgs) -> Result<OpenedBenchmark, CliError> {
    let mut benchmark = match (&args.benchmark, &args.id) {
        (Some(name), _) => Benchmark::load(name)?,
        (None, Some(id)) => spelled_out(id, &args.ood)?,
        (None, None) => return Err(CliError::Usage("give --benchmark, or --id and --ood".to_owned())),
    };
    if let Some(spec) = &args.classes {
        benchmark.id.classes = ClassSource::Inline(ClassNames::resolve(spec)?.names().to_vec());
    }
    Ok(benchmark.open(args.data_root.as_deref().unwrap_or(Path::new("")))?)
}

fn spelled_out(id: &str, ood: &[String]) -> Result<Benchmark, CliError> {
    let (id_name, id_path) = named_path(id);
    let ood = ood.iter().map(|spec| {
        let (name, path) = named_path(spec);
        OodDefinition { name, kind: None, source: source(path) }
    });
    let ood: Vec<OodDefinition> = ood.collect();
    if let Some((index, set)) =
        ood.iter().enumerate().find(|(i, set)| ood[..*i].iter().any(|s| s.name == set.name))
    {
        return Err(CliError::Usage(format!(
            "--ood number {} is called `{}` like one before it; give each its own NAME=DIR",
            index + 1,
            set.name
        )));
    }
    Ok(Benchmark {
        name: "command line".to_owned(),
        description: String::new(),
        grey: false,
        id: IdDefinition { name: id_name, source: source(id_path), classes: ClassSource::FolderNames },
        ood,
    })
}

/// `NAME=DIR`, or a path whose last part is the name.
fn named_path(spec: &str) -> (String, PathBuf) {
    match spec.split_once('=') {
        Some((name, path)) if !name.is_empty() && !name.contains(['/', '\\']) => {
            (name.to_owned(), path.into())
        }
        _ => {
            let path = PathBuf::from(spec);
            let name = path.file_stem().map_or_else(|| spec.to_owned(), |n| n.to_string_lossy().into_owned());
            (name, path)
        }
    }
}

/// A file is an image list with paths relative to its folder, anything else a folder of images.
fn source(path: PathBuf) -> SetSource {
    if path.is_file() {
        let root = path.parent().unwrap_or(Path::new("")).to_owned();
        SetSource::List { path, root }
    } else {
        SetSource::Folder { path, selection: Selection::default() }
    }
}

fn write_files(
    folder: &Path,
    report: &Report,
    evaluation: &Evaluation,
    epoch: Option<&str>,
    page: &ReportOptions,
) -> Result<(), CliError> {
    write_results_json(&folder.join("results.json"), report)?;
    write_results_csv(&folder.join("results.csv"), &report.results, epoch)?;
    write_scores_csv(&folder.join("scores.csv"), evaluation)?;
    #[cfg(feature = "parquet")]
    clipn::evaluation::write_scores_parquet(&folder.join("scores.parquet"), evaluation)?;
    write_html(&folder.join("report.html"), evaluation, &report.results, page)?;
    write_histograms(&folder.join("histograms.svg"), evaluation, page.precision)?;
    eprintln!(
        "wrote results.json, results.csv, scores.csv, histograms.svg and report.html to {}",
        folder.display()
    );
    Ok(())
}

fn tell_skipped(results: &Results) {
    let Some(first) = results.skipped.first() else { return };
    eprintln!(
        "warning: {} images could not be read and are in no figure; the first: {}",
        results.skipped.len(),
        first.error
    );
}

fn print(args: &EvalArgs, report: &Report) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = match args.format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)
        }
        Format::Csv => return print_csv(out, &report.results),
        Format::Table => print_tables(&mut out, args, report),
    };
    written.and_then(|()| out.flush()).map_err(CliError::Output)
}

fn print_csv(out: impl Write, results: &Results) -> Result<(), CliError> {
    let mut csv = csv::Writer::from_writer(out);
    for result in &results.results {
        csv.serialize(result)?;
    }
    csv.flush().map_err(CliError::Output)
}

fn print_tables(out: &mut impl Write, args: &EvalArgs, report: &Report) -> std::io::Result<()> {
    let classes = report.settings["classes"].as_u64().unwrap_or_default();
    write_tables(out, &report.results, classes, args.fpr_convention)
}

/// Writes what the in-distribution set came to and a table of scores × out-of-distribution sets.
pub fn write_tables(
    out: &mut impl Write,
    results: &Results,
    classes: u64,
    convention: FprConvention,
) -> std::io::Result<()> {
    write!(out, "{}: {} images, {classes} classes", results.id.name, results.id.n)?;
    match results.accuracy {
        Some(accuracy) => writeln!(out, ", accuracy {:.2} %", 100.0 * accuracy)?,
        None => writeln!(out)?,
    }
    writeln!(out, "AUROC / FPR95 in %, FPR95 by the convention `{convention}`\n")?;

    let mut sets: Vec<(&str, Option<OodKind>, usize)> = Vec::new();
    let mut scores: Vec<&str> = Vec::new();
    for r in &results.results {
        if sets.last().is_none_or(|last| last.0 != r.ood) {
            sets.push((&r.ood, r.kind, r.n_ood));
        }
        if !scores.contains(&r.score) {
            scores.push(r.score);
        }
    }
    let kinds: Vec<Option<OodKind>> = [Some(OodKind::Near), Some(OodKind::Far), None]
        .into_iter()
        .filter(|kind| results.averages.iter().any(|a| a.kind == *kind))
        .collect();
    let mut heading = vec!["score".to_owned()];
    heading.extend(sets.iter().map(|(name, kind, _)| match kind {
        Some(kind) => format!("{name} ({kind})"),
        None => (*name).to_owned(),
    }));
    heading.extend(kinds.iter().map(|kind| match kind {
        Some(kind) => format!("mean of {kind}"),
        None => "mean".to_owned(),
    }));
    let mut table = Table::new(heading, 1);
    let cell = |auroc: f64, fpr95: f64| format!("{:.2} / {:.2}", 100.0 * auroc, 100.0 * fpr95);
    for score in scores {
        let mut row = vec![by_name(score).map_or(score, |s| s.title()).to_owned()];
        let of_score = results.results.iter().filter(|r| r.score == score);
        row.extend(of_score.map(|r| cell(r.auroc, r.fpr95)));
        for kind in &kinds {
            let average = results.averages.iter().find(|a| a.kind == *kind && a.score == score);
            row.extend(average.map(|a| cell(a.auroc, a.fpr95)));
        }
        table.row(row);
    }
    let mut counts = vec!["images".to_owned()];
    counts.extend(sets.iter().map(|(_, _, n)| n.to_string()));
    table.row(counts);
    table.write(out)
}
