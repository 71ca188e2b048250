use clipn_model::{Images, ModelError};

/// Rows or columns of a map that a convolution or an average over two positions halves: the odd one is dropped by an
/// average, and kept by the first convolution, which pads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub height: usize,
    pub width: usize,
}

impl Size {
    /// What the stem's first convolution leaves of an image: stride 2, one pixel of padding.
    pub fn strided(self) -> Self {
        Self {
            height: self.height.div_ceil(2),
            width: self.width.div_ceil(2),
        }
    }

    /// What averaging over 2×2 positions leaves.
    pub fn halved(self) -> Self {
        Self {
            height: self.height / 2,
            width: self.width / 2,
        }
    }

    /// Positions of the map.
    pub fn area(self) -> usize {
        self.height * self.width
    }
}

/// Rows and columns of the last map of a batch of images.
pub(crate) fn last_grid<T>(
    images: &Images<'_, T>,
) -> Result<(usize, usize), ModelError> {
    let image = Size {
        height: images.height(),
        width: images.width(),
    };
    let last = image.strided().halved().halved().halved().halved();
    if last.area() == 0 {
        return Err(ModelError::Input(format!(
            "images of {}×{} pixels are too small for a ResNet, which needs 31×31",
            image.height, image.width
        )));
    }
    Ok((last.height, last.width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_those_of_the_maps() {
        let grid = |height: usize, width: usize| {
            last_grid(&Images::new(&vec![0.0f32; 3 * height * width], height, width).unwrap())
        };
        assert_eq!(grid(224, 224).unwrap(), (7, 7));
        assert_eq!(grid(31, 95).unwrap(), (1, 3));
        assert_eq!(grid(62, 63).unwrap(), (1, 2));
        assert!(grid(30, 64).unwrap_err().to_string().contains("30×64"));
    }
}
