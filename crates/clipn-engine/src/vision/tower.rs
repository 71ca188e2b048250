use std::borrow::Cow;
use std::ops::Range;

use crate::block::{BlockPanels, Originals, Scratch, Sequence, Transformer, lay_out_blocks};
use crate::chunks::{SCRATCH, map_chunks};
use crate::head::Head;
use crate::kernels::{Matrix, MatrixMut, add_bias, layer_norm, product};
use clipn_model::{
    Activation, Corners, Features, ImageTower, Images, ModelConfig, ModelError, Real, VisionConfig,
    VisionParams, Weights, resize_positions,
};

/// Positions that a chunk of images aims at: 16 images of ViT-B-32, 4 of ViT-B-16.
pub(super) const CHUNK_POSITIONS: usize = 800;

/// The ViT image tower in f32.
#[derive(Debug, Clone)]
pub struct VisionTower {
    pub(super) config: VisionConfig,
    activation: Activation,
    pub(super) embed_dim: usize,
    pub(super) params: VisionParams<f32>,
    /// The blocks' weights as [`VisionTower::laid_out`] leaves them.
    pub(super) panels: Option<Vec<BlockPanels>>,
}

impl VisionTower {
    /// The tower of a config with its parameters.
    pub fn new(config: &ModelConfig, params: VisionParams<f32>) -> Self {
        Self {
            config: config.vision.clone(),
            activation: config.activation,
            embed_dim: config.embed_dim,
            params,
            panels: None,
        }
    }

    /// The tower of loaded weights.
    pub fn from_weights(weights: &Weights) -> Self {
        Self::new(weights.config(), weights.vision())
    }

    /// The same tower with its weights laid out for products once instead of each time: faster for one that stays as
    /// it is. Writing to the parameters undoes it.
    #[must_use]
    pub fn laid_out(mut self) -> Self {
        self.panels = Some(lay_out_blocks(&mut self.params.blocks, Originals::Keep));
        self
    }

    pub(super) fn transformer(&self) -> Transformer<'_> {
        Transformer {
            blocks: &self.params.blocks,
            panels: self.panels.as_deref(),
            width: self.config.width,
            heads: self.config.heads,
            activation: self.activation,
            causal: false,
        }
    }

    pub(super) fn head(&self) -> Head<'_> {
        Head {
            norm: &self.params.ln_post,
            projection: &self.params.proj,
            dim: self.embed_dim,
        }
    }

    /// Patches `[images · patches, 3·patch²]` through the embedding, with class token and positions, before the first
    /// norm: `[images · (1 + patches), width]`.
    pub(super) fn embed(&self, patches: &[f32], positions: &[f32], threads: usize) -> Vec<f32> {
        let width = self.config.width;
        let inner = self.params.conv1.len() / width;
        let per_image = positions.len() / width;
        let mut embedded = vec![0.0; patches.len() / inner * width];
        let weight = Matrix::packed(&self.params.conv1, inner).transposed();
        product(
            MatrixMut::packed(&mut embedded, width),
            Matrix::packed(patches, inner),
            weight,
            1.0,
            false,
            threads,
        );
        let images = embedded.chunks_exact((per_image - 1) * width);
        let mut x = Vec::with_capacity(images.len() * positions.len());
        for image in images {
            let start = x.len();
            x.extend_from_slice(&self.params.class_embedding);
            x.extend_from_slice(image);
            add_bias(&mut x[start..], positions);
        }
        x
    }

    /// The first norm: what the blocks start from.
    pub(super) fn first_norm(&self, x: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; x.len()];
        layer_norm(&mut normed, x, &self.params.ln_pre);
        normed
    }

    /// Where the images lie in the rows of a chunk.
    pub(super) fn sequences(&self, images: usize, positions: &[f32]) -> Vec<Sequence> {
        let length = positions.len() / self.config.width;
        let sequence = |start| Sequence {
            start,
            length,
            before: Vec::new(),
            pooled: start,
        };
        (0..images).map(|i| sequence(i * length)).collect()
    }
}

impl ImageTower<f32> for VisionTower {
    fn embed_dim(&self) -> usize {
        self.embed_dim
    }

