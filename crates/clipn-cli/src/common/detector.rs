//! What decides about pictures: a bundle, or class names with a model.

use std::path::{Path, PathBuf};

use clap::Args;
use clipn::bundle::Bundle;
use clipn::detector::Detector;
use clipn::image::{DecodeOptions, Preprocessing};
use clipn::progress::Progress;
use clipn::prompts::ClassNames;
use clipn::scores::{Atd, Rule, Score};

use crate::common::args::{ModelArgs, PromptArgs, parse_score};
use crate::common::error::CliError;
use crate::common::model::Loaded;

/// A bundle, or class names with a model; and the rule.
#[derive(Debug, Args)]
pub struct DetectorArgs {
    /// A bundle of `clipn classifier build`: classes, threshold and model in one
    #[arg(
        long,
        value_name = "FILE",
        env = "CLIPN_BUNDLE",
        conflicts_with_all = ["classes", "model", "templates", "variant", "logit_scale", "faithful_pixels"]
    )]
    pub bundle: Option<PathBuf>,
    /// Class names: a file with one a line, imagenet-1k, or "a,b,c"
    #[arg(
        long,
        value_name = "FILE|NAME|LIST",
        required_unless_present = "bundle"
    )]
    pub classes: Option<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub prompts: PromptArgs,
    /// The score that decides: atd, ctw, msp, maxlogit, energy or mcm [default: that of the bundle's calibration, else atd]
    #[arg(long, value_name = "NAME", value_parser = parse_score)]
    pub score: Option<&'static dyn Score>,
    /// Least score that gets a label [default: the bundle's calibrated one, else the published rule of atd and ctw]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// Treat pixels as the published evaluation does: no EXIF rotation, 16-bit grey clipped
    #[arg(long)]
    pub faithful_pixels: bool,
}

/// A detector, and the weights that it was opened with where they were.
#[derive(Debug)]
pub struct Opened {
    pub detector: Detector,
    /// With text towers for further classes; none for a bundle with its image tower in it.
    pub weights: Option<Loaded>,
}

impl DetectorArgs {
    /// Opens the bundle, or the model and builds the classifier.
    pub fn open(&self, progress: &dyn Progress) -> Result<Opened, CliError> {
        if self.threshold.is_some_and(f64::is_nan) {
            return Err(CliError::Usage("--threshold is not a number".to_owned()));
        }
        let Opened { detector, weights } = match (&self.bundle, &self.classes) {
            (Some(path), _) => open_bundle(path, &self.model)?,
            (None, Some(classes)) => {
                // Wrong use is told before the model is read.
                self.rule(None)?;
                self.build(classes, progress)?
            }
            (None, None) => return Err(CliError::Usage("give --bundle, or --classes".to_owned())),
        };
        let rule = self.rule(detector.calibration().map(|calibration| calibration.rule()))?;
        Ok(Opened {
            detector: detector.with_rule(rule),
            weights,
        })
    }

    fn build(&self, classes: &str, progress: &dyn Progress) -> Result<Opened, CliError> {
        let names = ClassNames::resolve(classes)?;
        let loaded = Loaded::open(&self.model)?;
        let (classifier, _) = loaded.classifier(names.names(), &self.prompts, progress)?;
        let preprocessing = preprocessing(&loaded, self.faithful_pixels);
        let detector =
            Detector::of_classifier(classifier, loaded.image_tower().into(), preprocessing)?;
        Ok(Opened {
            detector,
            weights: Some(loaded),
        })
    }

    /// What was asked for, else the calibrated rule, else the published one of the score.
    fn rule(&self, calibrated: Option<Rule>) -> Result<Rule, CliError> {
        let of_bundle = calibrated.map(|rule| rule.score());
        let score = self.score.or(of_bundle).unwrap_or(&Atd);
        match (self.threshold, calibrated) {
            (Some(threshold), _) => Ok(Rule::Threshold { score, threshold }),
            (None, Some(rule)) if rule.score() == score => Ok(rule),
            (None, _) => Rule::default_for(score).ok_or_else(|| {
                CliError::Usage(format!(
                    "the score {} has no threshold of its own; give --threshold, calibrate a bundle with it, or use \
                     --score atd or ctw",
                    score.name()
                ))
            }),
        }
    }
}

/// Opens a bundle with its model: the image tower in it, or the weights of `--pretrained`, or those that it names.
pub fn open_bundle(path: &Path, model: &ModelArgs) -> Result<Opened, CliError> {
    let bundle = Bundle::open(path)?;
    warn_of(&bundle);
    if bundle.has_image_tower() && model.pretrained.is_none() {
        return Ok(Opened {
            detector: Detector::of_bundle_with_tower(bundle)?,
            weights: None,
        });
    }
    let loaded = Loaded::of_bundle(&bundle, path, model)?;
    let detector = Detector::new(bundle, &loaded.weights)?;
    Ok(Opened {
        detector,
        weights: Some(loaded),
    })
}

/// Says where the "no" of a bundle means nothing.
fn warn_of(bundle: &Bundle) {
    if bundle.classifier().yes() == bundle.classifier().no() {
        eprintln!(
            "warning: the bundle is of a plain CLIP, whose \"no\" is a copy of its \"yes\": CTW and ATD mean nothing"
        );
    }
}

/// The preprocessing of a model, with the decoding that suits photographs or the published one.
pub fn preprocessing(loaded: &Loaded, faithful_pixels: bool) -> Preprocessing {
    let decode = if faithful_pixels {
        DecodeOptions::faithful()
    } else {
        DecodeOptions::for_users()
    };
    Preprocessing {
        decode,
        ..loaded.preprocessing.clone()
    }
}
