use super::{ModelError, Real};
use crate::tokenizer::TokenBatch;

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
        match height.checked_mul(width).and_then(|area| area.checked_mul(3)) {
            Some(length) if length > 0 && pixels.len().is_multiple_of(length) => {
                Ok(Self { pixels, height, width })
            }
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
    fn encode_with(&self, tokens: &TokenBatch, prompt: NoPrompt) -> Result<Features<T>, ModelError>;

    /// [`TextTower::encode_with`] the mean prompt, as at inference.
    ///
    /// # Errors
    /// As there.
    fn encode(&self, tokens: &TokenBatch) -> Result<Features<T>, ModelError> {
        self.encode_with(tokens, NoPrompt::Mean)
    }
}
