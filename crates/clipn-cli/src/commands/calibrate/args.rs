use std::path::PathBuf;

use clap::Args;
use clipn::calibration::Choice;
use clipn::scores::Score;

use crate::common::args::{Format, ModelArgs, RunArgs, parse_score};
use crate::common::weights::DownloadArgs;

#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// The bundle that gets the threshold
    #[arg(long, value_name = "FILE")]
    pub bundle: PathBuf,
    /// Pictures of the classes, such as will come later: a folder of any depth, with folders by class or without, or an
    /// image list (.txt)
    #[arg(long, value_name = "DIR")]
    pub id: PathBuf,
    /// Examples of the unknown, a folder or an image list; may be given again
    #[arg(long, value_name = "DIR")]
    pub ood: Vec<PathBuf>,
    /// Share of pictures of the classes to keep, above 0 and below 1
    #[arg(long, value_name = "SHARE", default_value = "0.95")]
    pub target_tpr: f64,
    /// How the threshold is chosen: on-average keeps the share on average, guaranteed at least the share with the
    /// confidence, best is what tells the examples of the unknown apart best
    #[arg(long, value_name = "on-average|guaranteed|best", default_value = "on-average", value_parser = parse_choice)]
    pub choice: Choice,
    /// Confidence of intervals and of the guarantee, above 0 and below 1
    #[arg(long, value_name = "SHARE", default_value = "0.95")]
    pub confidence: f64,
    /// The score that decides: atd, ctw, msp, maxlogit, energy or mcm
    #[arg(long, value_name = "NAME", default_value = "atd", value_parser = parse_score)]
    pub score: &'static dyn Score,
    /// The weights that the bundle was built with, where they are not where it says
    #[arg(long, value_name = "FILE|DIR|NAME")]
    pub pretrained: Option<PathBuf>,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    /// Write the bundle with its threshold here instead of over the old one
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub run: RunArgs,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

impl CalibrateArgs {
    /// The model, where another place of it is given.
    pub fn model(&self) -> ModelArgs {
        ModelArgs {
            model: None,
            pretrained: self.pretrained.clone(),
            downloads: self.downloads.clone(),
        }
    }
}

fn parse_choice(text: &str) -> Result<Choice, String> {
    match text {
        "on-average" => Ok(Choice::OnAverage),
        "guaranteed" => Ok(Choice::Guaranteed),
        "best" => Ok(Choice::Best),
        _ => Err("give on-average, guaranteed or best".to_owned()),
    }
}
