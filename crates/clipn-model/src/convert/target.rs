use std::fmt;
use std::str::FromStr;

use crate::error::UnknownName;
use crate::pretrained::{hub, transformers};

/// Output format of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConversionTarget {
    /// A safetensors file with all three towers under open_clip's names, and with config and
    /// preprocessing in its metadata.
    Clipn,
    /// An open_clip hub directory with the CLIP part of the model: image tower, "yes" tower and
    /// logit scale.
    OpenClip,
    /// A `CLIPModel` directory for Hugging Face `transformers`, with the same part.
    Transformers,
}

impl ConversionTarget {
    /// All formats.
    pub const ALL: [ConversionTarget; 3] = [
        ConversionTarget::Clipn,
        ConversionTarget::OpenClip,
        ConversionTarget::Transformers,
    ];

    /// Returns whether the output is a directory rather than a file.
    pub fn is_directory(self) -> bool {
        self != ConversionTarget::Clipn
    }

    /// Returns the name that [`FromStr`] parses, such as `open-clip`.
    pub fn as_str(self) -> &'static str {
        match self {
            ConversionTarget::Clipn => "clipn",
            ConversionTarget::OpenClip => "open-clip",
            ConversionTarget::Transformers => "transformers",
        }
    }

    /// Returns a noun phrase for messages, such as `an open_clip hub directory`.
    pub fn description(self) -> &'static str {
        match self {
            ConversionTarget::Clipn => "a safetensors file with its config",
            ConversionTarget::OpenClip => "an open_clip hub directory",
            ConversionTarget::Transformers => "a transformers CLIPModel directory",
        }
    }

    /// Returns the names of the files in the directory, weights first; empty for a single file.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            ConversionTarget::Clipn => &[],
            ConversionTarget::OpenClip => &[hub::WEIGHTS_FILE, hub::CONFIG_FILE],
            ConversionTarget::Transformers => &[
                transformers::WEIGHTS_FILE,
                transformers::CONFIG_FILE,
                transformers::PREPROCESSOR_FILE,
            ],
        }
    }
}

impl fmt::Display for ConversionTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ConversionTarget {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == name)
            .ok_or_else(|| {
                UnknownName::new("format", name, "one of clipn, open-clip, transformers")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_name() {
        for format in ConversionTarget::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!(
            "onnx".parse::<ConversionTarget>().unwrap_err().to_string(),
            "unknown format `onnx`; expected one of clipn, open-clip, transformers"
        );
    }
}
