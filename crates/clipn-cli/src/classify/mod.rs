use std::io::Write;
use std::path::{Path, PathBuf};

use clipn::dataset::ImageFolder;
use clipn::evaluation::{EvaluationError, Recogniser};
use clipn::image::{DecodeOptions, ImageError, Preprocessing};
use clipn::progress::Progress;
use clipn::prompts::ClassNames;
use clipn::scores::{Decision, LogitsRow, Rule, q, softmax_yes, top_k};
use serde::Serialize;

use crate::args::{ClassifyArgs, Format};
use crate::error::CliError;
use crate::loading::Loaded;
use crate::progress::Bar;

/// How many classes are told of each picture.
const TOLD: usize = 3;

/// What a picture of no class is called.
const UNKNOWN: &str = "unknown";

/// One of a picture's best classes.
#[derive(Debug, Serialize)]
struct Candidate {
    label: String,
    /// Share of "yes" among the classes.
    p: f32,
    /// "Yes" against "no" for this class alone.
    q: f32,
}

/// One picture.
#[derive(Debug, Serialize)]
struct Row {
    path: PathBuf,
    label: Option<String>,
    score: Option<f64>,
    threshold: Option<f64>,
    top: Vec<Candidate>,
    error: Option<String>,
}

/// `clipn classify`.
pub fn run(args: &ClassifyArgs) -> Result<(), CliError> {
    let rule = rule(args)?;
    let loaded = Loaded::open(&args.model)?;
    let names = ClassNames::resolve(&args.classes)?;
    let files = find_pictures(&args.paths)?;

    let bar = Bar::default();
    let (classifier, _) = loaded.classifier(names.names(), &args.prompts, &bar)?;
    let tower = loaded.image_tower();
    let decode = if args.faithful_pixels { DecodeOptions::faithful() } else { DecodeOptions::for_users() };
    let preprocessing = Preprocessing { decode, ..loaded.preprocessing };
    let recogniser = Recogniser::new(&*tower, &classifier, preprocessing)?;

    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let look = |path: &Path, logits: Result<LogitsRow<'_, f32>, ImageError>| match logits {
        Ok(logits) => Ok(describe(path, logits, &rule, names.names())),
        Err(error) => Err((path.to_owned(), error)),
    };
    let mut printer = Printer::new(args.format)?;
    let mut unreadable = 0;
    let mut done = 0;
    bar.begin("classifying", files.len() as u64);
    let sink = |row: Result<Row, (PathBuf, ImageError)>| {
        let row = match row {
            Ok(row) => row,
            Err((_, error)) if args.run.strict => return Err(error.into()),
            Err((path, error)) => {
                unreadable += 1;
                let error = Some(error.to_string());
                Row { path, label: None, score: None, threshold: None, top: Vec::new(), error }
            }
        };
        done += 1;
        printer.row(&row)
    };
    let outcome = recogniser.for_each(&files, args.run.parallelism(), &bar, look, sink);
    bar.end();
    printer.finish()?;
    match outcome {
        Err(CliError::Evaluation(EvaluationError::Cancelled { total, .. })) => {
            Err(CliError::Interrupted { done, total })
        }
        Ok(()) if unreadable > 0 => {
            eprintln!("warning: {unreadable} of {} pictures could not be read", files.len());
            Ok(())
        }
        other => other,
    }
}

fn rule(args: &ClassifyArgs) -> Result<Rule, CliError> {
    match args.threshold {
        Some(threshold) if threshold.is_nan() => {
            Err(CliError::Usage("--threshold is not a number".to_owned()))
        }
        Some(threshold) => Ok(Rule::Threshold { score: args.score, threshold }),
        None => Rule::default_for(args.score).ok_or_else(|| {
            CliError::Usage(format!(
                "the score {} has no threshold of its own; give --threshold, or use --score atd or ctw",
                args.score.name()
            ))
        }),
    }
}

/// Files as they are named, and every picture below a folder.
fn find_pictures(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let set = ImageFolder::read(path)?.unlabelled("pictures")?;
            files.extend(set.samples.into_iter().map(|sample| sample.path));
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn describe(path: &Path, logits: LogitsRow<'_, f32>, rule: &Rule, names: &[String]) -> Row {
    let Decision { label, score, threshold } = rule.decide(logits);
    let q = q(logits);
    let candidate = |(class, p): (usize, f32)| Candidate { label: names[class].clone(), p, q: q[class] };
    Row {
        path: path.to_owned(),
        label: Some(label.map_or(UNKNOWN, |class| &names[class]).to_owned()),
        score: Some(score),
        threshold: Some(threshold),
        top: top_k(&softmax_yes(logits), TOLD).into_iter().map(candidate).collect(),
        error: None,
    }
}

/// Writes rows as they come.
enum Printer {
    Table,
    Json,
    Csv(Box<csv::Writer<std::io::Stdout>>),
}

impl Printer {
    fn new(format: Format) -> Result<Self, CliError> {
        Ok(match format {
            Format::Table => Self::Table,
            Format::Json => Self::Json,
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(std::io::stdout());
                let mut heading: Vec<String> =
                    ["path", "label", "score", "threshold"].map(String::from).into();
                for rank in 1..=TOLD {
                    heading.extend(["class", "p", "q"].map(|part| format!("{part}{rank}")));
                }
                heading.push("error".to_owned());
                csv.write_record(heading)?;
                Self::Csv(Box::new(csv))
            }
        })
    }

    fn row(&mut self, row: &Row) -> Result<(), CliError> {
        match self {
            Self::Table => writeln!(std::io::stdout(), "{}", line(row)).map_err(CliError::Output),
            Self::Json => {
                let json = serde_json::to_string(row)?;
                writeln!(std::io::stdout(), "{json}").map_err(CliError::Output)
            }
            Self::Csv(csv) => Ok(csv.write_record(record(row))?),
        }
    }

    fn finish(&mut self) -> Result<(), CliError> {
        match self {
            Self::Csv(csv) => csv.flush().map_err(CliError::Output),
            Self::Table | Self::Json => Ok(()),
        }
    }
}

/// A picture in one line: `dog.jpg: dog  atd 0.912 ≥ 0.320  dog p 0.93 q 0.98, cat p 0.05 q 0.61`.
fn line(row: &Row) -> String {
    let path = row.path.display();
    let (Some(label), Some(score), Some(threshold)) = (&row.label, row.score, row.threshold) else {
        return format!("{path}: error: {}", row.error.as_deref().unwrap_or_default());
    };
    let sign = if score >= threshold { '≥' } else { '<' };
    let top: Vec<String> = row.top.iter().map(|c| format!("{} p {:.3} q {:.3}", c.label, c.p, c.q)).collect();
    format!("{path}: {label}  (score {score:.4} {sign} {threshold:.4}; {})", top.join(", "))
}

fn record(row: &Row) -> Vec<String> {
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    let mut record = vec![
        row.path.display().to_string(),
        row.label.clone().unwrap_or_default(),
        number(row.score),
        number(row.threshold),
    ];
    for rank in 0..TOLD {
        match row.top.get(rank) {
            Some(c) => record.extend([c.label.clone(), c.p.to_string(), c.q.to_string()]),
            None => record.extend(std::iter::repeat_n(String::new(), 3)),
        }
    }
    record.push(row.error.clone().unwrap_or_default());
    record
}
