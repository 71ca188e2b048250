//! A classifier from text features that were computed elsewhere.

use std::path::{Path, PathBuf};

use clap::Args;
use clipn::classifier::Classifier;
use clipn::dataset::FeatureFile;
use clipn::negatives::Negatives;
use clipn::prompts::{ClassList, ClassNames};

use crate::common::classes;
use crate::common::error::CliError;
use crate::common::messages::note;

/// Features of classes, in place of class names with a model.
#[derive(Debug, Clone, Args)]
pub(crate) struct TextFeatureArgs {
    /// Text features of the classes, one row [D] per class, in a .npy, .safetensors, .pt or .parquet file,
    /// instead of a model
    ///
    /// Class names are those of --classes, else the keys of the file.
    #[arg(long, value_name = "FILE", requires = "features", conflicts_with_all = ["bundle", "model", "pretrained", "templates", "variant", "negatives", "reject", "logit_scale"])]
    pub text_features: Option<PathBuf>,
    /// Features of the "no" texts of the same classes
    #[arg(long, value_name = "FILE", requires = "text_features")]
    pub no_features: Option<PathBuf>,
    /// Features of texts that are no class, to reject with, one row [D] per text; keys of the file name
    /// them
    #[arg(long, value_name = "FILE", requires = "text_features")]
    pub negative_features: Option<PathBuf>,
    /// Factor from cosines to logits, with --text-features: that with which the model was trained, or
    /// the published 100 [default: 100]
    #[arg(long, value_name = "X", requires = "text_features", conflicts_with = "logit_scale", value_parser = parse_scale)]
    pub scale: Option<f64>,
    /// Factor of the "no" logits over "yes" logits of the same cosine, with --no-features: that with which
    /// "no" was trained [default: 1]
    #[arg(long, value_name = "X", requires = "no_features", value_parser = parse_no_scale)]
    pub no_scale: Option<f64>,
}

impl TextFeatureArgs {
    /// The classifier of the files, if they are given. `names` is the value of `--classes`.
    pub(crate) fn classifier(
        &self,
        names: Option<&str>,
        allow_duplicates: bool,
    ) -> Result<Option<Classifier>, CliError> {
        let Some(path) = &self.text_features else {
            return Ok(None);
        };
        let mut yes = FeatureFile::open(path)?;
        let names = match names {
            Some(spec) => classes::to_encode(spec, allow_duplicates)?.names,
            None => match yes.keys() {
                Some(keys) => {
                    let list = ClassList::new(ClassNames::new(keys.to_vec())?)
                        .with_origin(path.display().to_string());
                    classes::check(&list, allow_duplicates)?;
                    list.into_names().into()
                }
                None => {
                    note("the classes have no names; they are called by their index");
                    (0..yes.len()).map(|class| class.to_string()).collect()
                }
            },
        };
        check_rows(path, yes.len(), names.len())?;
        let no = match &self.no_features {
            Some(path) => {
                let mut no = FeatureFile::open(path)?;
                no.check_dim(yes.dim())?;
                check_rows(path, no.len(), names.len())?;
                Some(no.read_all()?)
            }
            None => None,
        };
        let negatives = match &self.negative_features {
            Some(path) => Some(negatives(path, yes.dim(), &names)?),
            None => None,
        };
        let classifier = Classifier::new(names, yes.read_all()?, no)?;
        let own = classifier.scale();
        let classifier = classifier
            .with_scale(self.scale.unwrap_or(own))
            .with_no_scale(self.no_scale.unwrap_or(1.0));
        Ok(Some(classifier.with_negatives(negatives)?))
    }
}

/// The negatives of a file, for these classes.
fn negatives(path: &Path, dim: usize, class_names: &[String]) -> Result<Negatives, CliError> {
    let mut file = FeatureFile::open(path)?;
    file.check_dim(dim)?;
    let words = match file.keys() {
        Some(keys) => keys.to_vec(),
        None => {
            note("the negatives have no names; they are called by their index");
            (0..file.len())
                .map(|row| format!("negative {row}"))
                .collect()
        }
    };
    let is_class = |word: &&String| class_names.iter().any(|class| is_same_name(class, word));
    if let Some(word) = words.iter().find(is_class) {
        return Err(CliError::usage_with_hint(
            format!("`{word}` of {} is the name of a class", path.display()),
            "leave out the rows of the classes: they would outweigh themselves",
        ));
    }
    Ok(Negatives::from_features(
        &words,
        file.read_all()?,
        class_names.len(),
    )?)
}

fn is_same_name(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

fn parse_scale(text: &str) -> Result<f64, String> {
    parse_positive(text, "100")
}

/// Parses the factor of the "no" logits.
pub(crate) fn parse_no_scale(text: &str) -> Result<f64, String> {
    parse_positive(text, "2.5")
}

fn parse_positive(text: &str, example: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err(format!("expected a positive number, such as {example}")),
    }
}

fn check_rows(path: &Path, rows: usize, classes: usize) -> Result<(), CliError> {
    if rows == classes {
        return Ok(());
    }
    Err(CliError::usage_with_hint(
        format!(
            "expected {classes} rows in {}, one per class, got {rows}",
            path.display()
        ),
        "give the class names in the order of the rows with --classes",
    ))
}
