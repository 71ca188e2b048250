//! `clipn classify`: pictures from anywhere, a row each, in the order in which they come, in memory that does not grow with
//! their number.

mod args;
mod fdr;
mod outputs;
mod rows;
mod settings;
mod share;
mod sources;

pub use args::ClassifyArgs;

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clipn::bundle::ModelIdentity;
use clipn::dataset::NamedPicture;
use clipn::detector::Detector;
use clipn::evaluation::{EvaluationError, Recogniser};
use clipn::image::ImageError;
use clipn::progress::Progress;
use clipn::prompts::TemplateSet;
use clipn::scores::LogitsRow;
use serde_json::{Map, Value, json};

use crate::common::detector::Opened;
use crate::common::error::CliError;
use crate::common::progress::Bar;
use outputs::{FileOutput, Printer, Target, print_tally};
use rows::{Row, Tally};
use settings::Settings;
use share::Share;
use sources::Pictures;

/// `clipn classify`.
pub fn run(args: &ClassifyArgs) -> Result<(), CliError> {
    args.check()?;
    let share = Share::of(args)?;
    let output = args
        .output
        .as_deref()
        .map(|path| Target::new(share.name(path), args.output_format));
    let output = output.transpose()?;
    if let Some(target) = &output
        && !(args.resume || args.force)
    {
        target.refuse_existing()?;
    }
    let mut pictures = Pictures::open(args, share)?;
    let bar = Bar::default();
    let opened = args.detector.open(&bar)?;
    if args.fdr.is_some() && opened.detector.calibration().is_none() {
        let message = "--fdr needs p-values: give a --bundle that `clipn calibrate` has seen, and no other rule";
        return Err(CliError::Usage(message.to_owned()));
    }
    let mut run = Run {
        args,
        bar: &bar,
        tally: Tally::default(),
        total: pictures.total(),
    };
    let Some(target) = output else {
        return run.print(&opened.detector, pictures);
    };
    let settings = describe(args, share, &opened)?;
    if args.resume && target.is_converted() {
        settings.check(&target)?;
        println!(
            "{} is complete: nothing is left to do",
            target.path.display()
        );
        return Ok(());
    }
    let file = if args.resume && target.exists() {
        run.skip_done(target.clone(), &settings, &mut pictures)?
    } else {
        FileOutput::begin(target.clone(), &settings, run.top())?
    };
    run.write(&opened.detector, pictures, file, &target)
}

/// One call of the command.
struct Run<'a> {
    args: &'a ClassifyArgs,
    bar: &'a Bar,
    tally: Tally,
    total: Option<u64>,
}

