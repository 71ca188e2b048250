use std::path::{Path, PathBuf};

use clipn::bundle::{Bundle, ModelIdentity};
use clipn::model::PretrainedWeights;

use super::args::BuildArgs;
use super::report_written;
use crate::common::bundle_output::check_bundle_output;
use crate::common::classes;
use crate::common::detector::preprocessing;
use crate::common::error::CliError;
use crate::common::model::LoadedModel;
use crate::common::overwriting::refuse_inputs;
use crate::common::progress::Bar;

/// `clipn classifier build`.
pub(crate) fn run(args: &BuildArgs) -> Result<(), CliError> {
    check_bundle_output(&args.out, args.force)?;
    let lists = [
        &args.prompts.templates,
        &args.negatives.reject,
        &args.model.model,
    ];
    let lists = lists.into_iter().flatten().chain([&args.classes]);
    let weights = args.model.pretrained.iter().map(PathBuf::as_path);
    let words = args.negatives.file();
    refuse_inputs(&args.out, lists.map(Path::new).chain(weights).chain(words))?;
    let names = classes::to_encode(&args.classes, args.prompts.allow_duplicates)?;
    let loaded = LoadedModel::open(&args.model, &args.device.open()?)?;
    Bundle::check_features(&loaded.weights)?;
    let bar = Bar::default();
    let (classifier, prompts) = loaded.classifier(&names, &args.prompts, &bar)?;
    let classifier = args.negatives.attach(&loaded, classifier, &prompts, &bar)?;
    let identity =
        ModelIdentity::from_weights(&loaded.weights, Some(source(args.model.requested())));
    let preprocessing = preprocessing(&loaded, args.faithful_pixels, &args.pixels);
    let bundle = Bundle::new(classifier, prompts, identity, preprocessing);
    let bundle = if args.with_model {
        bundle.with_image_tower(&loaded.weights)?
    } else {
        bundle
    };
    // Another process may have written it meanwhile.
    check_bundle_output(&args.out, args.force)?;
    bundle.write(&args.out)?;
    report_written(&bundle, &args.out)?;
    Ok(())
}

/// The source of the weights for the bundle: the absolute path of a file, so that the bundle works
/// from any directory, or the name as given.
fn source(requested: &Path) -> String {
    let is_built_in = PretrainedWeights::is_builtin_name(requested);
    let path = if is_built_in {
        None
    } else {
        std::fs::canonicalize(requested).ok()
    };
    path.as_deref().unwrap_or(requested).display().to_string()
}
