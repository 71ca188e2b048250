use crate::params::PatchGrid;
use crate::real::Real;
use crate::tower::FeatureMatrix;

/// Features of images and of their patches in one space with the texts, as GL-MCM takes them from CLIP
/// (Miyai et al., 2025, <https://arxiv.org/abs/2304.04521>).
///
/// A patch of a ViT goes through the last block by itself: its value instead of the attention over all
/// values. A patch of a ResNet is a position of the last feature map, through the value and output
/// projections of the attention pooling, without positional embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalFeatures<T> {
    global: FeatureMatrix<T>,
    local: FeatureMatrix<T>,
    grid: PatchGrid,
}

impl<T: Real> LocalFeatures<T> {
    /// Creates features from rows of `dim` values, `[N·(1 + P), dim]`: the feature of each image before
    /// those of its P patches in the order of the grid. An incomplete last image is dropped.
    pub fn from_rows(rows: &[T], dim: usize, grid: PatchGrid) -> Self {
        let dim = dim.max(1);
        let (mut global, mut local) = (Vec::new(), Vec::new());
        for image in rows.chunks_exact((1 + grid.len()) * dim) {
            let (own, patches) = image.split_at(dim);
            global.extend_from_slice(own);
            local.extend_from_slice(patches);
        }
        Self {
            global: FeatureMatrix::new(global, dim),
            local: FeatureMatrix::new(local, dim),
            grid,
        }
    }

    /// Returns the features of the N images, `[N, D]`.
    pub fn global(&self) -> &FeatureMatrix<T> {
        &self.global
    }

    /// Returns the features of the patches, `[N·P, D]`: image by image, each row by row of the grid.
    pub fn local(&self) -> &FeatureMatrix<T> {
        &self.local
    }

    /// Returns the grid of P patches of an image.
    pub fn grid(&self) -> PatchGrid {
        self.grid
    }

    /// Returns the features of one image; `None` if there are fewer.
    pub fn image(&self, index: usize) -> Option<Self> {
        let (dim, patches) = (self.global.dim(), self.grid.len() * self.global.dim());
        let global = self.global.rows().nth(index)?.to_vec();
        let local = self.local.values().get(index * patches..)?.get(..patches)?;
        Some(Self {
            global: FeatureMatrix::new(global, dim),
            local: FeatureMatrix::new(local.to_vec(), dim),
            grid: self.grid,
        })
    }

    /// Divides every row by its L2 norm; a zero row stays zero.
    pub fn normalize(&mut self) {
        self.global.normalize();
        self.local.normalize();
    }

    /// Returns the features of the images and of the patches.
    pub fn into_parts(self) -> (FeatureMatrix<T>, FeatureMatrix<T>) {
        (self.global, self.local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_divided_into_images_and_patches() {
        let grid = PatchGrid {
            rows: 1,
            columns: 2,
        };
        let rows: Vec<f32> = (0..13).map(|value| value as f32).collect();
        let features = LocalFeatures::from_rows(&rows, 2, grid);
        assert_eq!(features.global().values(), [0.0, 1.0, 6.0, 7.0]);
        assert_eq!(
            features.local().values(),
            [2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 10.0, 11.0]
        );
        assert_eq!(features.grid().len(), 2);
        let second = features.image(1).unwrap();
        assert_eq!(second.global().values(), [6.0, 7.0]);
        assert_eq!(second.local().values(), [8.0, 9.0, 10.0, 11.0]);
        assert!(features.image(2).is_none());
    }
}
