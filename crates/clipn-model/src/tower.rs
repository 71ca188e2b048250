use super::{ModelError, Real, TextGradient, TextParams, VisionParams};
use clipn_text::tokenizer::TokenBatch;

/// A batch of normalised images, `[N, 3, H, W]`, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a, T> {
    pixels: &'a [T],
    height: usize,
    width: usize,
}

impl<'a, T> Images<'a, T> {
    /// Images of `height` × `width` pixels, three channels each, one after the other.
    ///
    /// # Errors
    /// A side is zero, or the length is not a whole number of images.
    pub fn new(pixels: &'a [T], height: usize, width: usize) -> Result<Self, ModelError> {
        match height
            .checked_mul(width)
            .and_then(|area| area.checked_mul(3))
        {
            Some(length) if length > 0 && pixels.len().is_multiple_of(length) => Ok(Self {
                pixels,
                height,
                width,
            }),
            _ => Err(ModelError::Input(format!(
                "{} pixel values are not a whole number of 3×{height}×{width} images",
                pixels.len()
            ))),
        }
    }

    /// Number of images N.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.image_len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Height H in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width W in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All values, `[N, 3, H, W]`.
    pub fn pixels(&self) -> &'a [T] {
        self.pixels
    }

    /// Values of one image, `3·H·W`.
    pub fn image_len(&self) -> usize {
        3 * self.height * self.width
    }
}

/// Features of a batch, `[N, D]`, not normalised unless [`Features::normalise`] was called.
#[derive(Debug, Clone, PartialEq)]
pub struct Features<T> {
    values: Vec<T>,
    dim: usize,
}

impl<T: Real> Features<T> {
    /// Rows of `dim` values, one after the other; an incomplete last row is cut off.
    pub fn new(mut values: Vec<T>, dim: usize) -> Self {
        let dim = dim.max(1);
        values.truncate(values.len() / dim * dim);
        Self { values, dim }
    }

    /// Number of rows N.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Dimension D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All values, `[N, D]`.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The rows, each `[D]`.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, T> {
        self.values.chunks_exact(self.dim)
    }

    /// Divides every row by its Euclidean length; a row of zeros stays as it is.
    pub fn normalise(&mut self) {
        for row in self.values.chunks_exact_mut(self.dim) {
            normalise_row(row);
        }
    }
}

/// Divides a vector by its Euclidean length; zeros stay as they are.
pub fn normalise_row<T: Real>(row: &mut [T]) {
    let length = row.iter().map(|&x| x * x).sum::<T>().sqrt();
    if length > T::zero() {
        for x in row {
            *x = *x / length;
        }
    }
}

/// The backward pass of [`Features::normalise`]: from the gradient of the normalised features `[N, D]` to that of the
/// features as they were before, `(d − n·(n·d)) / |f|` for each row f with n = f/|f|. A row of zeros, which has no
/// direction, gives zeros.
///
/// # Errors
/// `d_normalised` has another length than the features.
pub fn normalise_backward<T: Real>(
    features: &Features<T>,
    d_normalised: &[T],
) -> Result<Vec<T>, ModelError> {
    check_length(
        "the gradient of the normalised features",
        d_normalised.len(),
        features.values.len(),
    )?;
    let mut out = Vec::with_capacity(d_normalised.len());
    for (row, d) in features.rows().zip(d_normalised.chunks_exact(features.dim)) {
        let square = row.iter().map(|&f| f * f).sum::<T>();
        if square > T::zero() {
            let along = row.iter().zip(d).map(|(&f, &d)| f * d).sum::<T>() / square;
            let length = square.sqrt();
            out.extend(row.iter().zip(d).map(|(&f, &d)| (d - f * along) / length));
        } else {
            out.resize(out.len() + features.dim, T::zero());
        }
    }
    Ok(out)
}

/// An array that a caller hands in has the length that is needed.
pub fn check_length(what: &str, found: usize, expected: usize) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    Err(ModelError::Input(format!(
        "{what} has {found} values where {expected} are needed"
    )))
}

/// What a text tower adds to the embeddings of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoPrompt {
    /// The mean of the "no" prompts, as at inference; nothing for a tower without prompts.
    #[default]
    Mean,
    /// One of the "no" prompts, counted from 0.
    Index(usize),
}

/// The image tower: normalised pixels to features.
pub trait ImageTower<T: Real>: Send + Sync {
    /// Dimension D of the features.
    fn embed_dim(&self) -> usize;

    /// Side of the square input that the weights were made for, in pixels.
    fn image_size(&self) -> usize;

