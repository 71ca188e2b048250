//! What one step asks of one parameter, checked before anything is written.

use super::{Moments, OptimizerError};
use clipn_model::Real;

/// A gradient of a parameter.
#[derive(Debug, Clone, Copy)]
pub enum Gradient<'a, T> {
    /// In the parameter's own layout.
    Dense(&'a [T]),
    /// Of some rows (slices along the first dimension); the gradient of all others is zero.
    Rows {
        /// Which rows, ascending.
        ids: &'a [u32],
        /// Their gradients, `[ids, width]`.
        values: &'a [T],
    },
}

impl<'a, T> Gradient<'a, T> {
    /// The values that are not known to be zero.
    pub fn values(&self) -> &'a [T] {
        match self {
            Gradient::Dense(values) | Gradient::Rows { values, .. } => values,
        }
    }
}

/// A parameter to step.
#[derive(Debug)]
pub struct Update<'a, T> {
    /// open_clip's name, by which its moments are kept and which says whether it decays.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its values, row-major.
    pub values: &'a mut [T],
    /// The gradient of the loss for it.
    pub gradient: Gradient<'a, T>,
}

impl<T: Real> Update<'_, T> {
    /// Holds values, gradient and the moments so far against the shape.
    pub(super) fn check(&self, moments: Option<&Moments<T>>) -> Result<(), OptimizerError> {
        let length = self
            .shape
            .iter()
            .try_fold(1usize, |product, &n| product.checked_mul(n))
            .ok_or_else(|| {
                self.shape_error(String::new(), "a shape that fits memory".to_owned())
            })?;
        if self.values.len() != length {
            return Err(self.shape_error(
                format!("{} values", self.values.len()),
                format!("{length}, as the shape has elements"),
            ));
        }
        if let Some(moments) = moments.filter(|moments| moments.shape != self.shape) {
            return Err(self.shape_error(
                format!(
                    "a shape other than that of its moments, {:?}",
                    moments.shape
                ),
                "the same shape in every step, or begin with fresh moments".to_owned(),
            ));
        }
        match self.gradient {
            Gradient::Dense(values) if values.len() != length => Err(self.shape_error(
                format!("a gradient of {} values", values.len()),
                format!("{length}, as the shape has elements"),
            )),
            Gradient::Dense(_) => Ok(()),
            Gradient::Rows { ids, values } => self.check_rows(ids, values.len()),
        }
    }

    fn check_rows(&self, ids: &[u32], values: usize) -> Result<(), OptimizerError> {
        let &[rows, _, ..] = self.shape else {
            return Err(self.shape_error(
                "a gradient of rows".to_owned(),
                "a dense gradient, since it has fewer than two dimensions".to_owned(),
            ));
        };
        let width: usize = self.shape.iter().skip(1).product();
        if ids.len().checked_mul(width) != Some(values) {
            return Err(self.shape_error(
                format!("{values} gradient values for {} rows", ids.len()),
                format!("{width} for each row"),
            ));
        }
        let error = |what| OptimizerError::Rows {
            name: self.name.to_owned(),
            shape: self.shape.to_vec(),
            what,
        };
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(error(format!("row {} follows row {}", pair[1], pair[0])));
        }
        match ids.last() {
            Some(&last) if last as usize >= rows => {
                Err(error(format!("row {last} is outside the table")))
            }
            _ => Ok(()),
        }
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
