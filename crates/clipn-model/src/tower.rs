use super::{ModelError, Real, TextGradient, TextParams, VisionParams};
use clipn_text::tokenizer::TokenBatch;

/// Borrowed batch of normalized images, `[N, 3, H, W]`.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a, T> {
    pixels: &'a [T],
    height: usize,
    width: usize,
}

impl<'a, T> Images<'a, T> {
    /// Creates a batch of images of `height` × `width` pixels with three channels each.
    ///
    /// # Errors
    /// [`ModelError::Input`] if a side is zero or `pixels` is not a whole number of images.
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

    /// Returns the number of images `N`.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.image_len()
    }

    /// Returns whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Returns the height `H` in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns the width `W` in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns all values, `[N, 3, H, W]`.
    pub fn pixels(&self) -> &'a [T] {
        self.pixels
    }

    /// Returns the number of values of one image, `3·H·W`.
    pub fn image_len(&self) -> usize {
        3 * self.height * self.width
    }
}

/// Features of a batch, `[N, D]`, not normalized unless [`Features::normalize`] was called.
#[derive(Debug, Clone, PartialEq)]
pub struct Features<T> {
    values: Vec<T>,
    dim: usize,
}

impl<T: Real> Features<T> {
    /// Creates features from rows of `dim` values; an incomplete last row is dropped.
    pub fn new(mut values: Vec<T>, dim: usize) -> Self {
        let dim = dim.max(1);
        values.truncate(values.len() / dim * dim);
        Self { values, dim }
    }

    /// Returns the number of rows `N`.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Returns whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the dimension `D`.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns all values, `[N, D]`.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Iterates over the rows, each `[D]`.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, T> {
        self.values.chunks_exact(self.dim)
    }

    /// Divides every row by its L2 norm; a zero row stays zero.
    pub fn normalize(&mut self) {
        for row in self.values.chunks_exact_mut(self.dim) {
            normalize_row(row);
        }
    }
}

/// Divides a vector by its L2 norm; a zero vector stays zero.
pub fn normalize_row<T: Real>(row: &mut [T]) {
    let length = row.iter().map(|&x| x * x).sum::<T>().sqrt();
    if length > T::zero() {
        for x in row {
            *x = *x / length;
        }
    }
}

/// Backward pass of [`Features::normalize`]. It maps the gradient of the normalized features `[N,
/// D]` to that of the original features: `(d − n·(n·d)) / |f|` for each row f with n = f/|f|. A
/// zero row, which has no direction, gets a zero gradient.
///
/// # Errors
/// [`ModelError::Input`] if the length of `d_normalised` differs from that of the features.
pub fn normalize_backward<T: Real>(
    features: &Features<T>,
    d_normalised: &[T],
) -> Result<Vec<T>, ModelError> {
    check_length(
        "the gradient of the normalized features",
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

/// Checks the length of an array; `what` names it in the error.
pub fn check_length(what: &str, found: usize, expected: usize) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    Err(ModelError::Input(format!(
        "expected {expected} values for {what}, got {found}"
    )))
}

/// "No" prompt that a text tower adds to its token embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoPrompt {
    /// Mean of the "no" prompts, as at inference; a tower without prompts adds nothing.
    #[default]
    Mean,
    /// One of the "no" prompts, from 0.
    Index(usize),
}

/// Image tower, which maps normalized pixels to features.
pub trait ImageTower<T: Real>: Send + Sync {
    /// Returns the dimension `D` of the features.
    fn embed_dim(&self) -> usize;

    /// Returns the side of the model's square input in pixels.
    fn image_size(&self) -> usize;

    /// Encodes images `[N, 3, H, W]` to features `[N, D]`, not normalized. For sizes other than
    /// [`ImageTower::image_size`], positional embeddings are interpolated to the images' grid of
    /// patches.
    ///
    /// # Errors
    /// [`ModelError::Input`] if the images are smaller than one patch.
    fn encode(&self, images: Images<'_, T>) -> Result<Features<T>, ModelError>;
}

/// Text tower, "yes" or "no", which maps token ids to features.
pub trait TextTower<T: Real>: Send + Sync {
    /// Returns the dimension `D` of the features.
    fn embed_dim(&self) -> usize;

    /// Returns the maximum number of tokens in a text.
    fn context_length(&self) -> usize;