impl Run<'_> {
    fn top(&self) -> usize {
        usize::from(self.args.top)
    }

    /// Rows to standard output.
    fn print(&mut self, detector: &Detector, pictures: Pictures) -> Result<(), CliError> {
        let mut printer = Printer::new(self.args.format, self.top(), self.args.explain)?;
        let outcome = self.classify(detector, pictures, |row| printer.row(row));
        printer.finish()?;
        match outcome? {
            End::All => Ok(()),
            End::Interrupted => Err(CliError::Interrupted {
                done: self.tally.pictures,
                total: self.total,
            }),
        }
    }

    /// Rows to a file, and their counts to standard output.
    fn write(
        &mut self,
        detector: &Detector,
        pictures: Pictures,
        mut file: FileOutput,
        target: &Target,
    ) -> Result<(), CliError> {
        let before = self.tally.pictures;
        let outcome = self.classify(detector, pictures, |row| file.row(row));
        let ended = match outcome {
            Ok(End::All) => return file.finish().and_then(|()| self.tell(target, before)),
            Ok(End::Interrupted) => Err(CliError::ClassifyInterrupted {
                done: self.tally.pictures,
                total: self.total,
                path: target.rows.clone(),
            }),
            Err(error) => Err(error),
        };
        file.flush()?;
        ended
    }

    fn tell(&self, target: &Target, before: u64) -> Result<(), CliError> {
        print_tally(
            self.args.format,
            &self.tally,
            before,
            &target.path.display().to_string(),
        )
    }

    /// Goes on with an output: passes over the pictures whose rows are in it, which must be the first ones.
    fn skip_done(
        &mut self,
        target: Target,
        settings: &Settings,
        pictures: &mut Pictures,
    ) -> Result<FileOutput, CliError> {
        let path = target.rows.clone();
        let cut_short = pictures.cut_short();
        let tally = &mut self.tally;
        self.bar.begin_uncounted("passing over what is done");
        let file = FileOutput::resume(target, settings, usize::from(self.args.top), |done| {
            let row = tally.pictures + 1;
            let differs = |now: &str| {
                CliError::Usage(format!(
                    "--resume: row {row} of {} is that of {}, but {now}: the pictures are not those that it was begun \
                     with; use --force to begin anew",
                    path.display(),
                    done.name
                ))
            };
            match pictures.next() {
                Some(picture) if picture.name == done.name => {}
                Some(picture) => {
                    return Err(differs(&format!("the picture is now {}", picture.name)));
                }
                None if cut_short.load(Ordering::Relaxed) => {
                    return Err(CliError::Interrupted {
                        done: tally.pictures,
                        total: None,
                    });
                }
                None => return Err(differs("there is no such picture any more")),
            }
            tally.count(done.fate);
            self.bar.advance(1);
            Ok(())
        });
        self.bar.end();
        file
    }

    /// Gives every picture's row to `write`, in order.
    fn classify(
        &mut self,
        detector: &Detector,
        pictures: Pictures,
        mut write: impl FnMut(&Row) -> Result<(), CliError>,
    ) -> Result<End, CliError> {
        let detector = detector.clone().with_top(self.top());
        let preprocessing = detector.preprocessing().clone();
        let recogniser = Recogniser::new(detector.tower(), detector.classifier(), preprocessing)?;
        let (strict, fdr) = (self.args.run.strict, self.args.fdr);
        let look =
            |picture: &NamedPicture, logits: Result<LogitsRow<'_, f32>, ImageError>| match logits {
                Ok(logits) => Ok(Row::of(picture.name.clone(), detector.decide(logits))),
                Err(error) => Err((picture.name.clone(), error)),
            };
        let mut held = Vec::new();
        let tally = &mut self.tally;
        let before = tally.pictures;
        let sink = |row: Result<Row, (String, ImageError)>| {
            let row = match row {
                Ok(row) => row,
                Err((_, error)) if strict => return Err(CliError::Image(error)),
                Err((name, error)) => Row::failed(name, &error.to_string()),
            };
            if fdr.is_some() {
                held.push(row);
                return Ok(());
            }
            tally.count(row.fate());
            write(&row)
        };
        match self.total {
            Some(total) => {
                self.bar.begin("classifying", total);
                self.bar.advance(before);
            }
            None => self.bar.begin_uncounted("classifying"),
        }
        let cut_short = pictures.cut_short();
        let outcome =
            recogniser.for_each(pictures, self.args.run.parallelism(), self.bar, look, sink);
        self.bar.end();
        match outcome {
            Err(CliError::Evaluation(EvaluationError::Cancelled { .. })) => {
                return Ok(End::Interrupted);
            }
            Ok(()) if cut_short.load(Ordering::Relaxed) => return Ok(End::Interrupted),
            other => other?,
        }
        if let Some(q) = fdr {
            fdr::decide(&mut held, q);
            for row in &held {
                self.tally.count(row.fate());
                write(row)?;
            }
        }
        let unreadable = self.tally.unreadable;
        if unreadable > 0 {
            eprintln!(
                "warning: {unreadable} of {} pictures could not be read",
                self.tally.pictures
            );
        }
        Ok(End::All)
    }
}

/// How a run ended.
enum End {
    All,
    Interrupted,
}

/// All that rows depend on but the pictures themselves.
fn describe(args: &ClassifyArgs, share: Share, opened: &Opened) -> Result<Settings, CliError> {
    let detector = &opened.detector;
    let classifier = detector.classifier();
    let (templates, wording, model) = match (detector.bundle(), &opened.weights) {
        (Some(bundle), _) => (
            bundle.templates().clone(),
            json!(bundle.wording()),
            bundle.identity().image_tower.clone(),
        ),
        (None, Some(loaded)) => (
            TemplateSet::resolve(loaded.templates(&args.detector.prompts))?,
            json!(format!("{:?}", args.detector.prompts.variant)),
            ModelIdentity::of(&loaded.weights, None).image_tower,
        ),
        (None, None) => return Err(CliError::Usage("give --bundle, or --classes".to_owned())),
    };
    let paths = |paths: &[PathBuf]| -> Vec<Value> {
        let text = |path: &PathBuf| path.display().to_string();
        paths
            .iter()
            .map(|path| Value::from(sources::without_query(&text(path))))
            .collect()
    };
    let settings: Map<String, Value> = [
        ("classes", json!(classifier.class_names())),
        ("templates", json!([templates.yes(), templates.no()])),
        ("wording", wording),
        ("logit scale", json!(classifier.scale())),
        ("image tower", json!(model)),
        ("preprocessing", json!(detector.preprocessing())),
        ("rule", json!(detector.rule())),
        (
            "calibration pictures",
            json!(detector.calibration().map(|calibration| calibration.len())),
        ),
        ("false-discovery rate", json!(args.fdr)),
        ("classes told", json!(args.top)),
        ("paths", Value::from(paths(&args.paths))),
        ("lists", Value::from(paths(&args.list))),
        ("zero bytes in lists", json!(args.null)),
        ("part", json!(format!("{} of {}", share.index, share.of))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect();
    Ok(Settings::new(settings))
}
