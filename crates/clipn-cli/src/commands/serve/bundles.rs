//! Bundles to serve: their names on the command line, and opening them again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clipn::bundle::Bundle;
use clipn::detector::Detector;
use clipn_serve::{ClassEncoder, ServedBundle, ServedModel};

use super::model_name;
use crate::common::detector::{DetectorArgs, in_precision};
use crate::common::device::Device;
use crate::common::error::CliError;
use crate::common::messages::warning;
use crate::common::model::LoadedModel;

/// Opens the bundles of the command line. Bundles of one model share its towers in memory.
pub(super) fn open(args: &DetectorArgs, device: &Device) -> Result<Vec<ServedBundle>, CliError> {
    args.check()?;
    let args = Arc::new(args.clone());
    let mut bundles: Vec<ServedBundle> = Vec::new();
    for (name, path) in named(&args.bundle)? {
        let models: Vec<ServedModel> = bundles.iter().map(|b| b.model().clone()).collect();
        let (args, file, device) = (Arc::clone(&args), path.clone(), device.clone());
        bundles.push(ServedBundle::open(name, path, &models, move |others| {
            open_one(&args, &file, &device, others)
        })?);
    }
    Ok(bundles)
}

/// Opens a bundle with the towers of the models in service that it shares, else with those of its
/// weights.
fn open_one(
    args: &DetectorArgs,
    path: &Path,
    device: &Device,
    others: &[ServedModel],
) -> Result<ServedModel, CliError> {
    let bundle = in_precision(Bundle::open(path)?, path, device);
    let identity = bundle.identity().clone();
    let prompts = bundle.prompts().clone();
    let with_tower = others
        .iter()
        .map(|other| &other.detector)
        .find(|other| other.has_tower_of(&bundle));
    let detector_of = |bundle: Bundle, loaded: Option<&LoadedModel>| match (with_tower, loaded) {
        (Some(other), _) => other.open_with_same_tower(bundle),
        (None, Some(loaded)) => Detector::new_on(bundle, &loaded.weights, loaded.towers()),
        (None, None) => Detector::from_bundle_on(bundle, &*device.factory()),
    };
    if bundle.has_image_tower() && args.model.pretrained.is_none() {
        return served(args, detector_of(bundle, None)?, None);
    }
    let with_texts = others.iter().find_map(|other| {
        let has_same_texts = other.detector.bundle().is_some_and(|own| {
            own.identity().text_towers_hash == identity.text_towers_hash
                && own.identity().precision == identity.precision
                && own.identity().config.text == identity.config.text
        });
        other.encoder.as_ref().filter(|_| has_same_texts)
    });
    if let (Some(_), Some(encoder)) = (with_tower, with_texts) {
        let encoder = encoder.with_prompts(prompts);
        return served(args, detector_of(bundle, None)?, Some(encoder));
    }
    let loaded = LoadedModel::for_bundle(&bundle, path, &args.model, device)?;
    let detector = detector_of(bundle, Some(&loaded))?;
    let encoder = if loaded.weights.has_text_towers(&identity.text_towers_hash) {
        Some(match with_texts {
            Some(encoder) => encoder.with_prompts(prompts),
            None => ClassEncoder::new_on(&loaded.weights, prompts, loaded.factory())?,
        })
    } else {
        warning(format_args!(
            "the text towers of {} are not those that {} was built with: requests cannot define classes",
            loaded.path.display(),
            path.display()
        ));
        None
    };
    served(args, detector, encoder)
}

fn served(
    args: &DetectorArgs,
    detector: Detector,
    encoder: Option<ClassEncoder>,
) -> Result<ServedModel, CliError> {
    let detector = args.apply_rule(detector)?;
    let name = model_name(args, &detector);
    Ok(ServedModel::new(detector, name).with_encoder(encoder))
}

/// The names and files of `--bundle`: `NAME=FILE` or a file, whose name without extension is the bundle's; several of
/// them separated by commas.
fn named(values: &[PathBuf]) -> Result<Vec<(String, PathBuf)>, CliError> {
    let mut bundles = Vec::new();
    for value in values {
        match value.to_str().filter(|_| !value.exists()) {
            Some(text) if name_of(text).is_some() || text.contains(',') => {
                bundles.extend(split(text)?);
            }
            _ => bundles.push((stem(value, values.len())?, value.clone())),
        }
    }
    Ok(bundles)
}

