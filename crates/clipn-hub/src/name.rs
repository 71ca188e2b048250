use std::fmt;
use std::path::{Path, PathBuf};

use clipn_model::PretrainedWeights;

use crate::error::DownloadError;
use crate::hub_name::HubName;
use crate::tags::{self, PretrainedSource, PretrainedTag};

/// Name of weights: a path, a repository on the hub, or a tag of open_clip.
///
/// ```
/// use clipn_hub::WeightsName;
///
/// let name = WeightsName::parse("laion2b_s34b_b88k", Some("ViT-B-16"))?;
/// assert!(matches!(name, WeightsName::Tag(tag) if tag.model == "ViT-B-16"));
/// assert!(matches!(WeightsName::parse("./clipn.pt", None)?, WeightsName::Path(_)));
/// # Ok::<(), clipn_hub::DownloadError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsName {
    /// File or directory, which may not exist.
    Path(PathBuf),
    /// Repository on Hugging Face's hub, or a file of it.
    Hub(HubName),
    /// Tag of open_clip for an architecture.
    Tag(&'static PretrainedTag),
}

impl WeightsName {
    /// Parses a name.
    ///
    /// A name with the prefix `hf-hub:` is a repository. A name with `/`, `\` or `.`, an existing
    /// file and the built-in model are paths. Any other name is a tag of the architecture `model`;
    /// without `model` it is a path, unless open_clip has such a tag.
    ///
    /// # Errors
    /// - [`DownloadError::InvalidName`] if the name of a repository is invalid.
    /// - [`DownloadError::TagWithoutModel`] if a tag is given without `model`.
    /// - [`DownloadError::UnknownTag`] if `model` has no such tag.
    pub fn parse(given: impl AsRef<Path>, model: Option<&str>) -> Result<Self, DownloadError> {
        let given = given.as_ref();
        let path = || Self::Path(given.to_owned());
        let Some(text) = given.to_str() else {
            return Ok(path());
        };
        if text.starts_with(HubName::PREFIX) {
            return HubName::parse(text).map(Self::Hub);
        }
        let exists = || given.exists() || PretrainedWeights::is_builtin_name(given);
        if text.contains(['/', '\\', '.']) || text.is_empty() || exists() {
            return Ok(path());
        }
        let with_tag: Vec<&PretrainedTag> = tags::pretrained_tags()
            .iter()
            .filter(|row| row.has_tag(text))
            .collect();
        let Some(model) = model else {
            return if with_tag.is_empty() {
                Ok(path())
            } else {
                Err(DownloadError::TagWithoutModel {
                    tag: text.to_owned(),
                    models: join(with_tag.iter().map(|row| row.model)),
                })
            };
        };
        if let Some(row) = with_tag.into_iter().find(|row| row.matches_model(model)) {
            return Ok(Self::Tag(row));
        }
        let known: Vec<&str> = tags::pretrained_tags_for(model)
            .map(|row| row.tag)
            .collect();
        Err(DownloadError::UnknownTag {
            tag: text.to_owned(),
            model: model.to_owned(),
            known: join(known.into_iter()),
        })
    }
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for WeightsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Hub(name) => write!(f, "{name}"),
            Self::Tag(row) => match &row.source {
                PretrainedSource::Hub(name) => write!(f, "{} of {} ({name})", row.tag, row.model),
                PretrainedSource::Url { .. } => write!(f, "{} of {}", row.tag, row.model),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_are_paths() {
        for path in ["epoch_10.pt", "models/openai", "nowhere", ".", "/"] {
            assert_eq!(
                WeightsName::parse(path, None).unwrap(),
                WeightsName::Path(path.into()),
                "{path}"
            );
        }
        // A file or directory of that name exists.
        assert_eq!(
            WeightsName::parse("src", Some("ViT-B-32")).unwrap(),
            WeightsName::Path("src".into())
        );
    }

    #[test]
    fn tags_need_an_architecture() {
        let parse = |tag: &str, model: Option<&str>| WeightsName::parse(tag, model);
        for (model, tag) in [
            ("ViT-B-16", "openai"),
            ("ViT-B-16-quickgelu", "OpenAI"),
            ("vit-b/16", "openai"),
        ] {
            let WeightsName::Tag(row) = parse(tag, Some(model)).unwrap() else {
                panic!("{model} {tag}")
            };
            assert_eq!((row.model, row.tag), ("ViT-B-16-quickgelu", "openai"));
        }
        let WeightsName::Tag(row) = parse("laion2b-s34b-b88k", Some("ViT-B-16")).unwrap() else {
            panic!()
        };
        assert_eq!((row.model, row.tag), ("ViT-B-16", "laion2b_s34b_b88k"));

        let error = parse("laion2b_s34b_b88k", None).unwrap_err().to_string();
        assert!(
            error.contains("needs an architecture") && error.contains("ViT-B-16, ViT-g-14"),
            "{error}"
        );
        let error = parse("laion3b", Some("ViT-B-16")).unwrap_err().to_string();
        assert!(
            error.contains("laion2b_s34b_b88k") && error.contains("openai"),
            "{error}"
        );
        // These weights were not trained with QuickGELU.
        assert!(parse("laion2b_s34b_b88k", Some("ViT-B-16-quickgelu")).is_err());
    }
}
