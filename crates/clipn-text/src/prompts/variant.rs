use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::PromptError;

/// Variant of CLIPN by its "no" prompts: how the text of the "no" tower differs from that of the
/// "yes" tower.
///
/// The names in files and command lines are `learnable` and `hand-crafted`.
///
/// ```
/// use clipn_text::prompts::PromptVariant;
///
/// let variant: PromptVariant = "hand-crafted".parse()?;
/// assert_eq!(variant, PromptVariant::HandCrafted);
/// assert_eq!(variant.to_string(), "hand-crafted");
/// # Ok::<(), clipn_text::prompts::PromptError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptVariant {
    /// Learnable variant: both towers encode the same text, and learned "no" prompts in the "no"
    /// tower make the difference.
    #[default]
    Learnable,
    /// Hand-crafted variant: the "no" tower encodes the `no` template that is paired with the
    /// `yes` template; see [`TemplateSet::pairs`](super::TemplateSet::pairs).
    #[serde(alias = "hand_crafted", alias = "handcrafted")]
    HandCrafted,
}

impl PromptVariant {
    /// Both variants, default first.
    pub const ALL: [Self; 2] = [Self::Learnable, Self::HandCrafted];

    /// Name in files and command lines, such as `hand-crafted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Learnable => "learnable",
            Self::HandCrafted => "hand-crafted",
        }
    }
}

impl fmt::Display for PromptVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for PromptVariant {
    type Err = PromptError;

    /// Parses a name, ignoring ASCII case. `hand_crafted` and `handcrafted` are aliases of
    /// `hand-crafted`.
    ///
    /// # Errors
    /// [`PromptError::UnknownVariant`] for any other name.
    fn from_str(name: &str) -> Result<Self, PromptError> {
        match name.trim().to_ascii_lowercase().as_str() {
            "learnable" => Ok(Self::Learnable),
            "hand-crafted" | "hand_crafted" | "handcrafted" => Ok(Self::HandCrafted),
            _ => Err(PromptError::UnknownVariant {
                name: name.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for variant in PromptVariant::ALL {
            assert_eq!(
                variant.to_string().parse::<PromptVariant>().unwrap(),
                variant
            );
            let json = serde_json::to_string(&variant).unwrap();
            assert_eq!(json, format!("\"{variant}\""));
            assert_eq!(
                serde_json::from_str::<PromptVariant>(&json).unwrap(),
                variant
            );
        }
    }

    #[test]
    fn other_spellings_of_hand_crafted_are_read() {
        for name in ["hand_crafted", "handcrafted"] {
            assert_eq!(
                name.parse::<PromptVariant>().unwrap(),
                PromptVariant::HandCrafted
            );
            let json = format!("\"{name}\"");
            assert_eq!(
                serde_json::from_str::<PromptVariant>(&json).unwrap(),
                PromptVariant::HandCrafted
            );
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_names() {
        let error = "auto".parse::<PromptVariant>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown prompt variant `auto`; expected learnable or hand-crafted"
        );
    }
}
