//! Fitting of scores to in-distribution images, for `clipn eval` and `clipn calibrate`.

use clap::Args;
use clipn::classifier::Classifier;
use clipn::count::count;
use clipn::dataset::FeatureFile;
use clipn::fitted::{FitSettings, Fitted, ScoreFit};
use clipn::fitting::ClassifierFitter;
use clipn::image::ImageSource;
use clipn::inference::{FeaturePipeline, InferenceError, ItemError};
use clipn::progress::Progress;
use clipn::scores::{FittedScoreSet, Score};

use crate::common::error::{CliError, chain_in_one_line};
use crate::common::messages::{status, warning};
use crate::common::progress::Bar;

/// Rows of a file of features that are read at a time.
const ROWS: usize = 4096;

/// Settings of scores that are fitted to images.
#[derive(Debug, Clone, Args)]
pub(crate) struct FitArgs {
    /// Settings of scores that are fitted to images, such as knn-k=10,vim-dim=128 [default: those of
    /// OpenOOD]
    ///
    /// knn-k=50, vim-dim=auto (256, or half of the features' dimension up to 512), react-percentile=90,
    /// nnguide-k=100, nnguide-fraction=0.01, fdbd-norm=mean|feature, bank=50000 (images whose features
    /// are kept), seed=0 (of the random choice of these).
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = parse_settings)]
    pub fit_settings: Option<FitSettings>,
}

fn parse_settings(text: &str) -> Result<FitSettings, String> {
    text.parse()
        .map_err(|error: clipn::fitted::FitError| error.to_string())
}

/// What to fit, and with which settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FitPlan {
    pub scores: FittedScoreSet,
    pub settings: FitSettings,
    /// Whether every score was named: one that cannot be fitted is then an error.
    pub is_strict: bool,
}

/// The fitted scores among others.
pub(crate) fn fitted_scores(scores: &[&'static dyn Score]) -> FittedScoreSet {
    scores.iter().filter_map(|score| score.fitted()).collect()
}

/// Images to fit scores to.
pub(crate) struct FitImages<I, N> {
    /// Images, in order.
    pub images: I,
    /// Class of each image if it is known, `[N]`.
    pub classes: Vec<Option<usize>>,
    /// Name of an image in messages.
    pub name: N,
}

/// Fits scores to images of known or predicted classes. An unreadable image is skipped, or an error if
/// `strict`.
pub(crate) fn fit_images<P, I, N>(
    pipeline: FeaturePipeline<'_>,
    classifier: &Classifier,
    images: FitImages<I, N>,
    (plan, strict): (FitPlan, bool),
    bar: &Bar,
) -> Result<ScoreFit, CliError>
where
    P: ImageSource,
    I: Iterator<Item = P> + Send,
    N: Fn(&P) -> String + Sync,
{
    let mut fitter = ClassifierFitter::new(classifier, plan.scores, plan.settings)?;
    let FitImages {
        images,
        classes,
        name,
    } = images;
    let total = classes.len() as u64;
    let mut classes = classes.into_iter();
    let mut errors = Vec::new();
    bar.begin("fitting scores", total);
    let encode = |image: &P, feature: Result<&[f32], ItemError>| {
        let feature = feature.map(<[f32]>::to_vec);
        feature.map_err(|error| CliError::from_item(name(image), error))
    };
    let sink = |feature: Result<Vec<f32>, CliError>| -> Result<(), CliError> {
        let class = classes.next().flatten();
        match feature {
            Ok(feature) => fitter.add(&feature, class)?,
            Err(error) if strict => return Err(error),
            Err(error) => errors.push(chain_in_one_line(&error)),
        }
        Ok(())
    };
    let result = pipeline.with_progress(bar).run(images, encode, sink);
    bar.end();
    match result {
        Err(CliError::Inference(InferenceError::Cancelled { done, .. })) => {
            return Err(CliError::Interrupted {
                done: done as u64,
                total: Some(total),
            });
        }
        other => other?,
    }
    if let Some(first) = errors.first() {
        warning(format_args!(
            "skipped {} to fit scores to; the first: {first}",
            count(errors.len(), "image")
        ));
    }
    finish(fitter, plan)
}

/// Fits scores to rows of a file of features, with their classes or none.
pub(crate) fn fit_file(
    classifier: &Classifier,
    file: &mut FeatureFile,
    labels: &[Option<usize>],
    plan: FitPlan,
    bar: &Bar,
) -> Result<ScoreFit, CliError> {
    file.check_dim(classifier.dim())?;
    let mut fitter = ClassifierFitter::new(classifier, plan.scores, plan.settings)?;
    let total = file.len();
    bar.begin("fitting scores", total as u64);
    for start in (0..total).step_by(ROWS) {
        if bar.is_cancelled() {
            return Err(CliError::Interrupted {
                done: start as u64,
                total: Some(total as u64),
            });
        }
        let count = ROWS.min(total - start);
        let rows = file.read_rows(start, count)?;
        add_rows(&mut fitter, &rows, labels.get(start..).unwrap_or_default())?;
        bar.advance(count as u64);
    }
    bar.end();
    finish(fitter, plan)
}

/// Fits scores to features `[N, D]` with their classes, `[N]` or none.
pub(crate) fn fit_rows(
    classifier: &Classifier,
    rows: &[f32],
    labels: &[Option<usize>],
    plan: FitPlan,
) -> Result<ScoreFit, CliError> {
    let mut fitter = ClassifierFitter::new(classifier, plan.scores, plan.settings)?;
    add_rows(&mut fitter, rows, labels)?;
    finish(fitter, plan)
}

fn add_rows(
    fitter: &mut ClassifierFitter,
    rows: &[f32],
    labels: &[Option<usize>],
) -> Result<(), CliError> {
    for (index, row) in rows.chunks_exact(fitter.dim()).enumerate() {
        fitter.add(row, labels.get(index).copied().flatten())?;
    }
    Ok(())
}

/// Fits, and reports what was fitted, what is unusual and what could not be fitted.
fn finish(fitter: ClassifierFitter, plan: FitPlan) -> Result<ScoreFit, CliError> {
    let Fitted { fit, left_out, .. } = fitter.finish()?;
    for (score, error) in left_out {
        if plan.is_strict {
            return Err(error.into());
        }
        status(format_args!("left out {}: {error}", score.as_str()));
    }
    if !fit.scores().is_empty() {
        status(fit.summary());
    }
    for message in &fit.summary().warnings {
        warning(message);
    }
    Ok(fit)
}
