use std::path::Path;

use clipn::bundle::Bundle;
use clipn::prompts::ClassNames;

use super::args::{AddArgs, ChangedArgs, RemoveArgs};
use super::{check_free, wrote};
use crate::common::args::ModelArgs;
use crate::common::error::CliError;
use crate::common::model::Loaded;
use crate::common::progress::Bar;

/// `clipn classifier add`.
pub fn add(args: &AddArgs) -> Result<(), CliError> {
    let bundle = open(&args.changed)?;
    let names = names(&args.classes)?;
    if let Some(name) = names
        .iter()
        .find(|name| bundle.classifier().class_names().contains(name))
    {
        return Err(CliError::Usage(format!(
            "the bundle has a class `{name}` already; leave it out"
        )));
    }
    let model = ModelArgs {
        model: None,
        pretrained: args.pretrained.clone(),
        downloads: args.downloads.clone(),
    };
    let loaded = Loaded::of_bundle(&bundle, &args.changed.bundle, &model)?;
    bundle.check_texts(&loaded.weights)?;
    let added = loaded.encode(
        &names,
        bundle.templates(),
        bundle.wording(),
        &Bar::default(),
    )?;
    let classifier = bundle.classifier().joined(&added)?;
    write(&args.changed, bundle, classifier)
}

/// `clipn classifier remove`.
pub fn remove(args: &RemoveArgs) -> Result<(), CliError> {
    let bundle = open(&args.changed)?;
    let classifier = bundle.classifier().without(&names(&args.classes)?)?;
    write(&args.changed, bundle, classifier)
}

/// One name needs no comma here, where it cannot be taken for a list's.
fn names(spec: &str) -> Result<Vec<String>, CliError> {
    let is_one = !spec.contains(',') && !Path::new(spec).exists() && !spec.trim().is_empty();
    let names = if is_one {
        ClassNames::new(vec![spec.to_owned()])?
    } else {
        ClassNames::resolve(spec)?
    };
    Ok(names.into())
}

fn open(args: &ChangedArgs) -> Result<Bundle, CliError> {
    if let Some(out) = &args.out {
        check_free(out, args.force)?;
    }
    Ok(Bundle::open(&args.bundle)?)
}

fn write(
    args: &ChangedArgs,
    bundle: Bundle,
    classifier: clipn::classifier::Classifier,
) -> Result<(), CliError> {
    let had_threshold = bundle.calibration().is_some();
    let bundle = bundle.with_classifier(classifier);
    let path = args.out.as_deref().unwrap_or(&args.bundle);
    bundle.write(path)?;
    wrote(&bundle, path)?;
    if had_threshold {
        eprintln!(
            "warning: its threshold was calibrated with other classes and is gone; run `clipn calibrate` again"
        );
    }
    Ok(())
}
