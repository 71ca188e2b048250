//! Scores that learn from the stream of images.

use std::io::Write;
use std::path::Path;

use clap::Args;
use clipn::adaptation::{AdaptiveMethod, AdaptiveScorer};
use clipn::classifier::Classifier;
use clipn::count::count;
use clipn::evaluation::Evaluation;
use clipn::evaluation::streams::{StreamEvaluator, StreamRecord, StreamRow, StreamSettings};
use clipn::progress::Progress;
use clipn::streams::{AdaNegSettings, TanlSettings};

use super::EvalArgs;
use super::model::EvaluatedModel;
use crate::common::adaptation::{noise_features, parse_method};
use crate::common::args::parse_count;
use crate::common::error::CliError;
use crate::common::messages::status;
use crate::common::table::Table;

/// Scores that learn from the stream of images.
#[derive(Debug, Clone, Args)]
pub(crate) struct StreamArgs {
    /// Also evaluate scores that learn from the stream of images: adaneg, tanl or both
    ///
    /// The images of each out-of-distribution set are shuffled with the in-distribution ones into one stream.
    /// Figures depend on its order, batches and mixture, and are printed in a table of their own.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_method)]
    pub stream: Vec<AdaptiveMethod>,
    /// Images per batch of a stream
    #[arg(long, value_name = "N", default_value = "256", requires = "stream", value_parser = parse_count)]
    pub stream_batch: usize,
    /// Random orders of a stream; results are means over them
    #[arg(long, value_name = "N", default_value = "3", requires = "stream", value_parser = parse_count)]
    pub stream_orders: usize,
    /// Parts of a stream that are out-of-distribution, between 0 and 1, such as 0.01,0.5; images of the set
    /// that has too many are left out [default: all images of both sets]
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "stream", value_parser = parse_share)]
    pub stream_ood_share: Vec<f64>,
    /// Random seed of the orders
    #[arg(long, value_name = "S", default_value = "0", requires = "stream")]
    pub stream_seed: u64,
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("expected a fraction between 0 and 1, such as 0.5".to_owned()),
    }
}

impl StreamArgs {
    /// The methods, each once, in their order.
    pub(super) fn methods(&self) -> Vec<AdaptiveMethod> {
        let mut methods: Vec<AdaptiveMethod> = Vec::new();
        for method in &self.stream {
            if !methods.contains(method) {
                methods.push(*method);
            }
        }
        methods
    }

    fn settings(&self) -> StreamSettings {
        StreamSettings::default()
            .with_batch(self.stream_batch)
            .with_orders(self.stream_orders)
            .with_seed(self.stream_seed)
            .with_ood_shares(self.stream_ood_share.iter().copied())
    }
}

/// Results of all streams, and the scores of every image.
pub(super) struct Streams {
    pub(super) record: StreamRecord,
    pub(super) rows: Vec<StreamRow>,
}

/// Checks, before the work, that the methods can be computed.
pub(super) fn check(
    args: &EvalArgs,
    classifier: &Classifier,
    has_tower: bool,
) -> Result<(), CliError> {
    for method in args.stream.methods() {
        match method {
            AdaptiveMethod::AdaNeg if classifier.negatives().is_none() => {
                return Err(CliError::usage_with_hint(
                    "--stream adaneg without negatives, which it adapts",
                    "give some with --negatives, such as --negatives wordnet",
                ));
            }
            AdaptiveMethod::Tanl if !has_tower => {
                return Err(CliError::usage_with_hint(
                    "--stream tanl begins with features of noise, and there is no image tower",
                    "give the model of the features with --model and --pretrained",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Evaluates the methods of the arguments; `None` without any.
pub(super) fn run(
    args: &EvalArgs,
    model: Option<&EvaluatedModel>,
    classifier: &Classifier,
    evaluation: &Evaluation,
    progress: &dyn Progress,
) -> Result<Option<Streams>, CliError> {
    let methods = args.stream.methods();
    if methods.is_empty() {
        return Ok(None);
    }
    let settings = args.stream.settings();
    let evaluator = StreamEvaluator::new(evaluation, settings.clone())
        .with_fpr(args.fpr())
        .with_progress(progress);
    let (mut results, mut rows) = (Vec::new(), Vec::new());
    for method in methods {
        let mut scorer = match (method, model) {
            (AdaptiveMethod::Tanl, Some(model)) => {
                let words = model.all_words(&args.negatives, progress)?;
                status(format_args!(
                    "TANL: {} of {}",
                    count(words.len(), "word"),
                    words.origin().source
                ));
                let noise = model.with_tower(noise_features)??;
                AdaptiveScorer::tanl(classifier, &words, &noise, TanlSettings::default())?
            }
            _ => AdaptiveScorer::adaneg(classifier, AdaNegSettings::default())?,
        };
        let run = evaluator.run(&mut scorer)?;
        let images = run.rows.len().max(1) as f64;
        status(format_args!(
            "{}: {:.2} ms an image beside the tower, memory of at most {:.1} MB",
            method.display_name(),
            1e3 * run.time.as_secs_f64() / images,
            scorer.max_bytes() as f64 / 1e6
        ));
        results.extend(run.results);
        rows.extend(run.rows);
    }
    Ok(Some(Streams {
        record: StreamRecord::new(settings, results),
        rows,
    }))
}

/// Writes the table of the streams after that of the static scores.
pub(super) fn write_table(out: &mut impl Write, record: &StreamRecord) -> std::io::Result<()> {
    writeln!(out, "\n{}\n", record.caption())?;
    let mut table = Table::new(StreamRecord::HEADINGS, 2);
    for result in &record.results {
        table.row(result.cells());
    }
    table.write(out)
}

/// Writes the scores of every image of the streams.
pub(super) fn write_scores(
    directory: &Path,
    evaluation: &Evaluation,
    streams: &Streams,
) -> Result<(), CliError> {
    let path = directory.join(FILE);
    clipn::evaluation::streams::write_stream_scores(path, evaluation, &streams.rows)?;
    Ok(())
}

/// Name of the file of scores.
pub(crate) const FILE: &str = "stream-scores.csv";
