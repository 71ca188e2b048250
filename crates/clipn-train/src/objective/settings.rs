use serde::{Deserialize, Serialize};

use clipn_model::Real;
use clipn_text::prompts::PromptVariant;

use crate::objective::Objective;
use crate::objective::clip_loss::Clip;
use crate::objective::clipn_loss::{Clipn, LossWeights, TsoForm};
use crate::objective::error::ObjectiveError;
use crate::objective::name::ObjectiveName;

/// Settings of an objective, as stored in a run's settings and a checkpoint's state.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ObjectiveSettings {
    /// Name of the objective.
    pub name: ObjectiveName,
    /// Form of TSO; only CLIPN's objectives use it.
    #[serde(default)]
    pub tso: TsoForm,
    /// Factor of the "no" logits over "yes" logits of the same cosine; only CLIPN's objectives use it. `None`
    /// means that of the initial weights, which is 1 unless their metadata names another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_scale: Option<f64>,
    /// Weights of CLIPN's terms.
    #[serde(default)]
    pub weights: LossWeights,
}

impl ObjectiveSettings {
    /// Returns whether the objective needs outliers.
    pub fn uses_outliers(&self) -> bool {
        self.name.uses_no() && self.weights.uses_outliers()
    }

    /// Builds the objective.
    ///
    /// # Errors
    /// [`ObjectiveError::InvalidWeight`] if a weight is not finite, [`ObjectiveError::InvalidNoScale`] if
    /// the factor of the "no" logits is not positive and finite.
    pub fn build<T: Real>(&self) -> Result<Box<dyn Objective<T>>, ObjectiveError> {
        let LossWeights {
            yes,
            no,
            tso,
            outlier,
        } = self.weights;
        for (what, value) in [
            ("weight of L_yes", yes),
            ("weight of L_no", no),
            ("weight of L_tso", tso),
            ("weight of L_inlier and L_outlier", outlier),
        ] {
            if !value.is_finite() {
                return Err(ObjectiveError::InvalidWeight { what, value });
            }
        }
        let no_scale = self.no_scale.unwrap_or(1.0);
        if !(no_scale.is_finite() && no_scale > 0.0) {
            return Err(ObjectiveError::InvalidNoScale { value: no_scale });
        }
        let clipn = |variant| {
            Box::new(Clipn {
                variant,
                tso: self.tso,
                weights: self.weights,
                no_scale,
            })
        };
        Ok(match self.name {
            ObjectiveName::Clipn => clipn(PromptVariant::Learnable),
            ObjectiveName::ClipnHandcrafted => clipn(PromptVariant::HandCrafted),
            ObjectiveName::Clip => Box::new(Clip),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_builds_the_objective_of_that_name() {
        for name in ObjectiveName::ALL {
            let settings = ObjectiveSettings {
                name,
                ..Default::default()
            };
            let objective = settings.build::<f32>().unwrap();
            assert_eq!(objective.name(), name.as_str());
            assert_eq!(objective.uses_no(), name.uses_no());
        }
    }

    #[test]
    fn settings_read_as_written() {
        let toml = "name = \"clipn-handcrafted\"\ntso = \"cosine\"\n\n[weights]\nyes = 1.0\nno = 0.5\ntso = 0.25\noutlier = 1.0\n";
        let settings: ObjectiveSettings = toml::from_str(toml).unwrap();
        assert_eq!(settings.name, ObjectiveName::ClipnHandcrafted);
        assert_eq!(settings.tso, TsoForm::Cosine);
        assert_eq!(toml::to_string(&settings).unwrap(), toml);
        assert!(toml::from_str::<ObjectiveSettings>("name = \"siglip\"").is_err());
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
