use std::path::{Path, PathBuf};

use clipn::bundle::Bundle;
use clipn::classifier::{ClassPrompts, Classifier};
use clipn::files::StateLock;
use clipn::negatives::Selection;
use clipn::prompts::{ClassList, ClassNames, PromptError, duplicate_names, looks_like_path};

use super::args::{AddArgs, ChangeArgs, RemoveArgs};
use super::report_written;
use crate::common::args::ModelArgs;
use crate::common::bundle_output::check_bundle_output;
use crate::common::classes::{self, ClassesToEncode};
use crate::common::detector::in_precision;
use crate::common::error::CliError;
use crate::common::locks;
use crate::common::messages::{note, warning};
use crate::common::model::{LoadedModel, read_templates};
use crate::common::negatives::attach_again;
use crate::common::overwriting::refuse_inputs;
use crate::common::progress::Bar;

/// `clipn classifier add`.
pub(crate) fn add(args: &AddArgs) -> Result<(), CliError> {
    let lists = [&args.classes].into_iter().chain(&args.templates);
    let weights = args.pretrained.iter().map(PathBuf::as_path);
    refuse_to_replace(&args.change, lists.map(Path::new).chain(weights))?;
    let _lock = lock(&args.change)?;
    let bundle = open(&args.change)?;
    let names = names(&args.classes)?;
    check_new(&bundle, &names, args.allow_duplicates)?;
    let prompts = prompts_of_new(&bundle, args.templates.as_deref())?;
    let model = ModelArgs {
        model: None,
        pretrained: args.pretrained.clone(),
        key: args.key.clone(),
        downloads: args.downloads.clone(),
    };
    let device = args.device.open()?;
    let own = bundle.identity().precision;
    let bundle = in_precision(bundle, &args.change.bundle, &device);
    let precision = bundle.identity().precision;
    if precision != own {
        warning(format_args!(
            "the classes of {} were encoded in {own}, and the new ones are in {precision}: give --precision {own} \
             for one precision",
            args.change.bundle.display()
        ));
    }
    let loaded = LoadedModel::for_bundle(&bundle, &args.change.bundle, &model, &device)?;
    bundle.check_text_towers(&loaded.weights)?;
    let bar = Bar::default();
    let classes = ClassesToEncode {
        names,
        allow_duplicates: args.allow_duplicates,
    };
    let added = loaded.classifier_for_bundle(&classes, &prompts, &bar)?;
    let classifier = bundle.classifier().concat(&added)?;
    let templates = bundle.templates().clone();
    let templates = templates.with_sentences_of(prompts.templates())?;
    let bundle = bundle.with_templates(templates);
    let classifier = match bundle.classifier().negatives() {
        Some(negatives) => attach_again(negatives, &loaded, classifier, bundle.prompts(), &bar)?,
        None => classifier,
    };
    write(&args.change, bundle, classifier)
}

/// Checks new names against each other and those of the bundle.
fn check_new(bundle: &Bundle, names: &[String], allow_duplicates: bool) -> Result<(), CliError> {
    let own = bundle.classifier().class_names();
    let all = [own, names].concat();
    let repeated = duplicate_names(&all).into_iter().find_map(|group| {
        let is_new = |index: &&usize| **index >= own.len();
        group
            .iter()
            .find(is_new)
            .filter(|_| group[0] < own.len())
            .copied()
    });
    if let Some(index) = repeated {
        return Err(CliError::usage(format!(
            "the bundle already has the class `{}`",
            all[index]
        )));
    }
    let list = ClassList::new(ClassNames::new(names.to_vec())?);
    classes::check(&list, allow_duplicates)
}

/// The prompts of new classes: those of the bundle, with sentences from a file if its classes have
/// sentences of their own.
fn prompts_of_new(bundle: &Bundle, file: Option<&str>) -> Result<ClassPrompts, CliError> {
    let has_sentences = bundle.templates().sentences().is_some();
    match (has_sentences, file) {
        (false, None) => Ok(bundle.prompts().clone()),
        (false, Some(_)) => Err(CliError::usage(
            "the classes of the bundle share templates, which the new ones get too: --templates has \
             no effect",
        )),
        (true, None) => Err(CliError::usage_with_hint(
            "each class of the bundle has sentences of its own, and the new ones have none",
            "give a JSON file of their sentences with --templates",
        )),
        (true, Some(file)) => match read_templates(Some(file))? {
            Some(templates) if templates.sentences().is_some() => {
                Ok(ClassPrompts::new(templates, bundle.prompt_variant()))
            }
            _ => Err(CliError::usage(format!(
                "{file} has templates, and each class of the bundle has sentences of its own"
            ))),
        },
    }
}