    /// Encodes token ids `[N, L]`, with `L` at most [`TextTower::context_length`], to features `[N,
    /// D]`, not normalized. The features are taken at the first position of each row's largest id.
    ///
    /// # Errors
    /// [`ModelError::TokenOutOfRange`] for an id outside the vocabulary,
    /// [`ModelError::PromptOutOfRange`] for an unknown prompt, [`ModelError::Input`] for a row
    /// longer than the context.
    fn encode_with(&self, tokens: &TokenBatch, prompt: NoPrompt)
    -> Result<Features<T>, ModelError>;

    /// Calls [`TextTower::encode_with`] with the mean prompt, as at inference.
    ///
    /// # Errors
    /// Same as [`TextTower::encode_with`].
    fn encode(&self, tokens: &TokenBatch) -> Result<Features<T>, ModelError> {
        self.encode_with(tokens, NoPrompt::Mean)
    }
}

/// Image tower that can be trained. The forward pass records a tape, from which the backward pass
/// computes the gradient of the parameters.
pub trait TrainableImageTower<T: Real>: ImageTower<T> {
    /// Intermediate values of a forward pass that the backward pass needs.
    type Tape: Send;

    /// Same as [`ImageTower::encode`], but records a tape.
    ///
    /// # Errors
    /// Same as [`ImageTower::encode`].
    fn forward(&self, images: Images<'_, T>) -> Result<(Features<T>, Self::Tape), ModelError>;

    /// Adds the gradient of the parameters to `gradient`. `d_features`, `[N, D]`, is the gradient
    /// of the unnormalized features of the forward pass that recorded the tape. The parameters must
    /// not have changed since that pass.
    ///
    /// # Errors
    /// [`ModelError::Input`] if the shape of `d_features` or `gradient` is wrong; `gradient` is
    /// then unchanged.
    fn backward(
        &self,
        tape: Self::Tape,
        d_features: &[T],
        gradient: &mut VisionParams<T>,
    ) -> Result<(), ModelError>;

    /// Returns the parameters.
    fn params(&self) -> &VisionParams<T>;

    /// Returns the parameters for writing; their shapes must not change.
    fn params_mut(&mut self) -> &mut VisionParams<T>;
}

/// Text tower, "yes" or "no", that can be trained. The forward pass records a tape, from which the
/// backward pass computes the gradient of the parameters.
pub trait TrainableTextTower<T: Real>: TextTower<T> {
    /// Intermediate values of a forward pass that the backward pass needs.
    type Tape: Send;

    /// Same as [`TextTower::encode_with`], but records a tape and uses one prompt per text;
    /// `prompts` is `[N]`.
    ///
    /// # Errors
    /// Same as [`TextTower::encode_with`], and [`ModelError::Input`] if the number of prompts
    /// differs from the number of texts.
    fn forward(
        &self,
        tokens: &TokenBatch,
        prompts: &[NoPrompt],
    ) -> Result<(Features<T>, Self::Tape), ModelError>;

    /// Adds the gradient of the parameters to `gradient`. `d_features`, `[N, D]`, is the gradient
    /// of the unnormalized features of the forward pass that recorded the tape. The parameters must
    /// not have changed since that pass. The gradient of a mean prompt is distributed over all
    /// prompts.
    ///
    /// # Errors
    /// [`ModelError::Input`] if the shape of `d_features` or `gradient` is wrong; `gradient` is
    /// then unchanged.
    fn backward(
        &self,
        tape: Self::Tape,
        d_features: &[T],
        gradient: &mut TextGradient<T>,
    ) -> Result<(), ModelError>;

    /// Returns the parameters.
    fn params(&self) -> &TextParams<T>;

    /// Returns the parameters for writing; their shapes must not change.
    fn params_mut(&mut self) -> &mut TextParams<T>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalization_backward_equals_finite_differences() {
        let features = Features::new(vec![0.3, -1.2, 0.4, 0.0, 0.0, 0.0], 3);
        let d = [0.7, 0.1, -0.5, 1.0, 2.0, 3.0];
        let found = normalize_backward(&features, &d).unwrap();
        let objective = |values: &[f64]| {
            let mut row = values[..3].to_vec();
            normalize_row(&mut row);
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
        assert!(normalize_backward(&features, &d[..5]).is_err());
    }
}
