//! Advice for weights, models, class names and images.

use std::error::Error;

use clipn::bundle::BundleError;
use clipn::checkpoint::CheckpointError;
use clipn::classifier::ClassifierError;
use clipn::detector::DetectorError;
use clipn::image::ImageError;
use clipn::model::{ConvertError, ModelError};
use clipn::prompts::PromptError;

pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    None.or_else(|| error.downcast_ref().and_then(bundle))
        .or_else(|| error.downcast_ref().and_then(checkpoint))
        .or_else(|| error.downcast_ref().and_then(classifier))
        .or_else(|| error.downcast_ref().and_then(convert))
        .or_else(|| error.downcast_ref().and_then(detector))
        .or_else(|| error.downcast_ref().and_then(image))
        .or_else(|| error.downcast_ref().and_then(model))
        .or_else(|| error.downcast_ref().and_then(prompt))
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
        BundleError::Version { .. } => "use a later version of clipn",
        BundleError::ModelMismatch { .. } => {
            "give the weights that the bundle was built with in --pretrained, or build it again"
        }
        BundleError::Damaged { .. } => "build the bundle again with `clipn classifier build`",
        _ => return None,
    })
}

fn checkpoint(error: &CheckpointError) -> Option<&'static str> {
    Some(match error {
        CheckpointError::NotFound { .. } => "check the path",
        CheckpointError::Folder { found, inside, .. } if found.is_empty() && inside.is_empty() => {
            "give a directory with weights"
        }
        CheckpointError::Folder { .. } => "give one of the listed files or directories",
        CheckpointError::Index { .. } => "download the index and its shards again",
        CheckpointError::Layout { .. } => {
            "save the model again with `save_pretrained` of transformers"
        }
        CheckpointError::NotAFile { .. } => "save the weights to a file; they are memory-mapped",
        CheckpointError::PermissionDenied { .. } => "make the file readable for this user",
        CheckpointError::Empty { .. } | CheckpointError::Truncated { .. } => {
            "download or copy the file again"
        }
        CheckpointError::Unrecognized { advice, .. } => advice,
        CheckpointError::Corrupt { .. } => "download or save the file again",
        CheckpointError::DisallowedGlobal { .. } | CheckpointError::NoTensors { .. } => {
            "in Python, from a program that you trust, save the weights alone: \
             torch.save(model.state_dict(), \"weights.pt\")"
        }
        CheckpointError::UnsupportedDtype { .. } => {
            "convert the tensor to float32, float16 or bfloat16, and save the file again"
        }
        CheckpointError::BigEndian { .. } => {
            "load the file with PyTorch and save it as safetensors, which is always little-endian"
        }
        CheckpointError::TooLarge { .. } => {
            "hostile files look like this; if you trust the file, load it with PyTorch and save \
             its state dict as safetensors"
        }
        CheckpointError::Overflow { .. } => "write a type of a wider range: --dtype f32 or bf16",
        _ => return None,
    })
}

fn classifier(error: &ClassifierError) -> Option<&'static str> {
    Some(match error {
        ClassifierError::NoClasses => "give at least one class name with --classes",
        ClassifierError::NoTemplates => "give at least one line with `{}` for the class name",
        ClassifierError::NoNoTemplates { .. } => {
            "give --templates clipn, or a TOML file with `yes = [...]` and `no = [...]`"
        }
        ClassifierError::Repeated { .. } => {
            "leave the class out, or remove it first with `clipn classifier remove`"
        }
        ClassifierError::UnknownClass { .. } => {
            "`clipn classifier show` lists the classes of a bundle"
        }
        ClassifierError::NotFinite { .. } => "the weights are damaged; download or save them again",
        _ => return None,
    })
}

fn convert(error: &ConvertError) -> Option<&'static str> {
    Some(match error {
        ConvertError::Exists { .. } => "name another output, or give --force to replace it",
        ConvertError::Same { .. } => "name another output",
        ConvertError::NoSeenWords { .. } => {
            "leave --only-seen-words out; only weights that clipn trained from scratch have a \
             training vocabulary"
        }
        ConvertError::ResNet { .. } => "convert with --to open-clip",
        ConvertError::Positions { .. } => {
            "give the --model that the weights were trained as, or convert with --to clipn"
        }
        _ => return None,
    })
}

fn detector(error: &DetectorError) -> Option<&'static str> {
    Some(match error {
        DetectorError::NoModel { .. } => {
            "give the weights with --pretrained, or build the bundle with --with-model, which \
             stores the image tower in it"
        }
        DetectorError::Empty => "the weights are damaged; download or save them again",
        _ => return None,
    })
}

fn image(error: &ImageError) -> Option<&'static str> {
    Some(match error {
        ImageError::NotFound { .. } => "check the path",
        ImageError::PermissionDenied { .. } => "make the file readable for this user",
        ImageError::IsDirectory { .. } => "name a file in the directory",
        ImageError::Read { .. } => "check the disk or the network share",
        ImageError::FileTooLarge { .. } | ImageError::TooManyPixels { .. } => {
            "scale the image down"
        }
        ImageError::Empty { .. }
        | ImageError::Truncated { .. }
        | ImageError::Damaged { .. }
        | ImageError::ZeroSize { .. } => "download or export the image again",
        ImageError::UnknownFormat {
            detected_content, ..
        } if detected_content.contains("Git LFS") => "run `git lfs pull`",
        ImageError::UnknownFormat { .. } => "convert the file to JPEG or PNG",
        ImageError::Unsupported { .. } => "convert the image to 8-bit RGB PNG or JPEG",
        _ => return None,
    })
}

fn model(error: &ModelError) -> Option<&'static str> {
    Some(match error {
        ModelError::UnknownModel { .. } => {
            "`clipn models` lists the architectures; --model also takes a config file"
        }
        ModelError::UnsupportedConfig { .. } => "use a plain CLIP config, ViT or ResNet",
        ModelError::NoConfig { .. } => {
            "give --model with the name of an architecture or a config file; `clipn inspect` shows \
             which ones fit, and --bundle takes bundles"
        }
        ModelError::Contradiction { .. } => {
            "leave --model out, or name the architecture of the weights"
        }
        ModelError::WeightsMismatch { .. } => "`clipn inspect` shows what the file contains",
        ModelError::UntrainableResNet { .. } => {
            "use --objective clipn or clipn-handcrafted, which freeze the image tower, or train a ViT"
        }
        ModelError::TokenOutOfRange { .. } => "the weights need another tokenizer",
        _ => return None,
    })
}

fn prompt(error: &PromptError) -> Option<&'static str> {
    Some(match error {
        PromptError::UnresolvedTemplateSet { .. } => "check the name or path in --templates",
        PromptError::UnresolvedClassList { .. } => {
            "check the path, or separate names by commas, as in --classes \"cat, dog\"; a single \
             class is \"cat,\""
        }
        PromptError::Unreadable { .. } => "check that the file exists and is readable",
        PromptError::TooLarge { .. } => "give a text file with one entry per line",
        PromptError::NotUtf8 { .. } => "save the file as UTF-8",
        PromptError::MissingPlaceholder { .. } => {
            "put `{}` where the class name goes, as in `a photo of a {}.`"
        }
        PromptError::NoTemplates { .. } => "add at least one line, such as `a photo of a {}.`",
        PromptError::UnequalTemplateCounts { .. } => {
            "give one `no` template per `yes` template, or omit `no`"
        }
        PromptError::NoClasses { .. } => "give at least one class name",
        PromptError::EmptyName { .. } => {
            "fill in or remove the name; the order of names is the order of classes"
        }
        _ => return None,
    })
}
