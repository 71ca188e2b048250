//! Rows: the result of one image, as it is printed and written.

use clipn::adaptation::AdaptiveMethod;
use clipn::dataset::LostSource;
use clipn::detector::{Candidate, Detection, Evidence, NearestNegative, StrongestNo, UNKNOWN};
use serde::{Deserialize, Serialize};

/// The result of one image. A file keeps the field names; those of a [`Detection`] mean the same. In
/// the columns of CSV and Parquet, the label of an unknown image is [`UNKNOWN`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Version of the fields, [`Detection::SCHEMA_VERSION`].
    #[serde(default)]
    pub schema_version: u32,
    pub path: String,
    /// Name of the class; `None` if the image is unknown or could not be read.
    pub label: Option<String>,
    /// Index of the class.
    #[serde(default)]
    pub class: Option<usize>,
    /// Whether the image belongs to none of the classes; `None` if it could not be read.
    #[serde(default)]
    pub unknown: Option<bool>,
    pub score: Option<f64>,
    pub threshold: Option<f64>,
    pub p_value: Option<f64>,
    pub top: Vec<Candidate>,
    pub no: Option<StrongestNo>,
    #[serde(default)]
    pub negative: Option<NearestNegative>,
    pub reason: Option<String>,
    /// What `--adapt` learned from, and the decision without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptation: Option<Adaptation>,
    /// Maps of `--explain`; not in columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    pub error: Option<String>,
}

/// A decision by a score that learns from the stream of images, and the decision without memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Adaptation {
    pub method: AdaptiveMethod,
    /// Images that were scored, up to the end of the image's batch.
    pub images: u64,
    /// Name of the class without memory; `None` if the image is unknown.
    pub fixed_label: Option<String>,
    pub fixed_unknown: Option<bool>,
    pub fixed_score: Option<f64>,
    pub fixed_threshold: Option<f64>,
    pub fixed_p_value: Option<f64>,
}

/// The error of an image without the name that it begins with, for rows that name the image.
pub(crate) fn without_path<'a>(path: &str, error: &'a str) -> &'a str {
    let own = error.strip_prefix(path);
    own.and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(error)
}

/// What the columns of CSV and Parquet rows depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Columns {
    /// Number of classes of a row.
    pub top: usize,
    /// Whether rows have decisions of `--adapt`.
    pub adapted: bool,
}

impl Row {
    pub(crate) fn from_detection(path: String, detection: Detection) -> Self {
        Self {
            unknown: Some(detection.is_unknown()),
            label: detection.label,
            class: detection.class,
            score: Some(detection.score).filter(|score| score.is_finite()),
            threshold: Some(detection.threshold).filter(|threshold| threshold.is_finite()),
            p_value: detection.p_value,
            top: detection.top,
            no: detection.strongest_no,
            negative: detection.nearest_negative,
            reason: Some(detection.reason),
            evidence: detection.evidence,
            ..Self::empty(path)
        }
    }

    /// The row of an image that could not be read.
    pub(crate) fn failed(path: String, error: &str) -> Self {
        let error = without_path(&path, error);
        Self {
            // One line: a torn CSV row is recognized by its missing newline.
            error: Some(error.replace(['\n', '\r'], " ")),
            ..Self::empty(path)
        }
    }

    /// Reads a row of a file. The classes of earlier versions have no index; it becomes 0, and no
    /// column shows it.
    #[cfg(feature = "parquet")]
    pub(crate) fn parse(line: &[u8]) -> serde_json::Result<Self> {
        let mut row: serde_json::Value = serde_json::from_slice(line)?;
        let (top, no) = (row["top"].take(), row["no"].take());
        let with_index = |mut class: serde_json::Value| {
            if let Some(fields) = class.as_object_mut() {
                fields.entry("class").or_insert(0.into());
            }
            class
        };
        let top = top.as_array().cloned().unwrap_or_default();
        row["top"] = top.into_iter().map(with_index).collect();
        row["no"] = with_index(no);
        serde_json::from_value(row)
    }

    fn empty(path: String) -> Self {
        Self {
            schema_version: Detection::SCHEMA_VERSION,
            path,
            label: None,
            class: None,
            unknown: None,
            score: None,
            threshold: None,
            p_value: None,
            top: Vec::new(),
            no: None,
            negative: None,
            reason: None,
            adaptation: None,
            evidence: None,
            error: None,
        }
    }

