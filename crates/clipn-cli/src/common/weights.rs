//! Weights by name: distinguished from paths, and downloaded if the cache does not have them.

use std::path::{Path, PathBuf};
#[cfg(feature = "mini")]
use std::sync::Once;

use clap::Args;
use clipn::checkpoint::escape_for_display;
use clipn::count::count;
use clipn::download::{DownloadSettings, FetchPurpose, HubName, WeightsName};
use clipn::model::{ModelConfig, PretrainedWeights};

use crate::common::error::CliError;
use crate::common::messages::{detail, note, warning};
use crate::common::progress::Bar;
#[cfg(feature = "mini")]
use crate::common::version::MINI_LICENSE;

/// Whether weights may be downloaded.
#[derive(Debug, Clone, Args)]
pub(crate) struct DownloadArgs {
    /// Do not download: take weights from the cache, or fail [env: HF_HUB_OFFLINE]
    #[arg(long)]
    pub offline: bool,
}

/// Choice among the models in a file.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WeightsKeyArgs {
    /// Which model of a file with several, such as an averaged copy: state_dict_ema (`clipn inspect` lists
    /// them)
    #[arg(long, value_name = "KEY")]
    pub weights_key: Option<String>,
}

impl WeightsKeyArgs {
    /// Opens weights, and notes what else their file has.
    pub(crate) fn open(&self, path: &Path) -> Result<PretrainedWeights, CliError> {
        if self.weights_key.is_some() && PretrainedWeights::is_builtin_name(path) {
            return Err(CliError::usage_with_hint(
                "--weights-key has no effect: the built-in weights are of one model",
                "give the file of several models with --pretrained",
            ));
        }
        let weights = PretrainedWeights::open_with_key(path, self.weights_key.as_deref())?;
        let checkpoint = weights.checkpoint();
        let shown = |names: &[String]| {
            let names = names.iter().map(|name| escape_for_display(name));
            names.collect::<Vec<_>>().join(", ")
        };
        if self.weights_key.is_none() && !checkpoint.other_models().is_empty() {
            note(format_args!(
                "{} has other models too, which --weights-key takes: {}",
                path.display(),
                shown(checkpoint.other_models())
            ));
        }
        if let [first, ..] = checkpoint.ignored() {
            note(format_args!(
                "left out {} of {}, no part of the model under `{}`, such as {}",
                count(checkpoint.ignored().len(), "tensor"),
                path.display(),
                checkpoint.stripped_prefix(),
                escape_for_display(first)
            ));
        }
        if let Some(older) = weights.overridden_preprocessing() {
            warning(format_args!(
                "{} has other pixels than processor_config.json, which is used; transformers 5 \
                 reads the latter, transformers 4 the former",
                older.display()
            ));
        }
        Ok(weights)
    }
}

/// Weights on this machine, and the architecture to open them with.
#[derive(Debug)]
pub(crate) struct LocatedWeights {
    /// File or directory.
    pub path: PathBuf,
    /// Architecture, if the weights do not come with their own.
    pub model: Option<String>,
}

/// Resolves `--pretrained` and `--model` to a path. Downloads weights given by name if the cache
/// does not have them.
pub(crate) fn locate(
    pretrained: Option<&Path>,
    model: Option<&str>,
    downloads: &DownloadArgs,
    purpose: FetchPurpose,
) -> Result<LocatedWeights, CliError> {
    let (given, model) = weights_and_model(pretrained, model)?;
    let name = WeightsName::parse(given, model)?;
    if let WeightsName::Path(path) = name {
        report(&path, None);
        return Ok(LocatedWeights {
            path,
            model: model.map(str::to_owned),
        });
    }
    let settings = DownloadSettings::from_env()?;
    let settings = if downloads.offline {
        settings.without_downloads()
    } else {
        settings
    };
    let fetched = name.fetch_with_progress(&settings, purpose, &Bar::default())?;
    for note in &fetched.notes {
        warning(note);
    }
    report(given, Some(&fetched.path));
    let Some(tag_model) = fetched.model else {
        return Ok(LocatedWeights {
            path: fetched.path,
            model: model.map(str::to_owned),
        });
    };
    if model.is_some_and(|model| !model.replace('/', "-").eq_ignore_ascii_case(tag_model)) {
        note(format_args!(
            "{} weights use QuickGELU; opening them as {tag_model}",
            given.display()
        ));
    }
    let own_config = PretrainedWeights::open(&fetched.path)?.config();
    let model = matches!(own_config, Ok(None)).then(|| tag_model.to_owned());
    Ok(LocatedWeights {
        path: fetched.path,
        model,
    })
}

/// Prints the weights, and the path of weights given by name, if verbose.
fn report(given: &Path, path: Option<&Path>) {
    let location = match path {
        Some(path) => format!(", in {}", path.display()),
        None if PretrainedWeights::is_builtin_name(given) => ", built in".to_owned(),
        None => String::new(),
    };
    detail(format_args!("weights {}{location}", given.display()));
}

/// The demonstration model, for a command line without weights. Notes its terms once.
fn demonstration_model() -> Result<&'static Path, CliError> {
    let path = Path::new(PretrainedWeights::MINI);
    #[cfg(feature = "mini")]
    {
        static NOTED: Once = Once::new();
        if PretrainedWeights::is_builtin_name(path) {
            NOTED.call_once(|| {
                note(format_args!(
                    "using the demonstration model {}, for {MINI_LICENSE}; name other weights \
                     with --pretrained",
                    PretrainedWeights::MINI
                ));
            });
        }
        Ok(path)
    }
    #[cfg(not(feature = "mini"))]
    if path.exists() {
        Ok(path)
    } else {
        Err(CliError::usage_with_hint(
            "no weights: this clipn was built without the demonstration model",
            format!("give --pretrained: {WEIGHTS}"),
        ))
    }
}

/// What `--pretrained` takes, for hints.
const WEIGHTS: &str = "a file, a directory, hf-hub:OWNER/NAME, or an open_clip tag";

/// The weights and the architecture that the flags name. As in open_clip, a repository given as
/// the model is both.
fn weights_and_model<'a>(
    pretrained: Option<&'a Path>,
    model: Option<&'a str>,
) -> Result<(&'a Path, Option<&'a str>), CliError> {
    let repository = model.filter(|model| model.starts_with(HubName::PREFIX));
    match (pretrained, repository) {
        (None, Some(repository)) => Ok((Path::new(repository), None)),
        (Some(weights), None) => Ok((weights, model)),
        (Some(_), Some(repository)) => Err(CliError::usage_with_hint(
            format!(
                "--model {repository} names weights with their architecture, and --pretrained \
                 names other weights"
            ),
            "leave one of them out",
        )),
        (None, None) => match model {
            None => Ok((demonstration_model()?, None)),
            Some(model) => {
                // An unknown name is no architecture.
                ModelConfig::resolve(model)?;
                Err(CliError::usage_with_hint(
                    format!("--model {model} is an architecture without weights"),
                    if PretrainedWeights::HAS_MINI {
                        format!(
                            "give --pretrained too ({WEIGHTS}), or neither for the built-in {}",
                            PretrainedWeights::MINI
                        )
                    } else {
                        format!("give --pretrained too ({WEIGHTS})")
                    },
                ))
            }
        },
    }
}
