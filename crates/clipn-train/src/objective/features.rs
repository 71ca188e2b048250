//! Input and output of an objective.

use std::ops::Range;

use clipn_model::Real;

use crate::objective::error::ObjectiveError;

/// L2-normalized features of one batch; row i of each belongs to pair i.
#[derive(Debug, Clone, Copy)]
pub struct PairFeatures<'a, T> {
    /// D, the length of a row.
    pub dim: usize,
    /// Image features, `[N, D]`.
    pub image: &'a [T],
    /// Features of the "yes" text tower, `[N, D]`.
    pub yes: &'a [T],
    /// Features of the "no" text tower, `[N, D]`, for objectives that use it.
    pub no: Option<&'a [T]>,
    /// Features of images that no text describes, `[M, D]`, for objectives that use them; empty for
    /// none.
    pub outliers: &'a [T],
}

impl<T: Real> PairFeatures<'_, T> {
    /// Returns N, the number of pairs.
    pub fn rows(&self) -> usize {
        self.image.len() / self.dim.max(1)
    }

    /// Checks every length against `[N, D]`, the minimum N of a contrastive loss, and the range of
    /// rows.
    pub(super) fn check(&self, mask: &GradientMask) -> Result<(), ObjectiveError> {
        self.check_shapes()?;
        let rows = self.rows();
        if rows < 2 {
            return Err(ObjectiveError::BatchTooSmall { rows });
        }
        let Range { start, end } = mask.rows;
        if start > end || end > rows {
            return Err(ObjectiveError::RowsOutOfRange { start, end, rows });
        }
        Ok(())
    }

    /// Checks every length against `[N, D]`.
    pub(super) fn check_shapes(&self) -> Result<(), ObjectiveError> {
        let bad = |what, length, expected| {
            Err(ObjectiveError::Shape {
                what,
                length,
                expected,
            })
        };
        let Self { dim, image, .. } = *self;
        if dim == 0 || image.len() % dim != 0 {
            return bad(
                "image",
                image.len(),
                format!("a multiple of the dimension {dim}, which must be at least 1"),
            );
        }
        if !self.outliers.len().is_multiple_of(dim) {
            return bad(
                "outlier",
                self.outliers.len(),
                format!("a multiple of the dimension {dim}"),
            );
        }
        let texts = [("yes", Some(self.yes)), ("no", self.no)];
        for (what, features) in texts.into_iter().filter_map(|(what, f)| Some((what, f?))) {
            if features.len() != image.len() {
                return bad(
                    what,
                    features.len(),
                    format!("{}, as for images", image.len()),
                );
            }
        }
        Ok(())
    }

    /// Returns the error for a loss that is NaN or infinite. It names the first bad input, or else
    /// the products.
    pub(super) fn not_finite(&self, scale: T) -> ObjectiveError {
        let inputs = [
            ("image", Some(self.image)),
            ("yes", Some(self.yes)),
            ("no", self.no),
            ("outlier", Some(self.outliers)),
        ];
        for (what, features) in inputs.into_iter().filter_map(|(what, f)| Some((what, f?))) {
            if let Some(at) = features.iter().position(|v| !v.is_finite()) {
                let row = at / self.dim.max(1);
                return ObjectiveError::NotFinite {
                    what: format!("`{what}` features of row {row}"),
                };
            }
        }
        if !scale.is_finite() {
            return ObjectiveError::NotFinite {
                what: format!("the logit scale is {scale:?}"),
            };
        }
        ObjectiveError::NotFinite {
            what: "products of the features overflow".to_owned(),
        }
    }
}

/// Mask of the gradients to compute: frozen towers need none, and a rank needs those of its own
/// rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GradientMask {
    /// Whether to compute the gradient of the image features.
    pub image: bool,
    /// Whether to compute the gradient of the "yes" features.
    pub yes: bool,
    /// Whether to compute the gradient of the "no" features.
    pub no: bool,
    /// Rows of the batch to compute gradients for.
    pub rows: Range<usize>,
}

impl GradientMask {
    /// Creates a mask of every gradient for a batch of `rows`.
    pub fn all(rows: usize) -> Self {
        Self {
            image: true,
            yes: true,
            no: true,
            rows: 0..rows,
        }
    }

    /// Creates a mask of the gradient of the "no" features alone, as in the published training.
    pub fn no_only(rows: usize) -> Self {
        Self {
            image: false,
            yes: false,
            no: true,
            rows: 0..rows,
        }
    }
}

/// Gradients of the total loss for the requested rows, `[rows, D]` each; `None` if not requested. There is
/// none for outliers: they pass through a frozen image tower.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureGradients<T> {
    /// Gradient of the image features.
    pub image: Option<Vec<T>>,
    /// Gradient of the "yes" features.
    pub yes: Option<Vec<T>>,
    /// Gradient of the "no" features; `None` also if the objective does not use them.
    pub no: Option<Vec<T>>,
    /// Gradient of exp(logit_scale).
    pub scale: T,
}

impl<T: Real> FeatureGradients<T> {
    /// Returns the gradient of `logit_scale` itself, given `scale` = exp(logit_scale).
    pub fn logit_scale_gradient(&self, scale: T) -> T {
        self.scale * scale
    }
}

/// Losses and gradients of one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct LossAndGradients<T> {
    /// Total loss, which is minimized.
    pub total: f64,
    /// Terms of the loss by name, before weighting: `yes`, `no` and `tso` of CLIPN, also
    /// `inlier` and `outlier` with outliers; `image` and `text` of CLIP.
    pub terms: Vec<(&'static str, f64)>,
    /// Gradients of the total loss.
    pub gradients: FeatureGradients<T>,
}

impl<T> LossAndGradients<T> {
    /// Returns the term with this name.
    pub fn term(&self, name: &str) -> Option<f64> {
        self.terms
            .iter()
            .find(|(term, _)| *term == name)
            .map(|&(_, value)| value)
    }
}
