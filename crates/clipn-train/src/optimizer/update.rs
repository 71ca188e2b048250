//! Update of one parameter in a step, validated before anything is written.

use std::ops::Range;

use clipn_model::Real;

use super::{Moments, OptimizerError};

/// Gradient of a parameter.
#[derive(Debug, Clone, Copy)]
pub enum ParameterGradient<'a, T> {
    /// All values, in the parameter's layout.
    Dense(&'a [T]),
    /// Values of some rows, which are slices along the first dimension; the gradient of all other
    /// rows is zero.
    Rows {
        /// Row indices, unique and ascending.
        ids: &'a [u32],
        /// Gradients of these rows, `[ids.len(), width]`.
        values: &'a [T],
    },
    /// Values in some ranges of the parameter. What is outside of them stays as it is, moments too:
    /// another rank steps it.
    Parts {
        /// All values, in the parameter's layout; those outside of the ranges are not read.
        values: &'a [T],
        /// Ranges of values, disjoint and ascending.
        ranges: &'a [Range<usize>],
    },
}

impl<'a, T> ParameterGradient<'a, T> {
    /// Returns the values of all rows, or of the listed rows only.
    pub fn values(&self) -> &'a [T] {
        match self {
            ParameterGradient::Dense(values)
            | ParameterGradient::Rows { values, .. }
            | ParameterGradient::Parts { values, .. } => values,
        }
    }
}

/// A parameter to step, with its gradient.
#[derive(Debug)]
pub struct ParameterUpdate<'a, T> {
    /// Name as in open_clip. It is the key of the moments and determines whether the parameter
    /// decays.
    pub name: &'a str,
    /// Shape of the parameter.
    pub shape: &'a [usize],
    /// Values, row-major, changed in place.
    pub values: &'a mut [T],
    /// Gradient of the loss.
    pub gradient: ParameterGradient<'a, T>,
}

impl<T: Real> ParameterUpdate<'_, T> {
    /// Checks values, gradient and existing moments against the shape.
    pub(super) fn check(&self, moments: Option<&Moments<T>>) -> Result<(), OptimizerError> {
        let length = self
            .shape
            .iter()
            .try_fold(1usize, |product, &n| product.checked_mul(n))
            .ok_or_else(|| {
                self.shape_error(
                    "an overflow".to_owned(),
                    "an element count that fits `usize`".to_owned(),
                )
            })?;
        if self.values.len() != length {
            return Err(self.shape_error(
                format!("{} values", self.values.len()),
                format!("{length} values"),
            ));
        }
        if let Some(moments) = moments.filter(|moments| moments.shape != self.shape) {
            return Err(self.shape_error(
                format!("moments of shape {:?}", moments.shape),
                "moments of the same shape".to_owned(),
            ));
        }
        match self.gradient {
            ParameterGradient::Dense(values) | ParameterGradient::Parts { values, .. }
                if values.len() != length =>
            {
                Err(self.shape_error(
                    format!("a gradient of {} values", values.len()),
                    format!("a gradient of {length} values"),
                ))
            }
            ParameterGradient::Dense(_) => Ok(()),
            ParameterGradient::Parts { ranges, .. } => self.check_ranges(ranges),
            ParameterGradient::Rows { ids, values } => self.check_rows(ids, values.len()),
        }
    }

    fn check_rows(&self, ids: &[u32], values: usize) -> Result<(), OptimizerError> {
        let &[rows, _, ..] = self.shape else {
            return Err(self.shape_error(
                "a gradient of rows".to_owned(),
                "a dense gradient, as the parameter has fewer than two dimensions".to_owned(),
            ));
        };
        let width: usize = self.shape.iter().skip(1).product();
        if ids.len().checked_mul(width) != Some(values) {
            return Err(self.shape_error(
                format!("{values} gradient values for {} rows", ids.len()),
                format!("{width} gradient values for each row"),
            ));
        }
        let error = |what| OptimizerError::InvalidRows {
            name: self.name.to_owned(),
            shape: self.shape.to_vec(),
            what,
        };
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(error(format!("row {} follows row {}", pair[1], pair[0])));
        }
        match ids.last() {
            Some(&last) if last as usize >= rows => {
                Err(error(format!("row {last} is out of range")))
            }
            _ => Ok(()),
        }
    }

    fn check_ranges(&self, ranges: &[Range<usize>]) -> Result<(), OptimizerError> {
        let mut end = 0;
        for range in ranges {
            if range.start < end || range.end < range.start || range.end > self.values.len() {
                return Err(OptimizerError::InvalidRange {
                    name: self.name.to_owned(),
                    range: range.clone(),
                    lowest: end,
                    length: self.values.len(),
                });
            }
            end = range.end;
        }
        Ok(())
    }

    fn shape_error(&self, found: String, expected: String) -> OptimizerError {
        OptimizerError::Shape {
            name: self.name.to_owned(),
            shape: self.shape.to_vec(),
            found,
            expected,
        }
    }
}
