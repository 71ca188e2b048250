//! What is told of a picture.

use clipn::detector::{Detection, UNKNOWN};
use serde::{Deserialize, Serialize};

/// One of a picture's best classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub label: String,
    /// Share of "yes" among the classes.
    pub p: f32,
    /// "Yes" against "no" for this class alone.
    pub q: f32,
}

/// The class whose "no" spoke loudest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct No {
    pub label: String,
    pub p: f32,
    pub q: f32,
    /// p·(1 − q).
    pub share: f32,
}

/// One picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub path: String,
    pub label: Option<String>,
    pub score: Option<f64>,
    pub threshold: Option<f64>,
    pub p_value: Option<f64>,
    pub top: Vec<Candidate>,
    pub no: Option<No>,
    pub reason: Option<String>,
    pub error: Option<String>,
}

impl Row {
    pub fn of(path: String, detection: Detection) -> Self {
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
            no: detection.no.map(|no| No {
                label: no.label,
                p: no.p,
                q: no.q,
                share: no.share,
            }),
            reason: Some(detection.reason),
            error: None,
        }
    }

    /// A picture that could not be read.
    pub fn failed(path: String, error: &str) -> Self {
        Self {
            path,
            label: None,
            score: None,
            threshold: None,
            p_value: None,
            top: Vec::new(),
            no: None,
            reason: None,
            // One line, whatever a library says: a row of a CSV file ends at a line end.
            error: Some(error.replace(['\n', '\r'], " ")),
        }
    }

    pub fn fate(&self) -> Fate {
        Fate::of(self.label.as_deref(), self.error.as_deref())
    }

    /// The row's values by the columns of [`columns`].
    pub fn values(&self, top: usize) -> Vec<Value<'_>> {
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

/// A value of a flat table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Text(Option<&'a str>),
    Double(Option<f64>),
    Float(Option<f32>),
}

/// The columns of a flat table with so many classes a picture.
pub fn columns(top: usize) -> Vec<String> {
    let mut names: Vec<String> = ["path", "label", "score", "threshold", "p_value"]
        .map(String::from)
        .into();
    for rank in 1..=top {
        names.extend(["class", "p", "q"].map(|part| format!("{part}{rank}")));
    }
    names.extend(["no_class", "no_p", "no_q", "no_share", "reason", "error"].map(String::from));
    names
}

/// What became of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Labelled,
    Unknown,
    Unreadable,
}

impl Fate {
    /// By a row's label and error.
    pub fn of(label: Option<&str>, error: Option<&str>) -> Self {
        match (label, error) {
            (_, Some(error)) if !error.is_empty() => Self::Unreadable,
            (Some(UNKNOWN), _) => Self::Unknown,
            _ => Self::Labelled,
        }
    }
}

/// How many pictures became what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub pictures: u64,
    pub labelled: u64,
    pub unknown: u64,
    pub unreadable: u64,
}

impl Tally {
    pub fn count(&mut self, fate: Fate) {
        self.pictures += 1;
        *match fate {
            Fate::Labelled => &mut self.labelled,
            Fate::Unknown => &mut self.unknown,
            Fate::Unreadable => &mut self.unreadable,
        } += 1;
    }
}
