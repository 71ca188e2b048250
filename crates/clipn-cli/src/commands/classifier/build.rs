use std::path::Path;

use clipn::bundle::{Bundle, ModelIdentity};
use clipn::model::Pretrained;
use clipn::prompts::{ClassNames, TemplateSet};

use super::args::BuildArgs;
use super::{check_free, wrote};
use crate::common::detector::preprocessing;
use crate::common::error::CliError;
use crate::common::model::Loaded;
use crate::common::progress::Bar;

/// `clipn classifier build`.
pub fn run(args: &BuildArgs) -> Result<(), CliError> {
    check_free(&args.out, args.force)?;
    let names = ClassNames::resolve(&args.classes)?;
    let loaded = Loaded::open(&args.model)?;
    let templates = TemplateSet::resolve(loaded.templates(&args.prompts))?;
    let (classifier, wording) = loaded.classifier(names.names(), &args.prompts, &Bar::default())?;
    let identity = ModelIdentity::of(&loaded.weights, Some(source(args.model.asked())));
    let preprocessing = preprocessing(&loaded, args.faithful_pixels);
    let bundle = Bundle::new(classifier, templates, wording, identity, preprocessing);
    let bundle = if args.with_model {
        bundle.with_image_tower(&loaded.weights)?
    } else {
        bundle
    };
    bundle.write(&args.out)?;
    wrote(&bundle, &args.out)
}

/// Weights on disk by their whole path, so that the bundle may be used from elsewhere; names as they are.
fn source(asked: &Path) -> String {
    let is_built_in = Pretrained::is_mini(asked);
    let path = if is_built_in {
        None
    } else {
        std::fs::canonicalize(asked).ok()
    };
    path.as_deref().unwrap_or(asked).display().to_string()
}