    /// Replaces the decision: the best class, or `None` for unknown.
    pub(crate) fn decide(&mut self, class: Option<&Candidate>) {
        self.class = class.map(|class| class.class);
        self.unknown = Some(class.is_none());
        self.label = class.map(|class| class.label.clone());
    }

    pub(crate) fn outcome(&self) -> Outcome {
        Outcome::from_fields(self.label.as_deref(), self.unknown, self.error.as_deref())
    }

    /// The label, or [`UNKNOWN`]; `None` if the image could not be read.
    pub(crate) fn label_or_unknown(&self) -> Option<&str> {
        match self.outcome() {
            Outcome::Labeled => self.label.as_deref(),
            Outcome::Unknown => Some(UNKNOWN),
            Outcome::Unreadable | Outcome::Lost => None,
        }
    }

    /// The row's values in the order of [`columns`].
    pub(crate) fn values(&self, columns: Columns) -> Vec<Value<'_>> {
        let mut values = vec![
            Value::Text(Some(&self.path)),
            Value::Text(self.label_or_unknown()),
            Value::Truth(self.unknown),
            Value::Double(self.score),
            Value::Double(self.threshold),
            Value::Double(self.p_value),
        ];
        for rank in 0..columns.top {
            let candidate = self.top.get(rank);
            values.push(Value::Text(candidate.map(|c| c.label.as_str())));
            values.push(Value::Float(candidate.map(|c| c.probability)));
            values.push(Value::Float(candidate.and_then(|c| c.agreement)));
        }
        let no = self.no.as_ref();
        values.extend([
            Value::Text(no.map(|no| no.label.as_str())),
            Value::Float(no.map(|no| no.probability)),
            Value::Float(no.map(|no| no.agreement)),
            Value::Float(no.map(|no| no.contribution)),
            Value::Text(
                self.negative
                    .as_ref()
                    .map(|negative| negative.text.as_str()),
            ),
            Value::Float(self.negative.as_ref().map(|negative| negative.probability)),
        ]);
        if columns.adapted {
            let adaptation = self.adaptation.as_ref();
            let fixed = adaptation.map(|fixed| match fixed.fixed_unknown {
                Some(true) => UNKNOWN,
                _ => fixed.fixed_label.as_deref().unwrap_or_default(),
            });
            values.extend([
                Value::Text(adaptation.map(|adaptation| adaptation.method.as_str())),
                Value::Text(fixed),
                Value::Double(adaptation.and_then(|fixed| fixed.fixed_score)),
                Value::Double(adaptation.and_then(|fixed| fixed.fixed_threshold)),
            ]);
        }
        values.extend([
            Value::Text(self.reason.as_deref()),
            Value::Text(self.error.as_deref()),
        ]);
        values
    }
}

/// A value of a CSV or Parquet row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Text(Option<&'a str>),
    Double(Option<f64>),
    Float(Option<f32>),
    Truth(Option<bool>),
}

/// The names of the columns of CSV and Parquet rows.
pub(crate) fn columns(Columns { top, adapted }: Columns) -> Vec<String> {
    let mut names: Vec<String> = ["path", "label", "unknown", "score", "threshold", "p_value"]
        .map(String::from)
        .into();
    for rank in 1..=top {
        names.extend(["class", "p", "q"].map(|part| format!("{part}{rank}")));
    }
    let no = ["no_class", "no_p", "no_q", "no_share"];
    names.extend(no.map(String::from));
    names.extend(["negative", "negative_p"].map(String::from));
    if adapted {
        let fixed = [
            "adapted_by",
            "fixed_label",
            "fixed_score",
            "fixed_threshold",
        ];
        names.extend(fixed.map(String::from));
    }
    names.extend(["reason", "error"].map(String::from));
    names
}

/// Outcome of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Labeled,
    Unknown,
    Unreadable,
    /// No image, but the rest of a source that ended early.
    Lost,
}

impl Outcome {
    /// Derives the outcome from a row's fields. Rows of earlier versions have the label [`UNKNOWN`].
    pub(crate) fn from_fields(
        label: Option<&str>,
        unknown: Option<bool>,
        error: Option<&str>,
    ) -> Self {
        match (label, unknown) {
            _ if error.is_some_and(|error| error.contains(LostSource::MARK)) => Self::Lost,
            _ if error.is_some_and(|error| !error.is_empty()) => Self::Unreadable,
            (_, Some(true)) | (Some(UNKNOWN) | None, None) => Self::Unknown,
            _ => Self::Labeled,
        }
    }
}

