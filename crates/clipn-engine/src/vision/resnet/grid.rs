use clipn_model::{ImageBatch, ModelError, PatchGrid};

/// Smallest side in pixels whose last feature map has a position.
const MIN_SIDE: usize = 31;

/// Height and width of a feature map.
///
/// Average pooling rounds an odd size down; the first convolution, which pads, rounds it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MapSize {
    pub height: usize,
    pub width: usize,
}

impl MapSize {
    /// Returns the size after the first convolution of the stem: kernel 3, stride 2, padding 1.
    pub(crate) fn strided(self) -> Self {
        Self {
            height: self.height.div_ceil(2),
            width: self.width.div_ceil(2),
        }
    }

    /// Returns the size after 2×2 average pooling.
    pub(crate) fn halved(self) -> Self {
        Self {
            height: self.height / 2,
            width: self.width / 2,
        }
    }

    /// Returns the number of positions of the map.
    pub(crate) fn area(self) -> usize {
        self.height * self.width
    }
}

/// Returns the rows and columns of the last feature map for a batch of images.
///
/// # Errors
///
/// [`ModelError::ImageTooSmall`] if the images are smaller than 31×31 pixels.
pub(crate) fn last_grid<T>(images: &ImageBatch<'_, T>) -> Result<PatchGrid, ModelError> {
    let image = MapSize {
        height: images.height(),
        width: images.width(),
    };
    let last = image.strided().halved().halved().halved().halved();
    if last.area() == 0 {
        return Err(ModelError::ImageTooSmall {
            min: MIN_SIDE,
            height: image.height,
            width: image.width,
        });
    }
    Ok(PatchGrid {
        rows: last.height,
        columns: last.width,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_grid_matches_the_last_feature_map() {
        let grid = |height: usize, width: usize| {
            let pixels = vec![0.0f32; 3 * height * width];
            last_grid(&ImageBatch::new(&pixels, height, width).unwrap())
        };
        let patches = |rows, columns| PatchGrid { rows, columns };
        assert_eq!(grid(224, 224).unwrap(), patches(7, 7));
        assert_eq!(grid(31, 95).unwrap(), patches(1, 3));
        assert_eq!(grid(62, 63).unwrap(), patches(1, 2));
        assert!(grid(30, 64).unwrap_err().to_string().contains("30×64"));
    }
}
