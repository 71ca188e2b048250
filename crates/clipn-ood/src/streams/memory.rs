//! Bounded memories of a stream.

use std::collections::VecDeque;

use num_traits::Float;

/// The newest rows of a stream, at most a fixed number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RowQueue<T> {
    width: usize,
    capacity: usize,
    rows: VecDeque<Vec<T>>,
}

impl<T: Float> RowQueue<T> {
    pub(super) fn new(width: usize, capacity: usize) -> Self {
        Self {
            width,
            capacity,
            rows: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds a row, and drops the oldest one if there is no room.
    pub(super) fn push(&mut self, row: &[T]) {
        if self.rows.len() == self.capacity {
            self.rows.pop_front();
        }
        self.rows.push_back(row.to_vec());
    }

    /// The rows, the oldest first.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[T]> {
        self.rows.iter().map(Vec::as_slice)
    }

    /// Mean of the rows, `[width]`.
    pub(super) fn mean(&self) -> Vec<f64> {
        mean(self.rows(), self.width)
    }
}

/// Mean of at least one row.
pub(super) fn mean<'a, T: Float + 'a>(
    rows: impl Iterator<Item = &'a [T]>,
    width: usize,
) -> Vec<f64> {
    let (mut sums, mut count) = (vec![0.0; width], 0.0);
    for row in rows {
        count += 1.0;
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value.to_f64().unwrap_or(f64::NAN);
        }
    }
    sums.iter_mut().for_each(|sum| *sum /= count);
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_the_oldest_row() {
        let mut queue = RowQueue::new(2, 2);
        for value in [1.0_f32, 2.0, 4.0] {
            queue.push(&[value, -value]);
        }
        assert_eq!((queue.len(), queue.mean()), (2, vec![3.0, -3.0]));
    }
}
