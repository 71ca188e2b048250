//! Advice for weights, models, class names and images.

use std::error::Error;

use clipn::adaptation::AdaptationError;
use clipn::bundle::BundleError;
use clipn::checkpoint::CheckpointError;
use clipn::classifier::ClassifierError;
use clipn::detector::DetectorError;
use clipn::image::ImageError;
use clipn::inference::ItemError;
use clipn::model::{ConvertError, ModelError, NoConfigReason};
use clipn::negatives::NegativesError;
use clipn::prompts::PromptError;
use clipn::scores::ScoreError;

pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    None.or_else(|| error.downcast_ref().and_then(adaptation))
        .or_else(|| error.downcast_ref().and_then(bundle))
        .or_else(|| error.downcast_ref().and_then(checkpoint))
        .or_else(|| error.downcast_ref().and_then(classifier))
        .or_else(|| error.downcast_ref().and_then(convert))
        .or_else(|| error.downcast_ref().and_then(detector))
        .or_else(|| error.downcast_ref().and_then(image))
        .or_else(|| error.downcast_ref().and_then(model))
        .or_else(|| error.downcast_ref().and_then(negatives))
        .or_else(|| error.downcast_ref().and_then(prompt))
        .or_else(|| error.downcast_ref().and_then(score))
}

fn adaptation(error: &AdaptationError) -> Option<&'static str> {
    Some(match error {
        AdaptationError::NotMemory { .. } => {
            "give a file that --memory wrote, or the name of a new one"
        }
        AdaptationError::OtherStream { .. } | AdaptationError::Stream(_) => {
            "give another --memory, or begin again with --reset-memory"
        }
        _ => return None,
    })
}

fn bundle(error: &BundleError) -> Option<&'static str> {
    Some(match error {
        BundleError::NotFound { .. } => {
            "check the path, or build the bundle with `clipn classifier build`"
        }
        BundleError::NotABundle { .. } => {
            "build a bundle with `clipn classifier build --classes … --out shop.clipn`; \
             weights are given with --pretrained"
        }
        BundleError::ModelMismatch { .. } => {
            "give the weights that the bundle was built with in --pretrained, or build it again"
        }
        BundleError::Corrupt { .. } => "build the bundle again with `clipn classifier build`",
        _ => return None,
    })
}

fn negatives(error: &NegativesError) -> Option<&'static str> {
    Some(match error {
        NegativesError::NoWords { .. } => {
            "give words with --reject or --negatives FILE, or do without: --negatives none"
        }
        NegativesError::OnlyClassNames { .. } => {
            "reject texts that name none of the classes, or do without: --negatives none"
        }
        NegativesError::OtherTower { .. } => {
            "write them with a bundle of these weights: `clipn classifier show BUNDLE --negatives FILE`"
        }
        NegativesError::InvalidGroups { .. } => {
            "the published rules form 100 groups and need as many words: give --negatives wordnet"
        }
        NegativesError::NotNegatives { .. } => {
            "write negatives with `clipn classifier show --negatives`, or give a text file with one \
             word per line"
        }
        NegativesError::Corrupt { .. } => {
            "write the negatives again with `clipn classifier show --negatives`"
        }
        _ => return None,
    })
}

fn score(error: &ScoreError) -> Option<&'static str> {
    Some(match error {
        ScoreError::NeedsNo { .. } => {
            "these weights have not learned \"no\": leave --score out or give neglabel, which rejects \
             with words; or teach \"no\" with `clipn train`"
        }
        ScoreError::NeedsNegatives { .. } => {
            "give words that are no class where the classifier is built, with --classes or by `clipn \
             classifier build`: --negatives wordnet, or --reject \"a hand, an empty table\""
        }
        ScoreError::NeedsLocal { .. } => {
            "score images on the CPU: features in files and towers on GPUs have no patches"
        }
        ScoreError::NeedsFit { .. } => {
            "give in-distribution images to fit it to: `clipn eval --id-train DIR` or --train-features FILE, or \
             `clipn calibrate --score NAME`, which fits it to a part of --id"
        }
        ScoreError::TooFewClasses { .. } => {
            "give more classes, or a score that works with one: neglabel, maxlogit, energy or atd"
        }
        _ => return None,
    })
}

fn checkpoint(error: &CheckpointError) -> Option<&'static str> {
    Some(match error {
        CheckpointError::AmbiguousWeights { .. } | CheckpointError::UnknownWeightsKey { .. } => {
            "name one of them with --weights-key, in `clipn convert` for training"
        }
        CheckpointError::Changed { .. } => {
            "replace files by renaming new ones over them, or give --copy-weights"
        }
        CheckpointError::Overflow { .. } => "write a type of a wider range: --dtype f32 or bf16",
        _ => return None,
    })
}

fn classifier(error: &ClassifierError) -> Option<&'static str> {
    Some(match error {
        ClassifierError::NoClasses => "give at least one class name with --classes",
        ClassifierError::NoTemplates => "give at least one line with `{}` for the class name",
        ClassifierError::MissingNoTemplates { .. } => {
            "give --templates clipn, or a TOML file with `yes = [...]` and `no = [...]`"
        }
        ClassifierError::DuplicateClass { .. } => {
            "leave the class out, or remove it first with `clipn classifier remove`"
        }
        ClassifierError::EqualTexts { .. } => {
            "shorten the names, so that they differ at their beginning, or accept them with \
             --allow-duplicates"
        }
        ClassifierError::UnknownClass { .. } => {
            "`clipn classifier show` lists the classes of a bundle"
        }
        _ => return None,
    })
}

