//! Arguments that select a detector (a bundle, or class names with a model), and opening it.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use clipn::bundle::Bundle;
use clipn::checkpoint::copy_files;
use clipn::classifier::Classifier;
use clipn::detector::Detector;
use clipn::image::{DecodeOptions, Preprocessing};
use clipn::progress::Progress;
use clipn::scores::{DecisionRule, MaxLogit, Score, ScoreError};

use crate::common::args::{ModelArgs, PromptArgs, parse_score};
use crate::common::classes;
use crate::common::device::Device;
use crate::common::error::CliError;
use crate::common::messages::warning;
use crate::common::model::LoadedModel;
use crate::common::negatives::{NegativesArgs, warn_if_unread};
use crate::common::pixels::PixelArgs;

/// A bundle, or class names with a model; and the decision rule.
#[derive(Debug, Clone, Args)]
pub(crate) struct DetectorArgs {
    /// Bundle of `clipn classifier build`: classes, threshold and model in one file
    #[arg(
        long,
        value_name = "FILE",
        env = "CLIPN_BUNDLE",
        action = ArgAction::Append,
        conflicts_with_all = ["classes", "model", "templates", "variant", "logit_scale", "allow_duplicates", "faithful_pixels", "bands", "sample_bits", "pillow", "negatives", "reject"]
    )]
    pub bundle: Vec<PathBuf>,
    /// Class names: a file with one per line, imagenet-1k, cifar10, or "a,b,c"
    ///
    /// Files may also be lists and dictionaries in JSON or Python, tables with a column `name`, or
    /// lines with synset ids or numbers; a note names what was recognized.
    #[arg(long, value_name = "FILE|NAME|LIST")]
    pub classes: Option<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Read weights into memory as a whole: what happens to their files later has no effect
    ///
    /// Otherwise they are mapped, and files that are changed in place are an error. Replacing a file by
    /// renaming a new one over it is safe either way.
    #[arg(
        long,
        env = "CLIPN_COPY_WEIGHTS",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub copy_weights: bool,
    #[command(flatten)]
    pub prompts: PromptArgs,
    #[command(flatten)]
    pub negatives: NegativesArgs,
    /// Score that decides: atd, ctw, neglabel, msp, maxlogit, energy, … (docs/scores.md) [default:
    /// from the bundle's calibration, else atd-neg with "no" and negatives, else atd with "no", else
    /// neglabel]
    #[arg(long, value_name = "NAME", value_parser = parse_score)]
    pub score: Option<&'static dyn Score>,
    /// Minimum score for a label [default: from the bundle's calibration, else the rule of the
    /// score, if it has one]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// Reject nothing: every image gets its best label
    #[arg(long, conflicts_with = "threshold")]
    pub no_reject: bool,
    /// Decode pixels as the published evaluation does: no EXIF rotation, 16-bit gray clipped
    #[arg(long)]
    pub faithful_pixels: bool,
    #[command(flatten)]
    pub pixels: PixelArgs,
}

/// A detector, and the weights that it was opened with, if they were.
#[derive(Debug)]
pub(crate) struct OpenedDetector {
    pub detector: Detector,
    /// Weights with text towers for further classes; `None` for a bundle with its image tower in
    /// it.
    pub weights: Option<LoadedModel>,
}

impl DetectorArgs {
    /// Opens the bundle, or opens the model and builds the classifier.
    pub(crate) fn open(
        &self,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<OpenedDetector, CliError> {
        self.check()?;
        let OpenedDetector { detector, weights } = match (self.bundle.as_slice(), &self.classes) {
            ([_, _, ..], _) => {
                return Err(CliError::usage("--bundle can be given only once"));
            }
            ([path], _) => open_bundle(path, &self.model, device)?,
            ([], Some(classes)) => {
                // Check the rule before the model is read.
                if let Some(score) = self.score {
                    let name = score.name();
                    if score.fitted().is_some() {
                        return Err(ScoreError::NeedsFit { score: name }.into());
                    }
                    if self.threshold.is_none() && !self.no_reject {
                        default_rule(score)?;
                    }
                }
                self.build(classes, device, progress)?
            }
            ([], None) => return Err(no_classes()),
        };
        Ok(OpenedDetector {
            detector: self.apply_rule(detector)?,
            weights,
        })
    }

    /// Opens what features need: the classifier of `classifier`, or that of the bundle, or that of the
    /// class names with the text towers of the model. No image tower is opened for a bundle.
    pub(crate) fn open_for_features(
        &self,
        classifier: Option<Classifier>,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<OpenedDetector, CliError> {
        self.check()?;
        let detector = match (classifier, self.bundle.as_slice()) {
            (Some(classifier), _) => Detector::for_features(classifier),
            (None, [path]) => Detector::for_features_of(Bundle::open(path)?)?,
            (None, _) => return self.open(device, progress),
        };
        Ok(OpenedDetector {
            detector: self.apply_rule(detector)?,
            weights: None,
        })
    }

    /// Checks what can be checked before a model is read, and sets how its files are read.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        if self.threshold.is_some_and(f64::is_nan) {
            return Err(CliError::usage("--threshold is not a number"));
        }
        copy_files(self.copy_weights);
        Ok(())
    }

    /// Sets the rule of the flags.
    pub(crate) fn apply_rule(&self, detector: Detector) -> Result<Detector, CliError> {
        let rule = self.rule(&detector)?;
        Ok(detector.with_rule(rule)?)
    }

