//! Rows: the result of one image, as it is printed and written.

use clipn::detector::{Candidate, Detection, StrongestNo, UNKNOWN};
use serde::{Deserialize, Serialize};

/// The result of one image. A file keeps the field names; those of a [`Detection`] mean the same,
/// except that the label of an unknown image is [`UNKNOWN`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Version of the fields, [`Detection::SCHEMA_VERSION`].
    #[serde(default)]
    pub schema_version: u32,
    pub path: String,
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
    pub reason: Option<String>,
    pub error: Option<String>,
}

impl Row {
    pub(crate) fn from_detection(path: String, detection: Detection) -> Self {
        Self {
            label: Some(detection.label_or_unknown().to_owned()),
            class: detection.class,
            unknown: Some(detection.is_unknown()),
            score: Some(detection.score).filter(|score| score.is_finite()),
            threshold: Some(detection.threshold).filter(|threshold| threshold.is_finite()),
            p_value: detection.p_value,
            top: detection.top,
            no: detection.strongest_no,
            reason: Some(detection.reason),
            ..Self::empty(path)
        }
    }

    /// The row of an image that could not be read.
    pub(crate) fn failed(path: String, error: &str) -> Self {
        Self {
            // One line: a torn CSV row is recognized by its missing newline.
            error: Some(error.replace(['\n', '\r'], " ")),
            ..Self::empty(path)
        }
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
            reason: None,
            error: None,
        }
    }

    /// Replaces the decision: the best class, or `None` for unknown.
    pub(crate) fn decide(&mut self, class: Option<&Candidate>) {
        self.class = class.map(|class| class.class);
        self.unknown = Some(class.is_none());
        self.label = Some(class.map_or(UNKNOWN, |class| &class.label).to_owned());
    }

    pub(crate) fn outcome(&self) -> Outcome {
        Outcome::from_fields(self.label.as_deref(), self.error.as_deref())
    }

    /// The row's values in the order of [`columns`].
    pub(crate) fn values(&self, top: usize) -> Vec<Value<'_>> {
        let mut values = vec![
            Value::Text(Some(&self.path)),
            Value::Text(self.label.as_deref()),
            Value::Double(self.score),
            Value::Double(self.threshold),
            Value::Double(self.p_value),
        ];
        for rank in 0..top {
            let candidate = self.top.get(rank);
            values.push(Value::Text(candidate.map(|c| c.label.as_str())));
            values.push(Value::Float(candidate.map(|c| c.probability)));
            values.push(Value::Float(candidate.map(|c| c.agreement)));
        }
        let no = self.no.as_ref();
        values.extend([
            Value::Text(no.map(|no| no.label.as_str())),
            Value::Float(no.map(|no| no.probability)),
            Value::Float(no.map(|no| no.agreement)),
            Value::Float(no.map(|no| no.contribution)),
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
}

/// The columns of CSV and Parquet rows with `top` classes per image.
pub(crate) fn columns(top: usize) -> Vec<String> {
    let mut names: Vec<String> = ["path", "label", "score", "threshold", "p_value"]
        .map(String::from)
        .into();
    for rank in 1..=top {
        names.extend(["class", "p", "q"].map(|part| format!("{part}{rank}")));
    }
    names.extend(["no_class", "no_p", "no_q", "no_share", "reason", "error"].map(String::from));
    names
}

/// Outcome of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Labeled,
    Unknown,
    Unreadable,
}

impl Outcome {
    /// Derives the outcome from a row's label and error.
    pub(crate) fn from_fields(label: Option<&str>, error: Option<&str>) -> Self {
        match (label, error) {
            (_, Some(error)) if !error.is_empty() => Self::Unreadable,
            (Some(UNKNOWN), _) => Self::Unknown,
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
}

impl Tally {
    pub(crate) fn count(&mut self, outcome: Outcome) {
        self.images += 1;
        *match outcome {
            Outcome::Labeled => &mut self.labeled,
            Outcome::Unknown => &mut self.unknown,
            Outcome::Unreadable => &mut self.unreadable,
        } += 1;
    }
}
