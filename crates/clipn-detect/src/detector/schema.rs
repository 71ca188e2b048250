//! The serialized form of a [`Detection`], described on the page of the module.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::detector::{Candidate, Detection, Evidence, NearestNegative, StrongestNo};

impl Detection {
    /// Version of the serialized form, written as `schema_version`. It changes if a key changes its
    /// name or meaning, not if one is added.
    pub const SCHEMA_VERSION: u32 = 2;
}

/// What is written, in the order of the keys.
#[derive(Serialize)]
struct Output<'a> {
    schema_version: u32,
    label: Option<&'a str>,
    class: Option<usize>,
    unknown: bool,
    score: Option<f64>,
    threshold: Option<f64>,
    p_value: Option<f64>,
    top: &'a [Candidate],
    no: Option<&'a StrongestNo>,
    negative: Option<&'a NearestNegative>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'a Evidence>,
}

/// What is read. Keys that are absent or `null` are unknown values; other keys are ignored.
#[derive(Deserialize)]
struct Input {
    schema_version: Option<u32>,
    label: Option<String>,
    class: Option<usize>,
    unknown: Option<bool>,
    score: Option<f64>,
    threshold: Option<f64>,
    p_value: Option<f64>,
    #[serde(default)]
    top: Vec<Candidate>,
    no: Option<StrongestNo>,
    negative: Option<NearestNegative>,
    #[serde(default)]
    reason: String,
    evidence: Option<Evidence>,
}

impl Serialize for Detection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // JSON has no NaN and no infinity.
        let finite = |value: f64| value.is_finite().then_some(value);
        Output {
            schema_version: Self::SCHEMA_VERSION,
            label: self.label.as_deref(),
            class: self.class,
            unknown: self.is_unknown(),
            score: finite(self.score),
            threshold: finite(self.threshold),
            p_value: self.p_value,
            top: &self.top,
            no: self.strongest_no.as_ref(),
            negative: self.nearest_negative.as_ref(),
            reason: &self.reason,
            evidence: self.evidence.as_ref(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Detection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let input = Input::deserialize(deserializer)?;
        match input.schema_version {
            None | Some(1..=Self::SCHEMA_VERSION) => {}
            Some(version) => {
                return Err(de::Error::custom(format!(
                    "unsupported schema version: expected 1 to {}, got {version}",
                    Self::SCHEMA_VERSION
                )));
            }
        }
        // Rows of version 1 write the label "unknown" instead of null.
        let label = input.label.filter(|_| input.unknown != Some(true));
        // That of a rule that rejects nothing is minus infinity, which JSON does not have.
        let no_threshold = label.as_ref().map_or(f64::NAN, |_| f64::NEG_INFINITY);
        Ok(Self {
            class: input.class.filter(|_| label.is_some()),
            label,
            score: input.score.unwrap_or(f64::NAN),
            threshold: input.threshold.unwrap_or(no_threshold),
            p_value: input.p_value,
            top: input.top,
            strongest_no: input.no,
            nearest_negative: input.negative,
            reason: input.reason,
            evidence: input.evidence,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known() -> Detection {
        let cat = Candidate::new(1, "cat", 0.75, 0.5);
        Detection {
            label: Some("cat".to_owned()),
            class: Some(1),
            score: 0.625,
            threshold: 0.5,
            p_value: Some(0.125),
            top: vec![cat.clone()],
            strongest_no: StrongestNo::of(cat),
            nearest_negative: Some(NearestNegative::new("dog", 0.25)),
            reason: "because".to_owned(),
            evidence: None,
        }
    }

    #[test]
    fn a_known_image_has_these_keys() {
        let text = serde_json::to_string(&known()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"schema_version":2,"label":"cat","class":1,"unknown":false,"score":0.625,"#,
                r#""threshold":0.5,"p_value":0.125,"#,
                r#""top":[{"class":1,"label":"cat","p":0.75,"q":0.5}],"#,
                r#""no":{"class":1,"label":"cat","p":0.75,"q":0.5,"share":0.375},"#,
                r#""negative":{"text":"dog","p":0.25},"reason":"because"}"#
            )
        );
    }

    #[test]
    fn detections_round_trip() {
        let unknown = Detection {
            label: None,
            class: None,
            p_value: None,
            top: Vec::new(),
            strongest_no: None,
            nearest_negative: None,
            ..known()
        };
        let accepted = Detection {
            threshold: f64::NEG_INFINITY,
            ..known()
        };
        for detection in [known(), unknown, accepted] {
            let text = serde_json::to_string(&detection).unwrap();
            assert_eq!(
                serde_json::from_str::<Detection>(&text).unwrap(),
                detection,
                "{text}"
            );
        }
    }

    #[test]
    fn values_that_are_not_finite_are_null() {
        let detection = Detection {
            score: f64::NAN,
            threshold: f64::NEG_INFINITY,
            ..known()
        };
        let value = serde_json::to_value(&detection).unwrap();
        assert!(value["score"].is_null() && value["threshold"].is_null());
        let read: Detection = serde_json::from_value(value).unwrap();
        assert!(read.score.is_nan() && read.threshold == f64::NEG_INFINITY);
    }

    #[test]
    fn reads_rows_of_version_1_and_results_of_the_server() {
        let row = json!({
            "schema_version": 1, "path": "a.jpg", "label": "unknown", "unknown": true, "class": null, "score": 0.25,
            "threshold": 0.5, "p_value": null, "top": [], "no": null, "reason": "r", "error": null,
        });
        let row: Detection = serde_json::from_value(row).unwrap();
        assert_eq!((row.label, row.class, row.score), (None, None, 0.25));
        let result = json!({
            "index": 0, "id": null, "label": null, "class": null, "unknown": true, "score": 0.25,
            "threshold": 0.5, "p_value": null, "top": [], "no": null, "reason": "r",
        });
        let result: Detection = serde_json::from_value(result).unwrap();
        assert!(result.is_unknown());
        assert_eq!(result.reason, "r");
    }

    #[test]
    fn rejects_another_version() {
        let mut value = serde_json::to_value(known()).unwrap();
        value["schema_version"] = json!(3);
        let error = serde_json::from_value::<Detection>(value).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unsupported schema version: expected 1 to 2, got 3"
        );
    }
}
