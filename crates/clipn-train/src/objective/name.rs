use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::objective::error::ObjectiveError;

/// Name of a training objective, as in `settings.toml` and `state.json`.
///
/// ```
/// use clipn_train::ObjectiveName;
///
/// let name: ObjectiveName = "clipn-handcrafted".parse()?;
/// assert_eq!(name, ObjectiveName::ClipnHandcrafted);
/// assert!(name.uses_no());
/// # Ok::<(), clipn_train::ObjectiveError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ObjectiveName {
    /// `clipn`: a "no" tower with learnable prompts; everything else is frozen.
    #[default]
    Clipn,
    /// `clipn-handcrafted`: a "no" tower that encodes "no" templates; everything else is frozen.
    ClipnHandcrafted,
    /// `clip`: the image tower, the "yes" tower and the logit scale.
    Clip,
}

impl ObjectiveName {
    /// All names, default first.
    pub const ALL: [Self; 3] = [Self::Clipn, Self::ClipnHandcrafted, Self::Clip];

    /// Returns the name as text, such as `clipn-handcrafted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clipn => "clipn",
            Self::ClipnHandcrafted => "clipn-handcrafted",
            Self::Clip => "clip",
        }
    }

    /// Whether the objective trains a "no" tower, with everything else frozen.
    pub fn uses_no(self) -> bool {
        self != Self::Clip
    }
}

impl fmt::Display for ObjectiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ObjectiveName {
    type Err = ObjectiveError;

    /// Parses a name as written by [`Display`](fmt::Display).
    ///
    /// # Errors
    /// [`ObjectiveError::UnknownObjective`] for any other name.
    fn from_str(name: &str) -> Result<Self, ObjectiveError> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == name)
            .ok_or_else(|| ObjectiveError::UnknownObjective {
                name: name.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ObjectiveName::ALL {
            assert_eq!(name.to_string().parse::<ObjectiveName>().unwrap(), name);
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<ObjectiveName>(&json).unwrap(), name);
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_names() {
        let error = "siglip".parse::<ObjectiveName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown objective `siglip`; expected one of: clipn, clipn-handcrafted, clip"
        );
    }
}
