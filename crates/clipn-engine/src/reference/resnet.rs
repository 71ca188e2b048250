use clipn_model::{
    AttentionPoolParams, BatchNormParams, BottleneckParams, ConvParams, FeatureMatrix, ImageBatch,
    ImageTower, LocalFeatures, ModelConfig, ModelError, ModelWeights, Real, ResNetParams,
    VisionConfig, positional_embedding_for,
};

use super::block::{add, dot, linear, softmax};
use crate::vision::resnet::last_grid;

/// Added to the variance in every batch norm.
const BATCH_NORM_EPS: f64 = 1e-5;

/// CLIP's ResNet image tower, straight from its definition (open_clip's `ModifiedResNet`).
#[derive(Debug, Clone)]
pub struct ReferenceResNet<T: Real> {
    config: VisionConfig,
    embed_dim: usize,
    params: ResNetParams<T>,
}

/// Feature map of one image, `[channels, height, width]`.
#[derive(Debug, Clone)]
struct Map<T> {
    values: Vec<T>,
    channels: usize,
    height: usize,
    width: usize,
}

impl<T: Real> ReferenceResNet<T> {
    /// Creates a tower from a config and its parameters.
    pub fn new(config: &ModelConfig, params: ResNetParams<T>) -> Self {
        Self {
            config: config.vision.clone(),
            embed_dim: config.embed_dim,
            params,
        }
    }

    /// Creates the tower of loaded weights.
    ///
    /// # Errors
    ///
    /// Returns an error if the image tower of the weights is a ViT.
    pub fn from_weights(weights: &ModelWeights) -> Result<Self, ModelError> {
        Ok(Self::new(weights.config(), weights.resnet_params()?))
    }

    fn last_map(&self, image: &Map<T>) -> Map<T> {
        let [conv1, conv2, conv3] = &self.params.stem;
        let x = image.convolve(conv1, 2).relu();
        let x = x.convolve(conv2, 1).relu();
        let mut x = x.convolve(conv3, 1).relu().average_pool();
        for (stage, blocks) in self.params.stages.iter().enumerate() {
            for (index, params) in blocks.iter().enumerate() {
                x = bottleneck(x, params, stage > 0 && index == 0);
            }
        }
        x
    }
}

impl<T: Real> ImageTower<T> for ReferenceResNet<T> {
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
        let grid = last_grid(&images)?;
        let pool = &self.params.attnpool;
        let positions = positional_embedding_for(&pool.positional_embedding, &self.config, grid);
        let mut values = Vec::with_capacity(images.len() * (1 + grid.len()) * self.embed_dim);
        for image in images.pixels().chunks_exact(images.image_len()) {
            let (height, width) = (images.height(), images.width());
            let map = self.last_map(&Map {
                values: image.to_vec(),
                channels: 3,
                height,
                width,
            });
            values.extend(attend(&map, pool, &positions, self.config.heads));
            let area = grid.len();
            for position in 0..area {
                let channels = map.values[position..].iter().step_by(area);
                let channels: Vec<T> = channels.copied().collect();
                let value = linear(&channels, &pool.v_proj, map.channels);
                values.extend(linear(&value, &pool.c_proj, map.channels));
            }
        }
        Ok(LocalFeatures::from_rows(&values, self.embed_dim, grid))
    }
}

impl<T: Real> Map<T> {
    fn at(&self, channel: usize, y: usize, x: usize) -> T {
        self.values[(channel * self.height + y) * self.width + x]
    }

    /// Creates a map from a function of channel, row and column.
    fn from_fn(
        channels: usize,
        height: usize,
        width: usize,
        value: impl Fn(usize, usize, usize) -> T,
    ) -> Self {
        let mut values = Vec::with_capacity(channels * height * width);
        for channel in 0..channels {
            for y in 0..height {
                values.extend((0..width).map(|x| value(channel, y, x)));
            }
        }
        Self {
            values,
            channels,
            height,
            width,
        }
    }

