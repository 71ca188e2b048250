use serde::{Deserialize, Serialize};

use super::{Clip, Clipn, LossWeights, Objective, ObjectiveError, Tso, Variant};
use clipn_model::Real;

/// Names of all objectives.
pub const OBJECTIVE_NAMES: &[&str] = &["clipn", "clipn-handcrafted", "clip"];

/// Settings of an objective, as stored in a run's settings and a checkpoint's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveSettings {
    /// One of [`OBJECTIVE_NAMES`].
    pub name: String,
    /// Similarity in TSO; only CLIPN's objectives use it.
    #[serde(default)]
    pub tso: Tso,
    /// Weights of CLIPN's terms.
    #[serde(default)]
    pub weights: LossWeights,
}

impl Default for ObjectiveSettings {
    /// `clipn` as published.
    fn default() -> Self {
        Self {
            name: "clipn".to_owned(),
            tso: Tso::default(),
            weights: LossWeights::default(),
        }
    }
}

impl ObjectiveSettings {
    /// Builds the objective.
    ///
    /// # Errors
    /// [`ObjectiveError::Unknown`] if the name is unknown, [`ObjectiveError::Setting`] if a weight
    /// is not finite.
    pub fn build<T: Real>(&self) -> Result<Box<dyn Objective<T>>, ObjectiveError> {
        let LossWeights { yes, no, tso } = self.weights;
        for (what, value) in [
            ("weight of L_yes", yes),
            ("weight of L_no", no),
            ("weight of L_tso", tso),
        ] {
            if !value.is_finite() {
                return Err(ObjectiveError::Setting { what, value });
            }
        }
        let clipn = |variant| {
            Box::new(Clipn {
                variant,
                tso: self.tso,
                weights: self.weights,
            })
        };
        match self.name.as_str() {
            "clipn" => Ok(clipn(Variant::Learnable)),
            "clipn-handcrafted" => Ok(clipn(Variant::HandCrafted)),
            "clip" => Ok(Box::new(Clip)),
            _ => Err(ObjectiveError::Unknown {
                name: self.name.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_builds_the_objective_of_that_name() {
        for &name in OBJECTIVE_NAMES {
            let settings = ObjectiveSettings {
                name: name.to_owned(),
                ..Default::default()
            };
            let objective = settings.build::<f32>().unwrap();
            assert_eq!(objective.name(), name);
            assert_eq!(objective.uses_no(), name != "clip");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_names() {
        let settings = ObjectiveSettings {
            name: "siglip".to_owned(),
            ..Default::default()
        };
        let error = settings.build::<f32>().err().unwrap().to_string();
        assert!(
            error.contains("`siglip`") && error.contains("clipn-handcrafted, clip"),
            "{error}"
        );
    }

    #[test]
    fn rejects_weights_that_are_not_finite() {
        let mut settings = ObjectiveSettings::default();
        settings.weights.no = f64::NAN;
        let error = settings.build::<f32>().err().unwrap().to_string();
        assert!(
            error == "weight of L_no: expected a finite number, got NaN",
            "{error}"
        );
    }
}
