use std::collections::HashMap;
use std::path::PathBuf;

use clipn_detect::detector::Evidence;
use clipn_image::Preprocessing;
use serde_json::Value;

use clipn_ood::metrics::FprConvention;
use clipn_ood::scores::Score;

use crate::evaluation::ScorePrecision;
use crate::spread::Spread;
use crate::streams::StreamRecord;

/// Options of a report.
///
/// ```
/// use clipn_eval::report::ReportOptions;
///
/// let options = ReportOptions::default()
///     .with_title("Tiny ImageNet against textures")
///     .with_max_examples(4);
/// assert_eq!(options.thumbnail_side, 192);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReportOptions {
    /// Heading of the page, such as the benchmark's name.
    pub title: String,
    /// Description of the run, as in `results.json`: a JSON object, or null for none.
    pub settings: Value,
    /// Precision that the scores were computed in.
    pub precision: ScorePrecision,
    /// Convention of the results' FPR95.
    pub fpr_convention: FprConvention,
    /// Score that decides on the example images; `None` for the first of ATD, CTW, NegLabel and
    /// MaxLogit that the evaluation has, else its last one.
    pub deciding_score: Option<&'static dyn Score>,
    /// Minimum score that is kept, in the published unit; `None` for the threshold that keeps 95 %
    /// of the in-distribution images.
    pub threshold: Option<f64>,
    /// Minimum score that is kept in log space, which decides if the scores were computed in f64: the published
    /// unit may saturate. `None` converts the threshold.
    pub stable_threshold: Option<f64>,
    /// Maximum number of images in a row; 0 for a report without images.
    pub max_examples: usize,
    /// Long side of a thumbnail, in pixels.
    pub thumbnail_side: u32,
    /// How the model reads images. Example images are then shown as the model sees them, and maps lie over the
    /// part that it sees. `None` shows them upright, and takes the square in the center for that part.
    pub preprocessing: Option<Preprocessing>,
    /// Spread of the metrics, if the evaluation was repeated.
    pub spread: Option<Spread>,
    /// Results of scores that learn from the stream of images.
    pub streams: Option<StreamRecord>,
    /// Maps of the example images ([`example_images`](super::example_images)) by their paths.
    pub evidence: HashMap<PathBuf, Evidence>,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self {
            title: "Evaluation".to_owned(),
            settings: Value::Null,
            precision: ScorePrecision::default(),
            fpr_convention: FprConvention::default(),
            deciding_score: None,
            threshold: None,
            stable_threshold: None,
            max_examples: 8,
            thumbnail_side: 192,
            preprocessing: None,
            spread: None,
            streams: None,
            evidence: HashMap::new(),
        }
    }
}

impl ReportOptions {
    /// Sets the heading of the page.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets the description of the run, a JSON object.
    #[must_use]
    pub fn with_settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the precision that the scores were computed in.
    #[must_use]
    pub fn with_precision(mut self, precision: ScorePrecision) -> Self {
        self.precision = precision;
        self
    }

    /// Sets the convention of the results' FPR95.
    #[must_use]
    pub fn with_fpr_convention(mut self, convention: FprConvention) -> Self {
        self.fpr_convention = convention;
        self
    }

    /// Sets the score that decides on the example images.
    #[must_use]
    pub fn with_deciding_score(mut self, score: &'static dyn Score) -> Self {
        self.deciding_score = Some(score);
        self
    }

    /// Sets the minimum score that is kept, in the published unit.
    #[must_use]
    pub fn with_threshold(mut self, threshold: f64) -> Self {
        self.threshold = Some(threshold);
        self
    }

    /// Sets the minimum score that is kept in log space, such as
    /// [`Calibration::threshold`](clipn_ood::calibration::Calibration::threshold).
    #[must_use]
    pub fn with_stable_threshold(mut self, threshold: impl Into<Option<f64>>) -> Self {
        self.stable_threshold = threshold.into();
        self
    }

    /// Sets how the model reads images.
    #[must_use]
    pub fn with_preprocessing(mut self, preprocessing: impl Into<Option<Preprocessing>>) -> Self {
        self.preprocessing = preprocessing.into();
        self
    }

    /// Sets the maximum number of images in a row; 0 for a report without images.
    #[must_use]
    pub fn with_max_examples(mut self, max_examples: usize) -> Self {
        self.max_examples = max_examples;
        self
    }

    /// Sets the maps of the example images by their paths, which show where the class, its "no" and the
    /// negatives are seen.
    #[must_use]
    pub fn with_evidence(mut self, evidence: HashMap<PathBuf, Evidence>) -> Self {
        self.evidence = evidence;
        self
    }

    /// Sets the results of scores that learn from the stream of images.
    #[must_use]
    pub fn with_streams(mut self, streams: Option<StreamRecord>) -> Self {
        self.streams = streams;
        self
    }

    /// Sets the spread of the metrics.
    #[must_use]
    pub fn with_spread(mut self, spread: Option<Spread>) -> Self {
        self.spread = spread;
        self
    }
}
