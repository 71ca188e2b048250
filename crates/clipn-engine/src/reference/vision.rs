use clipn_model::{
    Activation, FeatureMatrix, ImageBatch, ImageTower, LocalFeatures, ModelConfig, ModelError,
    ModelWeights, PatchGrid, Real, TrainableImageTower, VisionConfig, VisionParams,
    add_positional_embedding_gradient, check_length, patch_grid, positional_embedding_for,
};

use super::backward::{
    add_outer, layer_norm_backward, project_backward, run_blocks_backward, trace,
};
use super::block::{BlockShape, add, block, block_of_values, dot, layer_norm, project, run_blocks};

/// CLIP's ViT image tower, straight from its definition.
#[derive(Debug, Clone)]
pub struct ReferenceVision<T: Real> {
    config: VisionConfig,
    activation: Activation,
    embed_dim: usize,
    params: VisionParams<T>,
}

impl<T: Real> ReferenceVision<T> {
    /// Creates a tower from a config and its parameters.
    pub fn new(config: &ModelConfig, params: VisionParams<T>) -> Self {
        Self {
            config: config.vision.clone(),
            activation: config.activation,
            embed_dim: config.embed_dim,
            params,
        }
    }

    /// Creates the tower of loaded weights.
    pub fn from_weights(weights: &ModelWeights) -> Self {
        Self::new(weights.config(), weights.vision_params())
    }

    fn shape(&self) -> BlockShape {
        BlockShape {
            width: self.config.width,
            heads: self.config.heads,
            activation: self.activation,
            causal: false,
        }
    }

    /// Returns the patches of one image, `[3, H, W]`, as rows, `[patches, 3·patch²]`.
    fn patches(&self, image: &[T], height: usize, width: usize) -> Vec<T> {
        let p = self.config.patch_size;
        let mut out = Vec::new();
        for top in (0..height / p).map(|y| y * p) {
            for left in (0..width / p).map(|x| x * p) {
                for i in 0..3 * p * p {
                    let (channel, y, x) = (i / (p * p), i / p % p, i % p);
                    out.push(image[(channel * height + top + y) * width + left + x]);
                }
            }
        }
        out
    }

    /// Returns the class token and the embedded patches of one image plus `positions`,
    /// `[1 + patches, width]`.
    fn embed(&self, patches: &[T], positions: &[T]) -> Vec<T> {
        let inner = self.params.conv1.len() / self.config.width;
        let mut x = self.params.class_embedding.to_vec();
        for patch in patches.chunks_exact(inner) {
            x.extend(
                self.params
                    .conv1
                    .chunks_exact(inner)
                    .map(|filter| dot(filter, patch)),
            );
        }
        add(&mut x, positions);
        x
    }
}

impl<T: Real> ImageTower<T> for ReferenceVision<T> {
    fn embed_dim(&self) -> usize {
        self.embed_dim
    }

    fn image_size(&self) -> usize {
        self.config.image_size
    }

    fn encode(&self, images: ImageBatch<'_, T>) -> Result<FeatureMatrix<T>, ModelError> {
        Ok(self.encode_local(images)?.into_parts().0)
    }

    fn has_local_features(&self) -> bool {
        true
    }

    fn encode_local(&self, images: ImageBatch<'_, T>) -> Result<LocalFeatures<T>, ModelError> {
        let grid = patch_grid(&images, &self.config)?;
        let positions =
            positional_embedding_for(&self.params.positional_embedding, &self.config, grid);
        let width = self.config.width;
        let mut values = Vec::with_capacity(images.len() * (1 + grid.len()) * self.embed_dim);
        for image in images.pixels().chunks_exact(images.image_len()) {
            let x = self.embed(
                &self.patches(image, images.height(), images.width()),
                &positions,
            );
            let mut x = layer_norm(&x, &self.params.ln_pre, width);
            let patches = match self.params.blocks.split_last() {
                None => x[width..].to_vec(),
                Some((last, others)) => {
                    run_blocks(&mut x, others, self.shape());
                    let patches = block_of_values(&x[width..], last, self.shape());
                    block(&mut x, last, self.shape());
                    patches
                }
            };
            for rows in [&x[..width], &patches] {
                let rows = layer_norm(rows, &self.params.ln_post, width);
                values.extend(project(&rows, &self.params.proj, width));
            }
        }
        Ok(LocalFeatures::from_rows(&values, self.embed_dim, grid))
    }
}

/// Tape of a forward pass of a [`ReferenceVision`]: only its inputs, from which the backward pass
/// recomputes everything.
#[derive(Debug, Clone)]
pub struct ReferenceVisionTape<T> {
    /// Patches of each image, `[patches, 3·patch²]`.
    patches: Vec<Vec<T>>,
    /// Grid of patches: rows and columns.
    grid: PatchGrid,
}

impl<T: Real> TrainableImageTower<T> for ReferenceVision<T> {
    type Tape = ReferenceVisionTape<T>;

    fn forward(
        &self,
        images: ImageBatch<'_, T>,
    ) -> Result<(FeatureMatrix<T>, ReferenceVisionTape<T>), ModelError> {
        let grid = patch_grid(&images, &self.config)?;
        let each = images.pixels().chunks_exact(images.image_len());
        let patches = each
            .map(|image| self.patches(image, images.height(), images.width()))
            .collect();
        Ok((self.encode(images)?, ReferenceVisionTape { patches, grid }))
    }

    fn backward(
        &self,
        tape: ReferenceVisionTape<T>,
        d_features: &[T],
        gradient: &mut VisionParams<T>,
    ) -> Result<(), ModelError> {
        let ReferenceVisionTape { patches, grid } = tape;
        check_length(
            "the feature gradient",
            d_features.len(),
            patches.len() * self.embed_dim,
        )?;
        self.params.check_gradient(gradient)?;
        let positions =
            positional_embedding_for(&self.params.positional_embedding, &self.config, grid);
        let (width, params) = (self.config.width, &self.params);
        for (patches, d) in patches.iter().zip(d_features.chunks_exact(self.embed_dim)) {
            let embedded = self.embed(patches, &positions);
            let trace = trace(
                layer_norm(&embedded, &params.ln_pre, width),
                &params.blocks,
                self.shape(),
            );
            let pooled = &trace[params.blocks.len()][..width];
            let normed = layer_norm(pooled, &params.ln_post, width);
            let d_normed = project_backward(d, &normed, &params.proj, width, &mut gradient.proj);
            let mut d =
                layer_norm_backward(&d_normed, pooled, &params.ln_post, &mut gradient.ln_post);
            d.resize(embedded.len(), T::zero());
            let d = run_blocks_backward(
                d,
                &trace,
                &params.blocks,
                self.shape(),
                &mut gradient.blocks,
            );
            let d = layer_norm_backward(&d, &embedded, &params.ln_pre, &mut gradient.ln_pre);
            add_outer(&mut gradient.conv1, &d[width..], patches, width);
            let (d_class, d_stored) = (
                gradient.class_embedding.make_mut(),
                gradient.positional_embedding.make_mut(),
            );
            add_positional_embedding_gradient(d_class, d_stored, &d, &self.config, grid);
        }
        Ok(())
    }

    fn params(&self) -> &VisionParams<T> {
        &self.params
    }

    fn params_mut(&mut self) -> &mut VisionParams<T> {
        &mut self.params
    }
}
