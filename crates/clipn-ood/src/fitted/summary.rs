use std::fmt;

use clipn_base::count::count;
use serde::{Deserialize, Serialize};

use super::FitSettings;
use crate::scores::{FittedScore, FittedScoreSet};

/// What scores were fitted to, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FitSummary {
    /// Fitted scores.
    pub scores: FittedScoreSet,
    /// Settings.
    pub settings: FitSettings,
    /// Dimension D of the features.
    pub dim: usize,
    /// Dimension of the principal subspace of ViM and Residual.
    pub principal_dim: usize,
    /// Number of classes K.
    pub classes: usize,
    /// Number of images.
    pub images: usize,
    /// Number of images with a label; the predicted class stands in for the others.
    pub labeled: usize,
    /// Number of images whose features are kept.
    pub bank: usize,
    /// Number of kept images that NNGuide compares with.
    pub nnguide_bank: usize,
    /// What is unusual about the fit.
    pub warnings: Vec<FitWarning>,
}

impl fmt::Display for FitSummary {
    /// One line, such as `fitted knn to 29200 images (29200 with a label)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fitted {} to {}, {} with a label, {} in the bank ({})",
            self.scores,
            count(self.images, "image"),
            self.labeled,
            self.bank,
            self.settings
        )
    }
}

/// Warning about a fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FitWarning {
    /// The bank has a random part of the images. KNN and NNGuide compare with it, and the percentile
    /// of ReAct and the α of ViM are estimated from it.
    Sampled {
        /// Number of images in the bank.
        bank: usize,
        /// Number of images.
        images: usize,
    },
    /// Images have no label: the predicted class stands in, and all of them count as rightly
    /// classified.
    PredictedLabels {
        /// Number of images without a label.
        unlabeled: usize,
        /// Number of images.
        images: usize,
    },
    /// Classes have no image, so that MDS and RMDS have no mean for them.
    ClassesWithoutImages {
        /// Number of classes without images.
        classes: usize,
        /// Name of the first.
        first: String,
    },
    /// SHE stores the mean of all images of these classes, as none is rightly classified.
    NoneRightlyClassified {
        /// Number of such classes.
        classes: usize,
        /// Name of the first.
        first: String,
    },
    /// A covariance is singular: its pseudo-inverse ignores directions without spread.
    SingularCovariance {
        /// Score with the covariance.
        score: FittedScore,
        /// Number of directions with spread.
        rank: usize,
        /// Dimension of the features.
        dim: usize,
    },
}

impl fmt::Display for FitWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sampled { bank, images } => write!(
                f,
                "kept the features of {bank} of {}: neighbors, ReAct's percentile and ViM's alpha come \
                 from this random sample",
                count(*images, "image")
            ),
            Self::PredictedLabels { unlabeled, images } => write!(
                f,
                "{} without a label, of {images}: the predicted class stands in",
                count(*unlabeled, "image")
            ),
            Self::ClassesWithoutImages { classes, first } => write!(
                f,
                "no image of {}, such as `{first}`, which MDS and RMDS do not know",
                count(*classes, "class")
            ),
            Self::NoneRightlyClassified { classes, first } => write!(
                f,
                "no image of {}, such as `{first}`, is rightly classified: SHE takes the mean of all \
                 images of the class",
                count(*classes, "class")
            ),
            Self::SingularCovariance { score, rank, dim } => write!(
                f,
                "the covariance of `{}` has rank {rank} of {dim}: its pseudo-inverse ignores the \
                 other directions",
                score.as_str()
            ),
        }
    }
}
