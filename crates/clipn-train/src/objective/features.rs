//! What goes into an objective and what comes out.

use std::ops::Range;

use super::ObjectiveError;
use clipn_model::Real;

/// L2-normalised features of one batch: row i of each is pair i.
#[derive(Debug, Clone, Copy)]
pub struct Features<'a, T> {
    /// D, the length of a row.
    pub dim: usize,
    /// Of the images, `[N, D]`.
    pub image: &'a [T],
    /// Of the "yes" text tower, `[N, D]`.
    pub yes: &'a [T],
    /// Of the "no" text tower, `[N, D]`, for objectives that use it.
    pub no: Option<&'a [T]>,
}

impl<T: Real> Features<'_, T> {
    /// N, the number of pairs.
    pub fn rows(&self) -> usize {
        self.image.len() / self.dim.max(1)
    }

    /// Holds every length against `[N, D]`, and N against the least that contrast needs.
    pub(super) fn check(&self, wanted: &Wanted) -> Result<(), ObjectiveError> {
        self.check_shapes()?;
        let rows = self.rows();
        if rows < 2 {
            return Err(ObjectiveError::BatchTooSmall { rows });
        }
        let Range { start, end } = wanted.rows;
        if start > end || end > rows {
            return Err(ObjectiveError::Rows { start, end, rows });
        }
        Ok(())
    }

    /// Holds every length against `[N, D]`.
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
                format!("expected rows of {dim}, D being at least one"),
            );
        }
        let texts = [("yes", Some(self.yes)), ("no", self.no)];
        for (what, features) in texts.into_iter().filter_map(|(what, f)| Some((what, f?))) {
            if features.len() != image.len() {
                return bad(
                    what,
                    features.len(),
                    format!("expected {} as there are of images", image.len()),
                );
            }
        }
        Ok(())
    }

    /// The error for a loss that came out NaN or infinite: names the first bad input, else the products.
    pub(super) fn not_finite(&self, scale: T) -> ObjectiveError {
        let inputs = [
            ("image", Some(self.image)),
            ("yes", Some(self.yes)),
            ("no", self.no),
        ];
        for (what, features) in inputs.into_iter().filter_map(|(what, f)| Some((what, f?))) {
            if let Some(at) = features.iter().position(|v| !v.is_finite()) {
                let row = at / self.dim.max(1);
                return ObjectiveError::NotFinite {
                    what: format!("{what} features are not in row {row}"),
                };
            }
        }
        if !scale.is_finite() {
            return ObjectiveError::NotFinite {
                what: format!("the logit scale is {scale:?}"),
            };
        }
        ObjectiveError::NotFinite {
            what: "features are so large that products overflow".to_owned(),
        }
    }
}

/// Which gradients are wanted: frozen towers need none, and a rank needs those of its own rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Of the image features.
    pub image: bool,
    /// Of the "yes" features.
    pub yes: bool,
    /// Of the "no" features.
    pub no: bool,
    /// For which rows of the batch.
    pub rows: Range<usize>,
}

impl Wanted {
    /// Every gradient for a batch of `rows`.
    pub fn all(rows: usize) -> Self {
        Self {
            image: true,
            yes: true,
            no: true,
            rows: 0..rows,
        }
    }

    /// The gradient of the "no" features alone, as the published training needs it.
    pub fn only_no(rows: usize) -> Self {
        Self {
            image: false,
            yes: false,
            no: true,
            rows: 0..rows,
        }
    }
}

/// Gradients of the total for the wanted rows, `[rows, D]` each; `None` where not wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients<T> {
    /// For the image features.
    pub image: Option<Vec<T>>,
    /// For the "yes" features.
    pub yes: Option<Vec<T>>,
    /// For the "no" features; `None` also where the objective has none.
    pub no: Option<Vec<T>>,
    /// For exp(logit_scale).
    pub scale: T,
}

impl<T: Real> Gradients<T> {
    /// The gradient for `logit_scale` itself, given `scale` = exp(logit_scale).
    pub fn logit_scale(&self, scale: T) -> T {
        self.scale * scale
    }
}

/// Losses and gradients of one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<T> {
    /// What is minimised.
    pub total: f64,
    /// The terms before weighting, by name: `yes`, `no` and `tso` of CLIPN, `image` and `text` of CLIP.
    pub parts: Vec<(&'static str, f64)>,
    /// Gradients of the total.
    pub gradients: Gradients<T>,
}

impl<T> Outcome<T> {
    /// The term of that name.
    pub fn part(&self, name: &str) -> Option<f64> {
        self.parts
            .iter()
            .find(|(part, _)| *part == name)
            .map(|&(_, value)| value)
    }
}
