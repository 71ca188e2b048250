use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Name of a checkpoint's directory.
///
/// ```
/// use clipn_train::CheckpointLabel;
///
/// assert_eq!(CheckpointLabel::Step(12).to_string(), "step-12");
/// assert_eq!("epoch-3".parse(), Ok(CheckpointLabel::Epoch(3)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckpointLabel {
    /// `step-N`: after N optimizer steps.
    Step(u64),
    /// `epoch-N`: after N epochs.
    Epoch(u64),
}

/// Error of a name that is not a [`CheckpointLabel`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a checkpoint name such as step-12 or epoch-3, got `{name}`")]
pub struct ParseLabelError {
    name: String,
}

impl CheckpointLabel {
    /// Returns N.
    pub fn number(self) -> u64 {
        match self {
            Self::Step(number) | Self::Epoch(number) => number,
        }
    }
}

impl fmt::Display for CheckpointLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(number) => write!(f, "step-{number}"),
            Self::Epoch(number) => write!(f, "epoch-{number}"),
        }
    }
}

impl FromStr for CheckpointLabel {
    type Err = ParseLabelError;

    /// Parses the name of a directory. Only names as written by [`Display`](fmt::Display) are
    /// labels.
    fn from_str(name: &str) -> Result<Self, ParseLabelError> {
        let parsed = name.split_once('-').and_then(|(kind, number)| {
            let number = number.parse().ok()?;
            match kind {
                "step" => Some(Self::Step(number)),
                "epoch" => Some(Self::Epoch(number)),
                _ => None,
            }
        });
        parsed
            .filter(|label| label.to_string() == name)
            .ok_or_else(|| ParseLabelError {
                name: name.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_only_canonical_names() {
        assert_eq!("step-12".parse(), Ok(CheckpointLabel::Step(12)));
        assert_eq!("epoch-0".parse(), Ok(CheckpointLabel::Epoch(0)));
        for name in [
            "step-012",
            "step-+1",
            "step-",
            "step",
            "steps-1",
            ".step-1.tmp",
            "epoch-1 ",
            "step--1",
        ] {
            let error = name.parse::<CheckpointLabel>().unwrap_err();
            assert!(
                error.to_string().ends_with(&format!("got `{name}`")),
                "{error}"
            );
        }
    }
}