    fn image_size(&self) -> usize {
        self.config.image_size
    }

    fn encode(&self, images: Images<'_, f32>) -> Result<Features<f32>, ModelError> {
        let grid = check_images(&images, &self.config)?;
        let positions = positions_for(&self.params.positional_embedding, &self.config, grid);
        let lengths = vec![positions.len() / self.config.width; images.len()];
        let mut values = vec![0.0; images.len() * self.embed_dim];
        let encode =
            |scratch: &mut Scratch, range: Range<usize>, out: &mut [f32], threads: usize| {
                let patches = unfold(&images, range.clone(), self.config.patch_size);
                let mut x = self.first_norm(&self.embed(&patches, &positions, threads));
                let sequences = self.sequences(range.len(), &positions);
                let pooled = self.transformer().run(&mut x, &sequences, scratch, threads);
                self.head().project(out, &pooled, threads);
            };
        map_chunks(
            &lengths,
            CHUNK_POSITIONS,
            self.embed_dim,
            &mut values,
            &SCRATCH,
            encode,
        );
        Ok(Features::new(values, self.embed_dim))
    }
}

/// A [`VisionTower`] for inference alone: its weights are laid out for products, and only so in memory.
#[derive(Debug, Clone)]
pub struct VisionEncoder {
    tower: VisionTower,
}

impl VisionEncoder {
    /// The encoder of a config with its parameters.
    pub fn new(config: &ModelConfig, params: VisionParams<f32>) -> Self {
        let mut tower = VisionTower::new(config, params);
        tower.panels = Some(lay_out_blocks(&mut tower.params.blocks, Originals::Drop));
        Self { tower }
    }

    /// The encoder of loaded weights.
    pub fn from_weights(weights: &Weights) -> Self {
        Self::new(weights.config(), weights.vision())
    }
}

impl ImageTower<f32> for VisionEncoder {
    fn embed_dim(&self) -> usize {
        self.tower.embed_dim()
    }

    fn image_size(&self) -> usize {
        self.tower.image_size()
    }

    fn encode(&self, images: Images<'_, f32>) -> Result<Features<f32>, ModelError> {
        self.tower.encode(images)
    }
}

/// The grid of patches (rows, columns) of a batch; pixels beyond the last whole patch are not looked at.
pub(crate) fn check_images<T>(
    images: &Images<'_, T>,
    config: &VisionConfig,
) -> Result<(usize, usize), ModelError> {
    let patch = config.patch_size;
    match (images.height() / patch, images.width() / patch) {
        (0, _) | (_, 0) => Err(ModelError::Input(format!(
            "images of {}×{} pixels are smaller than one {patch}×{patch} patch of the model",
            images.height(),
            images.width()
        ))),
        grid => Ok(grid),
    }
}

/// Positional embeddings of a grid, of a ViT's patches or of a ResNet's last map: the weights' own, or interpolated.
pub(crate) fn positions_for<'a, T: Real>(
    stored: &'a [T],
    config: &VisionConfig,
    grid: (usize, usize),
) -> Cow<'a, [T]> {
    let own = config.grid();
    if grid == (own, own) {
        Cow::Borrowed(stored)
    } else {
        let width = stored.len() / (1 + own * own);
        Cow::Owned(resize_positions(
            stored,
            width,
            own,
            grid,
            Corners::HalfPixel,
        ))
    }
}

/// Patches of some of the images as rows, `[images · patches, 3·patch²]`, in the order of the convolution's weights.
pub(super) fn unfold(images: &Images<'_, f32>, which: Range<usize>, patch: usize) -> Vec<f32> {
    let (height, width) = (images.height(), images.width());
    let pixels = &images.pixels()[which.start * images.image_len()..which.end * images.image_len()];
    let (rows, columns) = (height / patch, width / patch);
    let mut out = Vec::with_capacity(pixels.len());
    for image in pixels.chunks_exact(images.image_len()) {
        for row in 0..rows {
            for column in 0..columns {
                for channel in 0..3 {
                    for y in 0..patch {
                        let first = (channel * height + row * patch + y) * width + column * patch;
                        out.extend_from_slice(&image[first..first + patch]);
                    }
                }
            }
        }
    }
    out
}