    /// Features `[N, D]` of images `[N, 3, H, W]`, not normalised. Where the size is not
    /// [`ImageTower::image_size`], positional embeddings are interpolated to the images' grid of patches.
    ///
    /// # Errors
    /// The images are smaller than one patch.
    fn encode(&self, images: Images<'_, T>) -> Result<Features<T>, ModelError>;
}

/// A text tower, "yes" or "no": token ids to features.
pub trait TextTower<T: Real>: Send + Sync {
    /// Dimension D of the features.
    fn embed_dim(&self) -> usize;

    /// The longest text, in positions.
    fn context_length(&self) -> usize;

    /// Features `[N, D]` of token ids `[N, L]`, L at most [`TextTower::context_length`], not normalised: the hidden
    /// state at the first position of each row's largest id.
    ///
    /// # Errors
    /// An id outside the vocabulary, a row longer than the context, or a prompt that the tower does not have.
    fn encode_with(&self, tokens: &TokenBatch, prompt: NoPrompt)
    -> Result<Features<T>, ModelError>;

    /// [`TextTower::encode_with`] the mean prompt, as at inference.
    ///
    /// # Errors
    /// As there.
    fn encode(&self, tokens: &TokenBatch) -> Result<Features<T>, ModelError> {
        self.encode_with(tokens, NoPrompt::Mean)
    }
}

/// An image tower that can be trained: the forward pass keeps a tape, from which the backward pass finds the gradient
/// of the parameters.
pub trait TrainImage<T: Real>: ImageTower<T> {
    /// What the backward pass needs of a forward pass.
    type Tape: Send;

    /// [`ImageTower::encode`] that keeps a tape.
    ///
    /// # Errors
    /// As there.
    fn forward(&self, images: Images<'_, T>) -> Result<(Features<T>, Self::Tape), ModelError>;

    /// Adds to `gradient` the gradient of the parameters, where `d_features`, `[N, D]`, is that of the features of the
    /// forward pass that kept the tape, not normalised. The parameters must be those of that pass.
    ///
    /// # Errors
    /// `d_features` or `gradient` has another shape than the features or the parameters; `gradient` is then as before.
    fn backward(
        &self,
        tape: Self::Tape,
        d_features: &[T],
        gradient: &mut VisionParams<T>,
    ) -> Result<(), ModelError>;

    /// The parameters.
    fn params(&self) -> &VisionParams<T>;

    /// The parameters for writing; their shapes must stay.
    fn params_mut(&mut self) -> &mut VisionParams<T>;
}

/// A text tower, "yes" or "no", that can be trained: the forward pass keeps a tape, from which the backward pass finds
/// the gradient of the parameters.
pub trait TrainText<T: Real>: TextTower<T> {
    /// What the backward pass needs of a forward pass.
    type Tape: Send;

    /// [`TextTower::encode_with`] that keeps a tape, each text with a prompt of its own: `prompts` is `[N]`.
    ///
    /// # Errors
    /// As there, or another number of prompts than of texts.
    fn forward(
        &self,
        tokens: &TokenBatch,
        prompts: &[NoPrompt],
    ) -> Result<(Features<T>, Self::Tape), ModelError>;

    /// Adds to `gradient` the gradient of the parameters, where `d_features`, `[N, D]`, is that of the features of the
    /// forward pass that kept the tape, not normalised. The parameters must be those of that pass. That of a mean
    /// prompt is spread over all prompts.
    ///
    /// # Errors
    /// `d_features` or `gradient` has another shape than the features or the parameters; `gradient` is then as before.
    fn backward(
        &self,
        tape: Self::Tape,
        d_features: &[T],
        gradient: &mut TextGradient<T>,
    ) -> Result<(), ModelError>;

    /// The parameters.
    fn params(&self) -> &TextParams<T>;

    /// The parameters for writing; their shapes must stay.
    fn params_mut(&mut self) -> &mut TextParams<T>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_goes_back_through_the_normalisation() {
        let features = Features::new(vec![0.3, -1.2, 0.4, 0.0, 0.0, 0.0], 3);
        let d = [0.7, 0.1, -0.5, 1.0, 2.0, 3.0];
        let found = normalise_backward(&features, &d).unwrap();
        let objective = |values: &[f64]| {
            let mut row = values[..3].to_vec();
            normalise_row(&mut row);
            row.iter().zip(&d).map(|(n, d)| n * d).sum::<f64>()
        };
        for i in 0..3 {
            let at = |step: f64| {
                let mut moved = features.values().to_vec();
                moved[i] += step;
                objective(&moved)
            };
            assert!((found[i] - (at(1e-6) - at(-1e-6)) / 2e-6).abs() < 1e-9);
        }
        assert_eq!(found[3..], [0.0; 3]);
        assert!(normalise_backward(&features, &d[..5]).is_err());
    }
}
