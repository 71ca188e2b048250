use std::fmt;

use clipn_base::count::count;
use serde::{Deserialize, Serialize};

use super::error::round_to_3_decimals;

/// Warning about a calibration that limits how far it can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "warning")]
#[non_exhaustive]
pub enum CalibrationWarning {
    /// Few images leave the kept fraction uncertain.
    #[serde(rename = "few")]
    FewImages {
        /// Number of images.
        #[serde(rename = "n")]
        images: usize,
        /// Lower end of the interval of the kept fraction.
        lower: f64,
        /// Upper end of the interval of the kept fraction.
        upper: f64,
        /// Number of images that would narrow the interval to about five percentage points.
        #[serde(rename = "advised")]
        recommended: usize,
    },
    /// The model confidently rejects more images than the threshold may reject, or with
    /// [`ThresholdMethod::Best`](super::ThresholdMethod::Best), which has no such limit, than the target allows.
    #[serde(rename = "sure-no")]
    ConfidentRejections {
        /// Number of images whose predicted class has q of at most
        /// [`CalibrationWarning::CONFIDENT_REJECTION_Q`].
        count: usize,
        /// Total number of images.
        #[serde(rename = "n")]
        total: usize,
        /// Number of images that may be rejected at the target; `None` if the method ignores it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allowed: Option<usize>,
    },
    /// Some images are in directories that match no class.
    #[serde(rename = "strangers")]
    UnknownFolders {
        /// Names of the first such directories.
        folders: Vec<String>,
        /// Number of images in all such directories.
        count: usize,
    },
    /// The model predicts another class than that of the directory for most images.
    #[serde(rename = "other-classes")]
    FolderMismatch {
        /// Number of images whose predicted class is that of their directory.
        #[serde(rename = "right")]
        correct: usize,
        /// Number of images in directories that match a class.
        #[serde(rename = "n")]
        total: usize,
    },
    /// Some images are duplicates.
    #[serde(rename = "repeated")]
    Duplicates {
        /// Number of duplicates, first occurrences not included.
        count: usize,
    },
    /// The score does not separate in-distribution from out-of-distribution images.
    #[serde(rename = "blind")]
    PoorSeparation {
        /// Area under the ROC curve, from 0 to 1.
        auroc: f64,
    },
}

impl CalibrationWarning {
    /// Maximum probability of "yes" against "no" for the predicted class (`q` in the paper) at
    /// which the model rejects an image confidently.
    pub const CONFIDENT_REJECTION_Q: f64 = 0.1;
}

impl fmt::Display for CalibrationWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |fraction: f64| round_to_3_decimals((1000.0 * fraction).round() / 10.0);
        match self {
            Self::FewImages {
                images,
                lower,
                upper,
                recommended,
            } => write!(
                f,
                "only {}: the threshold keeps between {} and {} % of \
                 in-distribution images; about {recommended} images would narrow this interval \
                 to five percentage points",
                count(*images, "image"),
                percent(*lower),
                percent(*upper)
            ),
            Self::ConfidentRejections {
                count: rejected,
                total,
                allowed,
            } => {
                let (limit, consequence) = match allowed {
                    Some(allowed) => (
                        format!(", but the threshold may reject only {allowed}"),
                        ", which the threshold then keeps too",
                    ),
                    None => (String::new(), ""),
                };
                write!(
                    f,
                    "the model confidently rejects {rejected} of {} (q of at most {}){limit}: either the \
                     set contains images of other classes{consequence}, or the model does not know these \
                     classes",
                    count(*total, "image"),
                    Self::CONFIDENT_REJECTION_Q
                )
            }
            Self::UnknownFolders { folders, count } => write!(
                f,
                "images in folders that match no class ({}): {count}; images of other classes make \
                 the threshold too low",
                folders.join(", ")
            ),
            Self::FolderMismatch { correct, total } => write!(
                f,
                "the predicted class matches the folder for only {correct} of {}: the folders are \
                 mixed up, or the model does not know these classes",
                count(*total, "image")
            ),
            Self::Duplicates { count } => write!(
                f,
                "duplicate images (equal logits): {count}; the guarantee assumes independent images, so it \
                 rests on fewer than the total"
            ),
            Self::PoorSeparation { auroc } => write!(
                f,
                "the score barely separates these images from the out-of-distribution examples \
                 (AUROC {}; chance is 0.5)",
                round_to_3_decimals(*auroc)
            ),
        }
    }
}

impl CalibrationWarning {
    /// Advice for the caller, if there is any beyond the message.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::ConfidentRejections { .. } => Some("look at the images with the lowest scores"),
            Self::PoorSeparation { .. } => Some("try another score"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bundles store warnings by these names.
    #[test]
    fn stored_names_are_stable() {
        let warnings = [
            CalibrationWarning::FewImages {
                images: 40,
                lower: 0.8,
                upper: 1.0,
                recommended: 300,
            },
            CalibrationWarning::ConfidentRejections {
                count: 6,
                total: 100,
                allowed: Some(5),
            },
            CalibrationWarning::UnknownFolders {
                folders: vec!["lamp".to_owned()],
                count: 4,
            },
            CalibrationWarning::FolderMismatch {
                correct: 1,
                total: 3,
            },
            CalibrationWarning::Duplicates { count: 2 },
            CalibrationWarning::PoorSeparation { auroc: 0.5 },
        ];
        let stored = concat!(
            r#"[{"warning":"few","n":40,"lower":0.8,"upper":1.0,"advised":300},"#,
            r#"{"warning":"sure-no","count":6,"n":100,"allowed":5},"#,
            r#"{"warning":"strangers","folders":["lamp"],"count":4},"#,
            r#"{"warning":"other-classes","right":1,"n":3},"#,
            r#"{"warning":"repeated","count":2},"#,
            r#"{"warning":"blind","auroc":0.5}]"#,
        );
        assert_eq!(serde_json::to_string(&warnings).unwrap(), stored);
        assert_eq!(
            serde_json::from_str::<Vec<CalibrationWarning>>(stored).unwrap(),
            warnings
        );
    }
}