    /// Warns of negatives that have no part in the decisions of the detector.
    pub(crate) fn warn_of_unread_negatives(&self, detector: &Detector) {
        if self.negatives.are_given() && !self.no_reject {
            warn_if_unread(detector.rule().score());
        }
    }

    fn build(
        &self,
        classes: &str,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<OpenedDetector, CliError> {
        let names = classes::to_encode(classes, self.prompts.allow_duplicates)?;
        let loaded = LoadedModel::open(&self.model, device)?;
        let (classifier, prompts) = loaded.classifier(&names, &self.prompts, progress)?;
        let classifier = if self.no_reject && self.negatives.is_default() {
            classifier
        } else {
            self.negatives
                .attach(&loaded, classifier, &prompts, progress)?
        };
        let preprocessing = preprocessing(&loaded, self.faithful_pixels, &self.pixels);
        let tower = loaded.image_tower()?;
        let detector = Detector::from_classifier(classifier, tower.into(), preprocessing)?;
        Ok(OpenedDetector {
            detector,
            weights: Some(loaded),
        })
    }

    /// The rule of the flags, else the calibrated rule, else the rule that suits the classifier.
    fn rule(&self, detector: &Detector) -> Result<DecisionRule, CliError> {
        let inputs = detector.score_inputs();
        if self.no_reject {
            let score = self.score.unwrap_or(&MaxLogit);
            return Ok(DecisionRule::AcceptAll { score });
        }
        let calibrated = detector.calibration().map(|calibration| calibration.rule());
        let default = calibrated.or_else(|| inputs.default_rule());
        let Some(score) = self.score.or(default.map(|rule| rule.score())) else {
            return Err(CliError::usage_with_hint(
                "nothing to reject with: the weights have not learned \"no\", and there are no negatives",
                "give --negatives wordnet (with --text-features, --no-features or --negative-features), \
                 calibrate a bundle, give --score and --threshold, or accept every image with --no-reject",
            ));
        };
        inputs.check(score)?;
        if let Some(threshold) = self.threshold
            && score.is_probability()
            && !(0.0..=1.0).contains(&threshold)
        {
            let effect = if threshold > 1.0 { "no" } else { "every" };
            warning(format_args!(
                "--threshold {threshold}: {} is from 0 to 1, so that {effect} image reaches it",
                score.display_name()
            ));
        }
        match (self.threshold, default) {
            (Some(threshold), _) => Ok(detector.threshold_rule(score, threshold)),
            (None, Some(rule)) if rule.score() == score => Ok(rule),
            (None, _) => default_rule(score),
        }
    }
}

/// The rule of a score that needs no threshold.
fn default_rule(score: &'static dyn Score) -> Result<DecisionRule, CliError> {
    DecisionRule::default_for(score).ok_or_else(|| {
        CliError::usage_with_hint(
            format!("the score {} has no default threshold", score.name()),
            "give --threshold, or calibrate a bundle with this score; atd, ctw, neglabel, atd-neg and \
             ctw-neg need neither",
        )
    })
}

/// The error of a command line with neither `--bundle` nor `--classes`.
pub(crate) fn no_classes() -> CliError {
    let has_variable = std::env::var_os("CLIPN_BUNDLE").is_some_and(|value| !value.is_empty());
    CliError::usage_with_hint(
        "no classes to choose from",
        match has_variable {
            true => {
                "give --classes; CLIPN_BUNDLE has no effect beside a flag that --bundle does not allow, such as \
                 --reject, --model or --templates"
            }
            false => "give --bundle or --classes",
        },
    )
}

/// Opens a bundle with its model: the image tower in it, or the weights of `--pretrained`, or the
/// weights that it names.
pub(crate) fn open_bundle(
    path: &Path,
    model: &ModelArgs,
    device: &Device,
) -> Result<OpenedDetector, CliError> {
    let bundle = in_precision(Bundle::open(path)?, path, device);
    if bundle.has_image_tower() && model.pretrained.is_none() {
        return Ok(OpenedDetector {
            detector: Detector::from_bundle_on(bundle, &*device.factory())?,
            weights: None,
        });
    }
    let loaded = LoadedModel::for_bundle(&bundle, path, model, device)?;
    let detector = Detector::new_on(bundle, &loaded.weights, loaded.towers())?;
    Ok(OpenedDetector {
        detector,
        weights: Some(loaded),
    })
}

/// The bundle in the precision that the device computes it in.
pub(crate) fn in_precision(bundle: Bundle, path: &Path, device: &Device) -> Bundle {
    let own = bundle.identity().precision;
    let precision = device.precision_of_bundle(own);
    if precision == own {
        return bundle;
    }
    if !device.has_requested_precision() {
        warning(format_args!(
            "{} was built in {own}, in which {device} does not compute; its images are encoded in \
             {precision}",
            path.display()
        ));
    }
    if bundle.calibration().is_some() {
        warning(format_args!(
            "{} was calibrated in {own}; its threshold may keep another fraction of images in \
             {precision}",
            path.display()
        ));
    }
    bundle.with_precision(precision)
}

/// The preprocessing of a model, with decoding for photos or as published.
pub(crate) fn preprocessing(
    loaded: &LoadedModel,
    faithful_pixels: bool,
    pixels: &PixelArgs,
) -> Preprocessing {
    let decode = if faithful_pixels {
        DecodeOptions::faithful()
    } else {
        DecodeOptions::for_display()
    };
    pixels.apply(loaded.preprocessing.clone().with_decode(decode))
}