fn convert(error: &ConvertError) -> Option<&'static str> {
    Some(match error {
        ConvertError::OutputExists { .. } => "name another output, or give --force to replace it",
        ConvertError::OutputIsInput { .. } => "name another output",
        ConvertError::NoTrainingVocabulary { .. } => {
            "leave --only-seen-words out; only weights that clipn trained from scratch have a \
             training vocabulary"
        }
        ConvertError::ResNetUnsupported { .. } => "convert with --to open-clip",
        ConvertError::PositionCount { .. } => {
            "give the --model that the weights were trained as, or convert with --to clipn"
        }
        _ => return None,
    })
}

fn detector(error: &DetectorError) -> Option<&'static str> {
    Some(match error {
        DetectorError::ModelNotFound { .. } | DetectorError::NoImageTower => {
            "give the weights with --pretrained, or build the bundle with --with-model, which \
             stores the image tower in it"
        }
        DetectorError::ImageCount { .. } => "the weights are damaged; download or save them again",
        _ => return None,
    })
}

/// The advice for an image that can be read with another flag.
pub(super) fn flag_for_image(error: &ItemError) -> Option<&'static str> {
    match error {
        ItemError::Image(
            error @ (ImageError::UnclearBands { .. }
            | ImageError::BandOutOfRange { .. }
            | ImageError::DimSamples { .. }),
        ) => image(error),
        _ => None,
    }
}

fn image(error: &ImageError) -> Option<&'static str> {
    Some(match error {
        ImageError::FileTooLarge { .. } | ImageError::TooManyPixels { .. } => {
            "scale the image down"
        }
        ImageError::UnclearBands { .. } => {
            "name the bands of red, green and blue, such as --bands 3,2,1"
        }
        ImageError::BandOutOfRange { .. } => "give --bands that the image has",
        ImageError::DimSamples { .. } => {
            "give --sample-bits 12 if the samples use 12 bits, or --sample-bits 16 if the image is \
             meant to be that dark"
        }
        ImageError::InvalidSetting { setting, .. } => return image_setting(setting),
        _ => return None,
    })
}

/// The flag of an augmentation by its name in `settings.toml`.
fn image_setting(setting: &str) -> Option<&'static str> {
    Some(match setting {
        "horizontal_flip" => "give --flip from 0 to 1",
        "greyscale" => "give --grayscale from 0 to 1",
        "erasing" => "give --erasing from 0 to 1",
        "scale" => "give --crop-scale such as 0.35,1",
        _ if setting.starts_with("colour_jitter") => "give --color-jitter such as 0.4,0.4,0.4",
        _ => return None,
    })
}

fn model(error: &ModelError) -> Option<&'static str> {
    Some(match error {
        ModelError::UnknownModel { .. } => {
            "`clipn models` lists the architectures; --model also takes a config file"
        }
        ModelError::MiniNotEmbedded { .. } => "give other weights with --pretrained",
        ModelError::UnsupportedConfig { .. } => "use a plain CLIP config, ViT or ResNet",
        ModelError::UnsupportedPreprocessing { .. } => {
            "use weights of a CLIP with this preprocessing; scores from other pixels would be wrong"
        }
        ModelError::NoConfig { reason, .. } => no_config(*reason),
        ModelError::ConfigMismatch { .. } => {
            "name weights of this architecture, or the architecture of the weights: --pretrained, --model"
        }
        ModelError::WeightsMismatch { .. } => "`clipn inspect` shows what the file contains",
        ModelError::UntrainableResNet { .. } => {
            "use --objective clipn or clipn-handcrafted, which freeze the image tower, or train a ViT"
        }
        ModelError::NoPromptCount { .. } => {
            "give the number in the weights with --no-prompts, or start from a plain CLIP"
        }
        ModelError::TokenOutOfRange { .. } => "the weights need another tokenizer",
        _ => return None,
    })
}

fn no_config(reason: NoConfigReason) -> &'static str {
    match reason {
        NoConfigReason::Bundle => {
            "a bundle is a classifier, for --bundle of classify, eval, calibrate and serve"
        }
        NoConfigReason::ConfigInDirectory { .. } => "give the directory instead of the file",
        _ => {
            "give --model with the name of an architecture or a config file; `clipn inspect` shows \
             which ones fit"
        }
    }
}

fn prompt(error: &PromptError) -> Option<&'static str> {
    Some(match error {
        PromptError::UnresolvedTemplateSet { .. } => "check the name or path in --templates",
        PromptError::UnresolvedClassList { .. } => {
            "check the path, or separate names by commas, as in --classes \"cat, dog\"; a single \
             class is \"cat,\""
        }
        PromptError::DuplicateNames { .. } => {
            "remove the duplicates, or accept them with --allow-duplicates"
        }
        PromptError::UnclearNames { .. } => {
            "give a file with one name per line, a JSON list, or names with commas between them"
        }
        PromptError::MissingSentences { .. } | PromptError::ExtraSentences { .. } => {
            "give the same names in --classes and in the file of --templates"
        }
        _ => return None,
    })
}
