//! Weights by name: told from paths, fetched where they are not in the cache.

use std::path::{Path, PathBuf};

use clap::Args;
use clipn::download::{HubName, Name, Purpose, Settings};
use clipn::model::Pretrained;

use crate::common::error::CliError;
use crate::common::progress::Bar;

/// Where weights may come from.
#[derive(Debug, Clone, Args)]
pub struct DownloadArgs {
    /// Fetch nothing: take weights from the cache, or fail [env: HF_HUB_OFFLINE]
    #[arg(long)]
    pub offline: bool,
}

/// Weights on this machine, and the architecture to hold them against.
#[derive(Debug)]
pub struct Located {
    /// The file or folder.
    pub path: PathBuf,
    /// The architecture, where the weights do not tell it themselves.
    pub model: Option<String>,
}

/// Finds what `--pretrained` and `--model` name, and fetches it where it is a name of weights and not there.
pub fn locate(
    pretrained: Option<&Path>,
    model: Option<&str>,
    downloads: &DownloadArgs,
    purpose: Purpose,
) -> Result<Located, CliError> {
    let (given, model) = asked(pretrained, model)?;
    let name = Name::of(given, model)?;
    if let Name::Path(path) = name {
        return Ok(Located {
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
    let Some(of_tag) = fetched.model else {
        return Ok(Located {
            path: fetched.path,
            model: model.map(str::to_owned),
        });
    };
    if model.is_some_and(|model| !model.replace('/', "-").eq_ignore_ascii_case(of_tag)) {
        eprintln!(
            "{} weights have QuickGELU: they are opened as {of_tag}",
            given.display()
        );
    }
    let told = Pretrained::open(&fetched.path)?.config();
    let model = matches!(told, Ok(None)).then(|| of_tag.to_owned());
    Ok(Located {
        path: fetched.path,
        model,
    })
}

/// The weights and the architecture that are asked for. As in open_clip, a repository as the model is both.
fn asked<'a>(
    pretrained: Option<&'a Path>,
    model: Option<&'a str>,
) -> Result<(&'a Path, Option<&'a str>), CliError> {
    let of_hub = model.filter(|model| model.starts_with(HubName::PREFIX));
    match (pretrained, of_hub) {
        (None, Some(repository)) => Ok((Path::new(repository), None)),
        (Some(weights), None) => Ok((weights, model)),
        (Some(_), Some(repository)) => Err(CliError::Usage(format!(
            "--model {repository} is weights with their architecture, and --pretrained names others; leave one of them out"
        ))),
        (None, None) => match model {
            None => Ok((Path::new(Pretrained::MINI), None)),
            Some(model) => Err(CliError::Usage(format!(
                "--model {model} says what the weights are, not where; give --pretrained too (a file, a folder, \
                 hf-hub:OWNER/NAME, or one of open_clip's tags), or neither for the built-in {}",
                Pretrained::MINI
            ))),
        },
    }
}