/// `clipn classifier remove`.
pub(crate) fn remove(args: &RemoveArgs) -> Result<(), CliError> {
    refuse_to_replace(&args.change, [Path::new(&args.classes)])?;
    let _lock = lock(&args.change)?;
    let bundle = open(&args.change)?;
    let removed = names(&args.classes)?;
    let own = bundle.classifier().class_names();
    if let Some(unknown) = removed.iter().find(|name| !own.contains(name)) {
        return Err(CliError::usage_with_hint(
            format!("unknown class `{unknown}`"),
            meant(unknown, args, own),
        ));
    }
    if own.iter().all(|name| removed.contains(name)) {
        return Err(CliError::usage_with_hint(
            format!("no class of {} would be left", args.change.bundle.display()),
            "leave one in, or build another bundle with `clipn classifier build`",
        ));
    }
    let classifier = bundle.classifier().without_classes(&removed)?;
    let templates = bundle.templates().clone();
    let bundle = bundle.with_templates(templates.with_sentences_only_of(classifier.class_names()));
    note_left_out(&classifier);
    write(&args.change, bundle, classifier)
}

/// Notes that words which describe removed classes are no negatives.
fn note_left_out(classifier: &Classifier) {
    let selection = classifier
        .negatives()
        .map(|negatives| &negatives.origin().selection);
    if let Some(Selection::Chosen { excluded: 1.., .. }) = selection {
        note(
            "words that describe the removed classes stay left out of the negatives; build the classifier again \
             to reject with them",
        );
    }
}

/// Rejects an output that the command reads.
fn refuse_to_replace<'a>(
    args: &ChangeArgs,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), CliError> {
    match &args.out {
        Some(out) => refuse_inputs(out, inputs),
        None => Ok(()),
    }
}

/// What a name that is no class may stand for.
fn meant(unknown: &str, args: &RemoveArgs, own: &[String]) -> String {
    let same = |name: &&String| name.to_lowercase() == unknown.to_lowercase();
    match own.iter().find(same) {
        Some(name) => format!("the bundle has `{name}`"),
        None if own.contains(&args.classes) => {
            format!(
                "a name with a comma is one in double quotes: --classes '\"{}\"'",
                args.classes
            )
        }
        None => format!(
            "`clipn classifier show {} --format csv` lists the classes",
            args.change.bundle.display()
        ),
    }
}

/// Class names of a list or file. Unlike elsewhere, a single name needs no comma: it cannot be the
/// name of a built-in list.
fn names(spec: &str) -> Result<Vec<String>, CliError> {
    let names = match ClassList::resolve(spec) {
        // A single name, which needs no comma here.
        Err(PromptError::UnresolvedClassList { .. })
            if !looks_like_path(spec) && !spec.trim().is_empty() =>
        {
            ClassNames::new(vec![spec.to_owned()])?
        }
        list => {
            let list = list?;
            if let Some(description) = list.description() {
                note(description);
            }
            list.into_names()
        }
    };
    Ok(names.into())
}

fn lock(args: &ChangeArgs) -> Result<Option<StateLock>, CliError> {
    locks::of_bundle(&args.bundle, args.out.as_deref())
}

fn open(args: &ChangeArgs) -> Result<Bundle, CliError> {
    if let Some(out) = &args.out {
        check_bundle_output(out, args.force)?;
    }
    Ok(Bundle::open(&args.bundle)?)
}

fn write(args: &ChangeArgs, bundle: Bundle, classifier: Classifier) -> Result<(), CliError> {
    let had_threshold = bundle.calibration().is_some();
    let bundle = bundle.with_classifier(classifier)?;
    let path = args.out.as_deref().unwrap_or(&args.bundle);
    if let Some(out) = &args.out {
        check_bundle_output(out, args.force)?;
    }
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