/// The name in `NAME=FILE`.
fn name_of(text: &str) -> Option<&str> {
    let (name, _) = text.split_once('=')?;
    let is_name = !name.is_empty() && name.chars().all(|c| !"/\\,".contains(c));
    is_name.then_some(name)
}

/// Splits `NAME=FILE,FILE`. A comma belongs to a file if no name follows and the part behind it is no file.
fn split(text: &str) -> Result<Vec<(String, PathBuf)>, CliError> {
    let mut bundles: Vec<(Option<String>, String)> = Vec::new();
    // An empty part is a comma too many.
    for part in text.split(',').filter(|part| !part.is_empty()) {
        match (part.split_once('='), bundles.last_mut()) {
            (Some((name, file)), _) if name_of(part).is_some() => {
                bundles.push((Some(name.trim().to_owned()), file.to_owned()));
            }
            (_, Some((_, file))) if !Path::new(part).exists() => *file = format!("{file},{part}"),
            _ => bundles.push((None, part.to_owned())),
        }
    }
    let count = bundles.len();
    let named = bundles.into_iter().map(|(name, file)| {
        let file = PathBuf::from(file);
        let name = name.map_or_else(|| stem(&file, count), Ok)?;
        Ok((name, file))
    });
    named.collect()
}

/// The name of a bundle that is given none.
fn stem(path: &Path, count: usize) -> Result<String, CliError> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let is_name = |stem: &&str| {
        stem.len() <= 64
            && stem
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    match stem.filter(is_name) {
        Some(stem) => Ok(stem.to_owned()),
        None if count == 1 => Ok("default".to_owned()),
        None => Err(CliError::usage_with_hint(
            format!("the bundle {} needs a name", path.display()),
            "give --bundle NAME=FILE, with letters, digits, `-`, `_` and `.` in NAME",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(values: &[&str]) -> Vec<(String, String)> {
        let paths: Vec<PathBuf> = values.iter().map(PathBuf::from).collect();
        named(&paths)
            .unwrap()
            .into_iter()
            .map(|(name, path)| (name, path.display().to_string()))
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |&(name, path): &(&str, &str)| (name.to_owned(), path.to_owned());
        expected.iter().map(owned).collect()
    }

    #[test]
    fn bundles_have_the_names_given_or_those_of_their_files() {
        assert_eq!(names(&["d/shop.clipn"]), pairs(&[("shop", "d/shop.clipn")]));
        assert_eq!(
            names(&["d/our shop.clipn"]),
            pairs(&[("default", "d/our shop.clipn")])
        );
        assert_eq!(
            names(&["shop=a.clipn", "cars=d/b,c=d.clipn"]),
            pairs(&[("shop", "a.clipn"), ("cars", "d/b"), ("c", "d.clipn")])
        );
        assert_eq!(
            names(&["shop=a,b.clipn,cars=c.clipn"]),
            pairs(&[("shop", "a,b.clipn"), ("cars", "c.clipn")])
        );
        // A directory before the `=`: no name.
        assert_eq!(
            names(&["d/x=y.clipn"]),
            pairs(&[("default", "d/x=y.clipn")])
        );
        let two = ["a b.clipn", "c.clipn"].map(PathBuf::from);
        assert!(
            named(&two)
                .unwrap_err()
                .to_string()
                .contains("a b.clipn needs a name")
        );
    }

    #[test]
    fn files_are_separated_by_commas() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        for name in ["a.clipn", "b.clipn"] {
            std::fs::write(path(name), "").unwrap();
        }
        let (a, b) = (path("a.clipn"), path("b.clipn"));
        let expected = pairs(&[("a", &a), ("b", &b)]);
        assert_eq!(names(&[&format!("{a},{b}")]), expected);
        assert_eq!(names(&[&format!("{a},b={b}")]), expected);
        assert_eq!(names(&[&format!("a={a},{b}")]), expected);
    }

    #[test]
    fn a_file_with_an_equals_sign_in_its_name_is_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a=b.clipn");
        std::fs::write(&path, "").unwrap();
        let found = named(std::slice::from_ref(&path)).unwrap();
        assert_eq!(found, [("default".to_owned(), path)]);
    }
}
