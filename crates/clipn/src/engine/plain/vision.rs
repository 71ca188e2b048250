use super::block::{BlockShape, add, layer_norm, project, transform};
use crate::engine::vision::{check_images, positions_for};
use crate::model::{
    Activation, Features, ImageTower, Images, ModelConfig, ModelError, Real, VisionConfig, VisionParams,
    Weights,
};

/// The ViT image tower as its definition reads.
#[derive(Debug, Clone)]
pub struct PlainVision<T: Real> {
    config: VisionConfig,
    activation: Activation,
    embed_dim: usize,
    params: VisionParams<T>,
}

impl<T: Real> PlainVision<T> {
    /// The tower of a config with its parameters.
    pub fn new(config: &ModelConfig, params: VisionParams<T>) -> Self {
        Self {
            config: config.vision.clone(),
            activation: config.activation,
            embed_dim: config.embed_dim,
            params,
        }
    }

    /// The tower of loaded weights.
    pub fn from_weights(weights: &Weights) -> Self {
        Self::new(weights.config(), weights.vision())
    }

    /// Patches of one image `[3, H, W]`, each through the embedding: `[patches, width]`.
    fn embed_patches(&self, image: &[T], height: usize, width: usize) -> Vec<T> {
        let p = self.config.patch_size;
        let filters = self.params.conv1.chunks_exact(3 * p * p);
        let mut out = Vec::new();
        for top in (0..height / p).map(|y| y * p) {
            for left in (0..width / p).map(|x| x * p) {
                for filter in filters.clone() {
                    let mut sum = T::zero();
                    for (i, &weight) in filter.iter().enumerate() {
                        let (channel, y, x) = (i / (p * p), i / p % p, i % p);
                        sum = sum + weight * image[(channel * height + top + y) * width + left + x];
                    }
                    out.push(sum);
                }
            }
        }
        out
    }
}

impl<T: Real> ImageTower<T> for PlainVision<T> {
    fn embed_dim(&self) -> usize {
        self.embed_dim
    }

    fn image_size(&self) -> usize {
        self.config.image_size
    }

    fn encode(&self, images: Images<'_, T>) -> Result<Features<T>, ModelError> {
        let grid = check_images(&images, &self.config)?;
        let positions = positions_for(&self.params.positional_embedding, &self.config, grid);
        let width = self.config.width;
        let shape =
            BlockShape { width, heads: self.config.heads, activation: self.activation, causal: false };
        let mut values = Vec::with_capacity(images.len() * self.embed_dim);
        for image in images.pixels().chunks_exact(images.image_len()) {
            let mut x = self.params.class_embedding.to_vec();
            x.extend(self.embed_patches(image, images.height(), images.width()));
            add(&mut x, &positions);
            let mut x = layer_norm(&x, &self.params.ln_pre, width);
            transform(&mut x, &self.params.blocks, shape);
            let pooled = layer_norm(&x[..width], &self.params.ln_post, width);
            values.extend(project(&pooled, &self.params.proj, width));
        }
        Ok(Features::new(values, self.embed_dim))
    }
}
