use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::round;

/// Warning about a calibration that limits how far it can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// Few images leave the kept fraction uncertain.
    Few {
        /// Number of images.
        n: usize,
        /// Lower end of the interval of the kept fraction.
        lower: f64,
        /// Upper end of the interval of the kept fraction.
        upper: f64,
        /// Number of images that would narrow the interval to about five percentage points.
        advised: usize,
    },
    /// The model confidently rejects more images than the threshold may reject.
    SureNo {
        /// Number of images whose predicted class has q of at most [`Warning::SURE`].
        count: usize,
        /// Total number of images.
        n: usize,
        /// Number of images that may be rejected at the target.
        allowed: usize,
    },
    /// Some images are in directories that match no class.
    Strangers {
        /// Names of the first such directories.
        folders: Vec<String>,
        /// Number of images in all such directories.
        count: usize,
    },
    /// The model predicts another class than that of the directory for most images.
    OtherClasses {
        /// Number of images whose predicted class is that of their directory.
        right: usize,
        /// Number of images in directories that match a class.
        n: usize,
    },
    /// Some images are duplicates.
    Repeated {
        /// Number of duplicates, first occurrences not included.
        count: usize,
    },
    /// The score does not separate in-distribution from out-of-distribution images.
    Blind {
        /// Area under the ROC curve, from 0 to 1.
        auroc: f64,
    },
}

impl Warning {
    /// Maximum q of the predicted class at which the model rejects an image confidently.
    pub const SURE: f64 = 0.1;
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |fraction: f64| round((1000.0 * fraction).round() / 10.0);
        match self {
            Self::Few {
                n,
                lower,
                upper,
                advised,
            } => write!(
                f,
                "{n} images are few: the threshold keeps between {} and {} % of in-distribution \
                 images; about {advised} images would narrow this interval to five percentage \
                 points",
                percent(*lower),
                percent(*upper)
            ),
            Self::SureNo { count, n, allowed } => write!(
                f,
                "the model confidently rejects {count} of {n} images (q of at most {}), but the \
                 threshold may reject only {allowed}: either the set contains images of other \
                 classes, which the threshold then keeps too, or the model does not know these \
                 classes",
                Self::SURE
            ),
            Self::Strangers { folders, count } => write!(
                f,
                "images in folders that match no class ({}): {count}; images of other classes make \
                 the threshold too low",
                folders.join(", ")
            ),
            Self::OtherClasses { right, n } => write!(
                f,
                "the predicted class matches the folder for only {right} of {n} images: the \
                 folders are mixed up, or the model does not know these classes"
            ),
            Self::Repeated { count } => write!(
                f,
                "duplicate images: {count}; the guarantee assumes independent images, so it \
                 rests on fewer than the total"
            ),
            Self::Blind { auroc } => write!(
                f,
                "the score barely separates these images from the out-of-distribution examples \
                 (AUROC {}; chance is 0.5)",
                round(*auroc)
            ),
        }
    }
}
