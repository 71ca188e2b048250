use clipn_checkpoint::Buffer;
use clipn_model::Real;

use super::OptimizerError;

/// AdamW's state of one parameter: running averages of the gradient and of its square.
#[derive(Debug, Clone)]
pub struct Moments<T: Real> {
    pub(super) shape: Vec<usize>,
    pub(super) step: u64,
    pub(super) first: Buffer<T>,
    pub(super) second: Buffer<T>,
    /// Whether a gradient has ever reached each row; moments of other rows are zero. `None` if all
    /// rows count as reached.
    pub(super) reached: Option<Vec<bool>>,
}

impl<T: Real> Moments<T> {
    /// Creates moments as a checkpoint stores them: for a parameter of `shape` after `step` steps,
    /// the running averages of the gradient (PyTorch's `exp_avg`) and of its square (`exp_avg_sq`).
    /// `name` is for the error.
    ///
    /// # Errors
    /// [`OptimizerError::Shape`] if the number of values does not match the shape.
    pub fn new(
        name: &str,
        shape: &[usize],
        step: u64,
        first: impl Into<Buffer<T>>,
        second: impl Into<Buffer<T>>,
    ) -> Result<Self, OptimizerError> {
        let (first, second) = (first.into(), second.into());
        let length: usize = shape.iter().product();
        if first.len() != length || second.len() != length {
            return Err(OptimizerError::Shape {
                name: name.to_owned(),
                shape: shape.to_vec(),
                found: format!("moments of {} and {} values", first.len(), second.len()),
                expected: format!("{length} values each"),
            });
        }
        let reached = reached_rows(shape, &first, &second);
        for moment in [&first, &second] {
            moment.release();
        }
        Ok(Self {
            shape: shape.to_vec(),
            step,
            first,
            second,
            reached,
        })
    }

    /// Copies mapped moments into memory. Rows that no gradient has reached become zeros, which
    /// take no physical memory until they are written.
    pub(super) fn load_into_memory(&mut self) {
        for moment in [&mut self.first, &mut self.second] {
            if !moment.is_mapped() {
                continue;
            }
            let Some(reached) = &self.reached else {
                moment.make_mut();
                continue;
            };
            let width = moment.len() / reached.len().max(1);
            let mut owned = vec![T::zero(); moment.len()];
            let rows = owned
                .chunks_exact_mut(width.max(1))
                .zip(moment.chunks_exact(width.max(1)));
            for ((row, stored), _) in rows.zip(reached).filter(|(_, reached)| **reached) {
                row.copy_from_slice(stored);
            }
            moment.release();
            *moment = owned.into();
        }
    }

    /// Returns both averages for writing, in memory.
    pub(crate) fn averages_mut(&mut self) -> [&mut [T]; 2] {
        self.load_into_memory();
        [self.first.make_mut(), self.second.make_mut()]
    }

    /// Creates moments of zeros, as before the first step. Zeroed memory takes no physical memory until it
    /// is written.
    pub(super) fn zeros(shape: &[usize]) -> Self {
        let zeros = || Buffer::from(vec![T::zero(); shape.iter().product()]);
        let reached = row_count(shape).map(|rows| vec![false; rows]);
        Self {
            shape: shape.to_vec(),
            step: 0,
            first: zeros(),
            second: zeros(),
            reached,
        }
    }

    /// Returns the parameter's shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the number of steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Returns the running average of the gradient, in the parameter's layout.
    pub fn first(&self) -> &Buffer<T> {
        &self.first
    }

    /// Returns the running average of the squared gradient, in the parameter's layout.
    pub fn second(&self) -> &Buffer<T> {
        &self.second
    }
}

/// Returns the number of rows of a table; `None` for a parameter with fewer than two dimensions.
fn row_count(shape: &[usize]) -> Option<usize> {
    match shape {
        [rows, _, ..] => Some(*rows),
        _ => None,
    }
}

/// Returns which rows have moments that are not all zero. A row of zeros counts as never reached: a
/// step without gradient leaves them zero.
fn reached_rows<T: Real>(shape: &[usize], first: &[T], second: &[T]) -> Option<Vec<bool>> {
    let rows = row_count(shape)?;
    let width = first.len() / rows.max(1);
    if width == 0 {
        return None;
    }
    let is_zero = |row: &[T]| {
        bytemuck::cast_slice::<T, u8>(row)
            .iter()
            .all(|&byte| byte == 0)
    };
    let pairs = first.chunks(width).zip(second.chunks(width));
    Some(
        pairs
            .map(|(first, second)| !(is_zero(first) && is_zero(second)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use clipn_checkpoint::{Checkpoint, Tensor, write_safetensors};

    #[test]
    fn mapped_moments_keep_their_bits_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("moments.safetensors");
        let first = [0.0, 0.0, -0.0, 0.0, 1.0, 2.0, 0.0, 0.0f32];
        let second = [0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 4.0f32];
        let tensors = [("first", first), ("second", second)].map(|(name, values)| {
            (
                name.to_owned(),
                Tensor::from_f32(&[4, 2], values.to_vec()).unwrap(),
            )
        });
        write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
        let file = Checkpoint::open(&path).unwrap();
        let stored = |name| file.get(name).unwrap().to_f32();
        let mut moments =
            Moments::new("table", &[4, 2], 5, stored("first"), stored("second")).unwrap();
        assert_eq!(
            moments.reached.as_deref(),
            Some(&[false, true, true, true][..])
        );
        assert!(moments.first.is_mapped() && moments.second.is_mapped());
        moments.load_into_memory();
        assert!(!moments.first.is_mapped() && !moments.second.is_mapped());
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(
            (bits(&moments.first), bits(&moments.second)),
            (bits(&first), bits(&second))
        );
    }
}
