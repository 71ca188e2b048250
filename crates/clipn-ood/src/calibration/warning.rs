use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::round;

/// What should be known of a calibration before it is trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// Few pictures leave the share that is kept open.
    Few {
        /// Pictures.
        n: usize,
        /// The interval of the share kept.
        lower: f64,
        /// Its upper end.
        upper: f64,
        /// Pictures that would bring it to some five points.
        advised: usize,
    },
    /// The model's "no" is sure of more pictures than may be rejected.
    SureNo {
        /// Pictures whose best class has q of at most [`Warning::SURE`].
        count: usize,
        /// Out of so many.
        n: usize,
        /// How many of the pictures may be rejected at the target.
        allowed: usize,
    },
    /// Pictures in folders that are none of the classes.
    Strangers {
        /// The first such folders.
        folders: Vec<String>,
        /// Pictures in all of them.
        count: usize,
    },
    /// The model gives most pictures another class than their folder's.
    OtherClasses {
        /// Pictures whose best class is their folder's.
        right: usize,
        /// Pictures in folders that are called like a class.
        n: usize,
    },
    /// Pictures that stand more than once.
    Repeated {
        /// How many too many.
        count: usize,
    },
    /// The score does not tell the two kinds of pictures apart.
    Blind {
        /// Its AUROC.
        auroc: f64,
    },
}

impl Warning {
    /// The q from which on "no" is sure.
    pub const SURE: f64 = 0.1;
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| round((1000.0 * share).round() / 10.0);
        match self {
            Self::Few {
                n,
                lower,
                upper,
                advised,
            } => write!(
                f,
                "{n} pictures are few: the threshold may in truth keep anything from {} to {} % of such pictures; with some \
                 {advised} it would be known to within five points",
                percent(*lower),
                percent(*upper)
            ),
            Self::SureNo { count, n, allowed } => write!(
                f,
                "of {count} of the {n} pictures the model is sure that they are of no class (q of at most {}), while the \
                 threshold may reject {allowed}: either pictures of something else lie among them, and then the \
                 threshold keeps such pictures too, or the model does not know these classes. Look at the lowest ones",
                Self::SURE
            ),
            Self::Strangers { folders, count } => write!(
                f,
                "pictures in folders that are none of the classes ({}): {count}; what is of no class makes the threshold \
                 too low",
                folders.join(", ")
            ),
            Self::OtherClasses { right, n } => write!(
                f,
                "only {right} of {n} pictures get the class that their folder is called by: the folders are mixed up, or \
                 the model does not know these classes"
            ),
            Self::Repeated { count } => write!(
                f,
                "pictures that stand there again: {count}; pictures must be independent of each other for the guarantee, \
                 and so it rests on fewer than it seems"
            ),
            Self::Blind { auroc } => write!(
                f,
                "the score hardly tells these pictures from the examples of the unknown (AUROC {}, where 0.5 is \
                 guessing); try another with --score",
                round(*auroc)
            ),
        }
    }
}
