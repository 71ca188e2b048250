//! Weights by name: distinguished from paths, and downloaded if the cache does not have them.

use std::path::{Path, PathBuf};

use clap::Args;
use clipn::download::{HubName, Name, Purpose, Settings};
use clipn::model::Pretrained;

use crate::common::error::CliError;
use crate::common::progress::Bar;

/// Whether weights may be downloaded.
#[derive(Debug, Clone, Args)]
pub(crate) struct DownloadArgs {
    /// Do not download: take weights from the cache, or fail [env: HF_HUB_OFFLINE]
    #[arg(long)]
    pub offline: bool,
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
    purpose: Purpose,
) -> Result<LocatedWeights, CliError> {
    let (given, model) = weights_and_model(pretrained, model)?;
    let name = Name::of(given, model)?;
    if let Name::Path(path) = name {
        return Ok(LocatedWeights {
            path,
            model: model.map(str::to_owned),
        });
    }
    let settings = Settings::from_env()?;
    let settings = if downloads.offline {
        settings.offline()
    } else {
        settings
    };
    let fetched = name.fetch(&settings, purpose, &Bar::default())?;
    for note in &fetched.notes {
        eprintln!("warning: {note}");
    }
    let Some(tag_model) = fetched.model else {
        return Ok(LocatedWeights {
            path: fetched.path,
            model: model.map(str::to_owned),
        });
    };
    if model.is_some_and(|model| !model.replace('/', "-").eq_ignore_ascii_case(tag_model)) {
        eprintln!(
            "note: {} weights use QuickGELU; opening them as {tag_model}",
            given.display()
        );
    }
    let own_config = Pretrained::open(&fetched.path)?.config();
    let model = matches!(own_config, Ok(None)).then(|| tag_model.to_owned());
    Ok(LocatedWeights {
        path: fetched.path,
        model,
    })
}

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
            None => Ok((Path::new(Pretrained::MINI), None)),
            Some(model) => Err(CliError::usage_with_hint(
                format!("--model {model} is an architecture without weights"),
                format!(
                    "give --pretrained too (a file, a directory, hf-hub:OWNER/NAME, or an \
                     open_clip tag), or neither for the built-in {}",
                    Pretrained::MINI
                ),
            )),
        },
    }
}
