//! Types that the OpenAPI document describes: those of the API, and bodies that have no type with the
//! same fields in this crate.
use std::collections::BTreeSet;

use clipn::detector::Detection;
use serde_json::{Value, json};
use utoipa::{PartialSchema, ToSchema};

pub(crate) use crate::api::classes::{ClassesRequest, ClassesResponse};
pub(crate) use crate::api::error::ErrorResponse;
pub(crate) use crate::api::input::{ClassifyQuery, ClassifyRequest};
pub(crate) use crate::api::response::ClassifyResponse;
pub(crate) use crate::api::status::Info;

/// Classification request as a multipart form.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(crate) struct ClassifyForm {
    /// Image file; may be repeated.
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<u8>,
    /// Number of top classes to return per image. Default: 3.
    top: Option<usize>,
    /// Custom classes instead of the server's own: names separated by commas, or a JSON array.
    classes: Option<String>,
    /// Whether results have `evidence`, maps of what is seen where in the image. Default: false.
    explain: Option<bool>,
}

/// Decision for an image: the keys of a serialized [`Detection`], described for the API's schema.
#[derive(ToSchema)]
#[schema(as = Decision)]
#[allow(dead_code)]
pub(crate) struct DecisionSchema {
    /// Version of these keys; 2.
    schema_version: u32,
    /// Name of the predicted class; null if the image is unknown.
    label: Option<String>,
    /// Index of the predicted class; null if the image is unknown.
    class: Option<usize>,
    /// Whether the image belongs to none of the classes.
    unknown: bool,
    /// Score that is compared with the threshold; null if it is not finite.
    score: Option<f64>,
    /// Minimum score of a known image; images below it are unknown.
    threshold: Option<f64>,
    /// Conformal p-value of a calibrated detector: the fraction of calibration images with a score
    /// that is not higher. Null without calibration.
    p_value: Option<f64>,
    /// Classes with the largest p, in descending order.
    top: Vec<CandidateSchema>,
    /// Class with the largest contribution to rejection.
    no: Option<StrongestNoSchema>,
    /// Negative that the image resembles most. Null if the server has no negatives.
    negative: Option<NearestNegativeSchema>,
    /// Explanation of the decision in one sentence.
    reason: String,
    /// Where in the image the best class, its "no" and the negatives are seen. Only if `explain` is true.
    evidence: Option<EvidenceSchema>,
}

/// Maps of an image with a value for each patch, row by row. They cover the square in its center.
#[derive(ToSchema)]
#[schema(as = Evidence)]
#[allow(dead_code)]
pub(crate) struct EvidenceSchema {
    /// Index of the best class, of an unknown image too.
    class: usize,
    /// Name of the class.
    label: String,
    /// Number of rows.
    rows: usize,
    /// Number of columns.
    columns: usize,
    /// Probability of the class among all classes, 0 to 1.
    yes: Vec<f32>,
    /// Probability of "no" against "yes" for the class, 0 to 1. Null if the model has not learned "no".
    no: Option<Vec<f32>>,
    /// Probability of a typical group of negatives against the classes, 0 to 1. Null without negatives.
    negatives: Option<Vec<f32>>,
}

/// Probabilities of a class.
#[derive(ToSchema)]
#[schema(as = ClassProbabilities)]
#[allow(dead_code)]
pub(crate) struct CandidateSchema {
    /// Index of the class.
    class: usize,
    /// Name of the class.
    label: String,
    /// Probability of the class among all classes, from the "yes" prompts: a softmax that sums to
    /// 1.
    p: f32,
    /// Probability of "yes" against "no" for this class alone, 0 to 1. Null if the model has not
    /// learned "no".
    q: Option<f32>,
}

/// Negative that an image resembles most.
#[derive(ToSchema)]
#[schema(as = NearestNegative)]
#[allow(dead_code)]
pub(crate) struct NearestNegativeSchema {
    /// Text of the negative.
    text: String,
    /// Probability of the negative among the classes and all negatives, 0 to 1.
    p: f32,
}

/// Class that contributes most to the probability of "none of these".
#[derive(ToSchema)]
#[schema(as = NoContribution)]
#[allow(dead_code)]
pub(crate) struct StrongestNoSchema {
    /// Index of the class.
    class: usize,
    /// Name of the class.
    label: String,
    /// Probability of the class among all classes, 0 to 1.
    p: f32,
    /// Probability of "yes" against "no" for this class alone, 0 to 1.
    q: f32,
    /// Contribution to the probability of "none of these": p·(1 − q).
    share: f32,
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn schema_keys<T: PartialSchema>() -> BTreeSet<String> {
    keys(&serde_json::to_value(T::schema()).unwrap()["properties"])
}

#[test]
fn the_schema_has_the_keys_of_a_serialized_detection() {
    let class = json!({"class": 0, "label": "cat", "p": 0.5, "q": 0.5});
    let no = json!({"class": 0, "label": "cat", "p": 0.5, "q": 0.5, "share": 0.25});
    let evidence = json!({
        "class": 0, "label": "cat", "rows": 1, "columns": 1, "yes": [0.5], "no": [0.5], "negatives": [0.5],
    });
    let detection: Detection = serde_json::from_value(json!({
        "label": "cat", "class": 0, "score": 0.5, "threshold": 0.5, "p_value": 0.5,
        "top": [class], "no": no, "reason": "", "evidence": evidence,
    }))
    .unwrap();
    let value = serde_json::to_value(&detection).unwrap();
    assert_eq!(keys(&value), schema_keys::<DecisionSchema>());
    assert_eq!(keys(&value["top"][0]), schema_keys::<CandidateSchema>());
    assert_eq!(keys(&value["no"]), schema_keys::<StrongestNoSchema>());
    assert_eq!(keys(&value["evidence"]), schema_keys::<EvidenceSchema>());
}