/// Number of images per outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub images: u64,
    pub labeled: u64,
    pub unknown: u64,
    pub unreadable: u64,
    /// Number of sources that ended early, with an unknown number of images.
    pub lost_sources: u64,
}

impl Tally {
    /// Number of rows: the images, and one for each source that ended early.
    pub(crate) fn rows(&self) -> u64 {
        self.images + self.lost_sources
    }

    pub(crate) fn count(&mut self, outcome: Outcome) {
        if outcome == Outcome::Lost {
            self.lost_sources += 1;
            return;
        }
        self.images += 1;
        *match outcome {
            Outcome::Labeled => &mut self.labeled,
            Outcome::Unknown => &mut self.unknown,
            Outcome::Unreadable | Outcome::Lost => &mut self.unreadable,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "parquet")]
    use serde_json::{Value as Json, json};

    use super::*;

    const PLAIN: Columns = Columns {
        top: 0,
        adapted: false,
    };
    #[cfg(feature = "parquet")]
    const TWO: Columns = Columns { top: 2, ..PLAIN };

    fn row() -> Row {
        let cat = Candidate::new(4, "cat", 0.75, 0.5);
        let mut row = Row {
            score: Some(0.25),
            reason: Some("because".to_owned()),
            top: vec![cat.clone()],
            no: StrongestNo::of(cat.clone()),
            ..Row::empty("a.jpg".to_owned())
        };
        row.decide(Some(&cat));
        row
    }

    #[test]
    fn a_row_has_the_keys_of_a_detection() {
        let row = serde_json::to_value(row()).unwrap();
        let detection: Detection = serde_json::from_value(row.clone()).unwrap();
        let detection = serde_json::to_value(detection).unwrap();
        for (key, value) in detection.as_object().unwrap() {
            assert_eq!(&row[key], value, "{key}");
        }
        let more = ["error", "path"];
        let keys = row.as_object().unwrap().keys();
        let mut own: Vec<&String> = keys.filter(|key| detection.get(*key).is_none()).collect();
        own.sort();
        assert_eq!(own, more);
    }

    #[test]
    fn a_source_that_ends_early_is_no_image() {
        let mut tally = Tally::default();
        for error in [
            "cannot read a.jpg",
            "s.tar: the rest of an unknown number of images is lost",
        ] {
            tally.count(Row::failed("x".to_owned(), error).outcome());
        }
        assert_eq!(
            (tally.images, tally.unreadable, tally.lost_sources),
            (1, 1, 1)
        );
        assert_eq!(tally.rows(), 2);
    }

    #[test]
    fn an_unknown_image_has_no_class() {
        let mut row = row();
        row.decide(None);
        assert_eq!(
            (row.label.as_deref(), row.class, row.unknown),
            (None, None, Some(true))
        );
        assert_eq!(row.values(PLAIN)[1], Value::Text(Some("unknown")));
        assert_eq!(row.values(PLAIN)[2], Value::Truth(Some(true)));
        assert_eq!(row.outcome(), Outcome::Unknown);
    }

    #[cfg(feature = "parquet")]
    #[test]
    fn reads_rows_of_earlier_versions() {
        let class = |index: Json| json!({ "class": index, "label": "cat", "p": 0.75, "q": 0.5, "share": 0.375 });
        let mut old = json!({
            "path": "a.jpg", "label": "cat", "score": 0.25, "threshold": null, "p_value": null,
            "unknown": false, "top": [class(4.into())], "no": class(4.into()), "reason": "because", "error": null
        });
        let parsed = Row::parse(old.to_string().as_bytes()).unwrap();
        assert_eq!(parsed.values(TWO), row().values(TWO));
        for class in ["/top/0", "/no"] {
            old.pointer_mut(class)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove("class");
        }
        let parsed = Row::parse(old.to_string().as_bytes()).unwrap();
        assert_eq!(parsed.values(TWO), row().values(TWO));
        old["no"] = Json::Null;
        assert_eq!(Row::parse(old.to_string().as_bytes()).unwrap().no, None);
    }
}
