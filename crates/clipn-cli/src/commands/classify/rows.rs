//! Rows: the result of one image, as it is printed and written.

use clipn::detector::{Detection, UNKNOWN};
use serde::{Deserialize, Serialize};

/// One of an image's top classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Candidate {
    pub label: String,
    /// Probability of the class among all classes, by the "yes" tower.
    pub p: f32,
    /// Probability of "yes" against "no" for this class alone.
    pub q: f32,
}

/// The class that contributes most to rejection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StrongestNo {
    pub label: String,
    pub p: f32,
    pub q: f32,
    /// p·(1 − q).
    pub share: f32,
}

/// The result of one image. A file keeps the field names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub path: String,
    pub label: Option<String>,
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
        let top = detection.top.into_iter().map(|c| Candidate {
            label: c.label,
            p: c.p,
            q: c.q,
        });
        Self {
            path,
            label: Some(detection.label.unwrap_or_else(|| UNKNOWN.to_owned())),
            score: Some(detection.score).filter(|score| score.is_finite()),
            threshold: Some(detection.threshold).filter(|threshold| threshold.is_finite()),
            p_value: detection.p_value,
            top: top.collect(),
            no: detection.no.map(|no| StrongestNo {
                label: no.label,
                p: no.p,
                q: no.q,
                share: no.share,
            }),
            reason: Some(detection.reason),
            error: None,
        }
    }

    /// The row of an image that could not be read.
    pub(crate) fn failed(path: String, error: &str) -> Self {
        Self {
            path,
            label: None,
            score: None,
            threshold: None,
            p_value: None,
            top: Vec::new(),
            no: None,
            reason: None,
            // One line: a torn CSV row is recognized by its missing newline.
            error: Some(error.replace(['\n', '\r'], " ")),
        }
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
            values.push(Value::Float(candidate.map(|c| c.p)));
            values.push(Value::Float(candidate.map(|c| c.q)));
        }
        let no = self.no.as_ref();
        values.extend([
            Value::Text(no.map(|no| no.label.as_str())),
            Value::Float(no.map(|no| no.p)),
            Value::Float(no.map(|no| no.q)),
            Value::Float(no.map(|no| no.share)),
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
