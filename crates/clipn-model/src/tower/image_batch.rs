use crate::error::ModelError;

/// Borrowed batch of normalized images, `[N, 3, H, W]`.
///
/// ```
/// use clipn_model::ImageBatch;
///
/// let pixels = [0.0f32; 2 * 3 * 4 * 5];
/// let images = ImageBatch::new(&pixels, 4, 5)?;
/// assert_eq!((images.len(), images.image_len()), (2, 60));
/// assert!(ImageBatch::new(&pixels[1..], 4, 5).is_err());
/// # Ok::<(), clipn_model::ModelError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ImageBatch<'a, T> {
    pixels: &'a [T],
    height: usize,
    width: usize,
}

impl<'a, T> ImageBatch<'a, T> {
    /// Creates a batch of images of `height` × `width` pixels with three channels each.
    ///
    /// # Errors
    /// [`ModelError::PixelCount`] if a side is zero or `pixels` is not a whole number of images.
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
            _ => Err(ModelError::PixelCount {
                values: pixels.len(),
                height,
                width,
            }),
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
