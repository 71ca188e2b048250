use std::fmt;
use std::str::FromStr;

use crate::pretrained::{hub, transformers};

/// What weights are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// A safetensors file of all three towers under open_clip's names, with config and preprocessing in its metadata.
    Clipn,
    /// A folder of open_clip's hub, for CLIP's own part: image tower, "yes" tower and logit scale.
    OpenClip,
    /// A folder of `CLIPModel` of Hugging Face's `transformers`, for the same part.
    Transformers,
}

impl Target {
    /// Every target.
    pub const ALL: [Target; 3] = [Target::Clipn, Target::OpenClip, Target::Transformers];

    /// Whether it is a folder and not a file.
    pub fn is_folder(self) -> bool {
        self != Target::Clipn
    }

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Target::Clipn => "clipn",
            Target::OpenClip => "open-clip",
            Target::Transformers => "transformers",
        }
    }

    /// Names of the files in its folder, the weights first; none of a file.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            Target::Clipn => &[],
            Target::OpenClip => &[hub::WEIGHTS, hub::CONFIG],
            Target::Transformers => &[
                transformers::WEIGHTS,
                transformers::CONFIG,
                transformers::PREPROCESSOR,
            ],
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Target::Clipn => "a safetensors file with its config",
            Target::OpenClip => "an open_clip hub folder",
            Target::Transformers => "a transformers CLIPModel folder",
        })
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|target| target.name() == text);
        found.ok_or_else(|| format!("give {}", Self::ALL.map(Self::name).join(", ")))
    }
}
