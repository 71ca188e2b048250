use std::fmt;
use std::str::FromStr;

use crate::pretrained::{hub, transformers};

/// Output format of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// A safetensors file with all three towers under open_clip's names, and with config and
    /// preprocessing in its metadata.
    Clipn,
    /// An open_clip hub directory with the CLIP part of the model: image tower, "yes" tower and
    /// logit scale.
    OpenClip,
    /// A `CLIPModel` directory for Hugging Face `transformers`, with the same part.
    Transformers,
}

impl Target {
    /// All formats.
    pub const ALL: [Target; 3] = [Target::Clipn, Target::OpenClip, Target::Transformers];

    /// Returns whether the output is a directory rather than a file.
    pub fn is_directory(self) -> bool {
        self != Target::Clipn
    }

    /// Returns the name that [`FromStr`] parses, such as `open-clip`.
    pub fn name(self) -> &'static str {
        match self {
            Target::Clipn => "clipn",
            Target::OpenClip => "open-clip",
            Target::Transformers => "transformers",
        }
    }

    /// Returns the names of the files in the directory, weights first; empty for a single file.
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
            Target::OpenClip => "an open_clip hub directory",
            Target::Transformers => "a transformers CLIPModel directory",
        })
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|target| target.name() == text);
        found.ok_or_else(|| {
            format!(
                "unknown format `{text}`; expected one of {}",
                Self::ALL.map(Self::name).join(", ")
            )
        })
    }
}