    /// Computes a convolution with padding kernel / 2, followed by its batch norm.
    fn convolve(&self, params: &ConvParams<T>, stride: usize) -> Self {
        let &ConvParams {
            in_channels: inner,
            kernel_size: kernel,
            ref weight,
            batch_norm: ref norm,
            ..
        } = params;
        let padding = kernel / 2;
        let sum = |out: usize, row: usize, column: usize| {
            let mut sum = T::zero();
            for channel in 0..inner {
                for dy in 0..kernel {
                    for dx in 0..kernel {
                        let (y, x) = (row * stride + dy, column * stride + dx);
                        let inside = (padding..self.height + padding).contains(&y)
                            && (padding..self.width + padding).contains(&x);
                        if inside {
                            let w = weight[((out * inner + channel) * kernel + dy) * kernel + dx];
                            sum = sum + w * self.at(channel, y - padding, x - padding);
                        }
                    }
                }
            }
            batch_norm(sum, norm, out)
        };
        Self::from_fn(
            params.out_channels,
            self.height.div_ceil(stride),
            self.width.div_ceil(stride),
            sum,
        )
    }

    fn relu(mut self) -> Self {
        for value in &mut self.values {
            // Propagate NaN.
            if *value < T::zero() {
                *value = T::zero();
            }
        }
        self
    }

    /// Computes the 2×2 average pooling.
    fn average_pool(&self) -> Self {
        let mean = |c: usize, y: usize, x: usize| {
            let sum = self.at(c, 2 * y, 2 * x)
                + self.at(c, 2 * y, 2 * x + 1)
                + self.at(c, 2 * y + 1, 2 * x)
                + self.at(c, 2 * y + 1, 2 * x + 1);
            sum / T::from_f64(4.0)
        };
        Self::from_fn(self.channels, self.height / 2, self.width / 2, mean)
    }
}

/// Applies a batch norm to one value, with the running statistics.
fn batch_norm<T: Real>(x: T, norm: &BatchNormParams<T>, channel: usize) -> T {
    let deviation = (norm.running_var[channel] + T::from_f64(BATCH_NORM_EPS)).sqrt();
    (x - norm.running_mean[channel]) / deviation * norm.weight[channel] + norm.bias[channel]
}

/// Runs a bottleneck block. If `halves`, it average-pools by 2.
fn bottleneck<T: Real>(x: Map<T>, params: &BottleneckParams<T>, halves: bool) -> Map<T> {
    let mut y = x
        .convolve(&params.conv1, 1)
        .relu()
        .convolve(&params.conv2, 1)
        .relu();
    if halves {
        y = y.average_pool();
    }
    y = y.convolve(&params.conv3, 1);
    let shortcut = match &params.downsample {
        Some(conv) if halves => x.average_pool().convolve(conv, 1),
        Some(conv) => x.convolve(conv, 1),
        None => x,
    };
    add(&mut y.values, &shortcut.values);
    y.relu()
}

/// Computes attention pooling: the attention of the mean position, which precedes all other
/// positions, through `c_proj`.
fn attend<T: Real>(
    map: &Map<T>,
    params: &AttentionPoolParams<T>,
    positions: &[T],
    heads: usize,
) -> Vec<T> {
    let (width, area) = (map.channels, map.height * map.width);
    let channel = |c: usize| &map.values[c * area..][..area];
    let mut tokens: Vec<T> = (0..width)
        .map(|c| channel(c).iter().copied().sum::<T>() / T::from_f64(area as f64))
        .collect();
    for position in 0..area {
        tokens.extend((0..width).map(|c| channel(c)[position]));
    }
    add(&mut tokens, positions);

    let query = linear(&tokens[..width], &params.q_proj, width);
    let keys = linear(&tokens, &params.k_proj, width);
    let values = linear(&tokens, &params.v_proj, width);
    let head_width = width / heads;
    let scale = T::from_f64(head_width as f64).sqrt().recip();
    let mut attended = Vec::with_capacity(width);
    for first in (0..width).step_by(head_width) {
        let head_slice =
            |rows: &'_ [T], row: usize| rows[row * width + first..][..head_width].to_vec();
        let logits: Vec<T> = (0..=area)
            .map(|row| dot(&head_slice(&query, 0), &head_slice(&keys, row)) * scale)
            .collect();
        let mut output = vec![T::zero(); head_width];
        for (row, weight) in softmax(&logits).into_iter().enumerate() {
            let weighted: Vec<T> = head_slice(&values, row)
                .into_iter()
                .map(|v| v * weight)
                .collect();
            add(&mut output, &weighted);
        }
        attended.extend(output);
    }
    linear(&attended, &params.c_proj, width)
}
