use super::StreamError;

/// A part of what a stream remembers, for a file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StreamTensor {
    /// Name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Values, row by row.
    pub values: StreamValues,
}

/// Values of a [`StreamTensor`].
#[derive(Debug, Clone, PartialEq)]
pub enum StreamValues {
    /// Features or activations.
    F32(Vec<f32>),
    /// Scores, entropies and counts.
    F64(Vec<f64>),
}

impl StreamTensor {
    /// Creates a tensor of features or activations; the values must be as many as the shape has.
    pub fn f32(name: impl Into<String>, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            values: StreamValues::F32(values),
        }
    }

    /// Creates a tensor of scores, entropies or counts, `[N]`.
    pub fn f64(name: impl Into<String>, values: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            shape: vec![values.len()],
            values: StreamValues::F64(values),
        }
    }
}

/// Reads the parts of a stored state.
pub(super) struct StoredState<'a>(pub(super) &'a [StreamTensor]);

impl StoredState<'_> {
    /// Finite rows of `width` values, at most `most` of them.
    pub(super) fn rows(
        &self,
        name: &'static str,
        width: usize,
        most: usize,
    ) -> Result<&[f32], StreamError> {
        let found = self.0.iter().find(|tensor| tensor.name == name);
        match found {
            Some(StreamTensor {
                shape,
                values: StreamValues::F32(values),
                ..
            }) if matches!(shape[..], [rows, found] if found == width && rows <= most)
                && values.len() == shape.iter().product::<usize>()
                && values.iter().all(|value| value.is_finite()) =>
            {
                Ok(values)
            }
            _ => Err(StreamError::State { name }),
        }
    }

    /// Finite numbers.
    pub(super) fn numbers(&self, name: &'static str) -> Result<&[f64], StreamError> {
        let found = self.0.iter().find(|tensor| tensor.name == name);
        match found.map(|tensor| &tensor.values) {
            Some(StreamValues::F64(values)) if values.iter().all(|value| value.is_finite()) => {
                Ok(values)
            }
            _ => Err(StreamError::State { name }),
        }
    }
}
