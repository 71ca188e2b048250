use std::path::Path;

use clipn::bundle::Bundle;
use clipn::classifier::Classifier;
use clipn::negatives::{NegativeSource, Negatives, Selection};
use clipn::prompts::ClassNames;

use super::args::{AddArgs, ChangeArgs, RemoveArgs};
use super::{check_output, report_written};
use crate::common::args::ModelArgs;
use crate::common::error::CliError;
use crate::common::messages::warning;
use crate::common::model::LoadedModel;
use crate::common::negatives::attach;
use crate::common::progress::Bar;

/// `clipn classifier add`.
pub(crate) fn add(args: &AddArgs) -> Result<(), CliError> {
    let bundle = open(&args.change)?;
    let names = names(&args.classes)?;
    if let Some(name) = names
        .iter()
        .find(|name| bundle.classifier().class_names().contains(name))
    {
        return Err(CliError::usage(format!(
            "the bundle already has the class `{name}`"
        )));
    }
    let model = ModelArgs {
        model: None,
        pretrained: args.pretrained.clone(),
        key: args.key.clone(),
        downloads: args.downloads.clone(),
    };
    let loaded = LoadedModel::for_bundle(&bundle, &args.change.bundle, &model)?;
    bundle.check_text_towers(&loaded.weights)?;
    let bar = Bar::default();
    let added = loaded.classifier_for_bundle(&names, &bundle, &bar)?;
    let classifier = bundle.classifier().concat(&added)?;
    let classifier = match bundle.classifier().negatives() {
        Some(negatives) => choose_again(negatives, classifier, &loaded, &bundle, &bar)?,
        None => classifier,
    };
    write(&args.change, bundle, classifier)
}

/// Chooses the negatives of a bundle again, for more classes.
fn choose_again(
    negatives: &Negatives,
    classifier: Classifier,
    loaded: &LoadedModel,
    bundle: &Bundle,
    bar: &Bar,
) -> Result<Classifier, CliError> {
    let source = match negatives.origin().selection {
        Selection::UserList => None,
        _ => negatives.origin().source.parse().ok(),
    };
    match source {
        Some(
            source @ (NegativeSource::WordNet | NegativeSource::NegLabel | NegativeSource::Csp),
        ) => attach(&source, loaded, classifier, bundle.prompts(), bar),
        // A list, or negatives from elsewhere: what is left of them.
        _ => {
            let negatives = negatives.for_classes(classifier.class_names())?;
            Ok(classifier.with_negatives(negatives)?)
        }
    }
}

/// `clipn classifier remove`.
pub(crate) fn remove(args: &RemoveArgs) -> Result<(), CliError> {
    let bundle = open(&args.change)?;
    let classifier = bundle
        .classifier()
        .without_classes(&names(&args.classes)?)?;
    write(&args.change, bundle, classifier)
}

/// Class names of a list or file. Unlike elsewhere, a single name needs no comma: it cannot be the
/// name of a built-in list.
fn names(spec: &str) -> Result<Vec<String>, CliError> {
    let is_one = !spec.contains(',') && !Path::new(spec).exists() && !spec.trim().is_empty();
    let names = if is_one {
        ClassNames::new(vec![spec.to_owned()])?
    } else {
        ClassNames::resolve(spec)?
    };
    Ok(names.into())
}

fn open(args: &ChangeArgs) -> Result<Bundle, CliError> {
    if let Some(out) = &args.out {
        check_output(out, args.force)?;
    }
    Ok(Bundle::open(&args.bundle)?)
}

fn write(args: &ChangeArgs, bundle: Bundle, classifier: Classifier) -> Result<(), CliError> {
    let had_threshold = bundle.calibration().is_some();
    let bundle = bundle.with_classifier(classifier);
    let path = args.out.as_deref().unwrap_or(&args.bundle);
    bundle.write(path)?;
    report_written(&bundle, path)?;
    if had_threshold {
        warning(
            "removed the threshold, which was calibrated with other classes; run `clipn \
             calibrate` again",
        );
    }
    Ok(())
}
