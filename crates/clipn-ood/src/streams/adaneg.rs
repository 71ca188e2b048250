use super::products::dot;
use super::state::StoredState;
use super::{
    PlainProducts, RowProducts, StreamError, StreamScore, StreamTensor, check_fraction, check_rows,
};
use crate::scores::{LogitsRow, NegLabel, NegativeLogits, Score, argmax, logsumexp};

/// Names of the parts of the state.
const COUNTS: &str = "adaneg.counts";
const FEATURES: &str = "adaneg.features";
const ENTROPIES: &str = "adaneg.entropies";

/// Settings of [`AdaNeg`]; the defaults are those of the paper.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct AdaNegSettings {
    /// Slots per text L: the text itself and L − 1 images, at least 1.
    pub memory: usize,
    /// NegLabel score γ that separates known from unknown images, from 0 to 1.
    pub threshold: f64,
    /// Part g of the range on either side of γ whose images enter no memory, from 0 to 1.
    pub gap: f64,
    /// Weight λ of the static score.
    pub static_weight: f64,
    /// Whether the static score is added to the adaptive one.
    pub is_combined: bool,
    /// How the slots of a text are joined.
    pub proxies: AdaNegProxies,
}

/// How [`AdaNeg`] joins the slots of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum AdaNegProxies {
    /// Their mean, the same for every image.
    Mean,
    /// A mean weighted by `exp(-beta (1 - v·slot))` for the image v, at a cost of L products per text.
    SampleAdaptive {
        /// β, 5.5 in the paper; the published code truncates it to 5.
        beta: f64,
    },
}

impl Default for AdaNegSettings {
    fn default() -> Self {
        Self {
            memory: 10,
            threshold: 0.5,
            gap: 0.5,
            static_weight: 0.1,
            is_combined: true,
            proxies: AdaNegProxies::Mean,
        }
    }
}

/// AdaNeg: NegLabel with texts that a memory of confident images adapts (Zhang and Zhang, 2024,
/// <https://arxiv.org/abs/2410.20149>).
///
/// For each batch, images with a NegLabel score far above the threshold enter the memory of their class,
/// and those far below it that of their negative; where it is full, the image with the highest entropy is
/// replaced. Then all images of the batch are scored with the adapted texts. The memory has at most
/// `(K + M) L` rows.
///
/// ```
/// use clipn_ood::streams::{AdaNeg, AdaNegSettings};
///
/// // Two classes and a negative.
/// let texts = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
/// let mut stream = AdaNeg::new(&texts, 2, &[1], 100.0, 2, AdaNegSettings::default())?;
/// let scores = stream.batch(&[0.8, 0.6, -0.6, -0.8])?;
/// assert_eq!(scores[0].class, 0);
/// assert!(scores[0].score > scores[1].score);
/// assert_eq!(stream.images(), 2);
/// # Ok::<(), clipn_ood::streams::StreamError>(())
/// ```
#[derive(Debug, Clone)]
pub struct AdaNeg {
    settings: AdaNegSettings,
    classes: usize,
    dim: usize,
    group_ends: Vec<usize>,
    /// Factor from cosines to logits.
    scale: f64,
    /// Classes, then negatives, `[K + M, D]`.
    texts: Vec<f64>,
    /// Images of each text.
    memory: Vec<Vec<StoredImage>>,
}

/// An image in the memory of a text.
#[derive(Debug, Clone, PartialEq)]
struct StoredImage {
    feature: Vec<f32>,
    entropy: f64,
}

impl AdaNeg {
    /// Creates a stream without images from the features of K classes and M negatives, `[K + M, D]`, of
    /// length 1, the ends of the groups of the negatives, and the factor from cosines to logits.
    ///
    /// # Errors
    /// [`StreamError`] for shapes that do not match, values that are not finite, and settings out of
    /// range.
    pub fn new(
        texts: &[f64],
        classes: usize,
        group_ends: &[usize],
        scale: f64,
        dim: usize,
        settings: AdaNegSettings,
    ) -> Result<Self, StreamError> {
        check_fraction("threshold", settings.threshold)?;
        check_fraction("gap", settings.gap)?;
        let beta = match settings.proxies {
            AdaNegProxies::SampleAdaptive { beta } => beta,
            _ => 0.0,
        };
        for (key, value) in [
            ("scale", scale),
            ("static_weight", settings.static_weight),
            ("beta", beta),
        ] {
            if !value.is_finite() {
                return Err(StreamError::Setting {
                    key,
                    expected: "a finite number",
                    got: value,
                });
            }
        }
        let rows = check_rows(texts, dim, "text features")?;
        if classes == 0 {
            return Err(StreamError::Empty {
                what: "the classes",
            });
        }
        let words = rows.saturating_sub(classes);
        let negatives = vec![(); words];
        if words == 0 || !NegativeLogits::new(&negatives, group_ends).has_valid_groups() {
            return Err(StreamError::Groups { words });
        }
        if settings.memory == 0 {
            return Err(StreamError::Setting {
                key: "memory",
                expected: "at least 1",
                got: 0.0,
            });
        }
        Ok(Self {
            settings,
            classes,
            dim,
            group_ends: group_ends.to_vec(),
            scale,
            texts: texts.to_vec(),
            memory: vec![Vec::new(); rows],
        })
    }

    /// Number of images in the memory.
    pub fn images(&self) -> usize {
        self.memory.iter().map(Vec::len).sum()
    }

    /// Number of images in the memory of each text, classes first, `[K + M]`.
    pub fn images_per_text(&self) -> Vec<usize> {
        self.memory.iter().map(Vec::len).collect()
    }

    /// Forgets all images.
    pub fn reset(&mut self) {
        self.memory.iter_mut().for_each(Vec::clear);
    }

    /// The middle of the range of scores, from which on an image is known: the threshold γ, with its part of
    /// the static score.
    pub fn middle(&self) -> f64 {
        let weight = if self.settings.is_combined {
            self.settings.static_weight
        } else {
            0.0
        };
        self.settings.threshold * (1.0 + weight)
    }

    /// Number of bytes of the memory when it is full.
    pub fn max_bytes(&self) -> usize {
        let images = self.memory.len().saturating_mul(self.settings.memory - 1);
        images.saturating_mul(self.dim * size_of::<f32>() + size_of::<f64>())
    }

    /// Returns the memory, for [`restore`](Self::restore).
    pub fn state(&self) -> Vec<StreamTensor> {
        let images = || self.memory.iter().flatten();
        let features = images().flat_map(|image| &image.feature).copied().collect();
        let counts = self.memory.iter().map(|images| images.len() as f64);
        vec![
            StreamTensor::f64(COUNTS, counts.collect()),
            StreamTensor::f32(FEATURES, [self.images(), self.dim], features),
            StreamTensor::f64(ENTROPIES, images().map(|image| image.entropy).collect()),
        ]
    }

    /// Replaces the memory by that of another stream with the same texts and settings.
    ///
    /// # Errors
    /// [`StreamError::State`] if it does not fit; nothing changes then.
    pub fn restore(&mut self, state: &[StreamTensor]) -> Result<(), StreamError> {
        let state = StoredState(state);
        let counts = state.numbers(COUNTS)?;
        let limit = (self.settings.memory - 1) as f64;
        let is_count = |count: &f64| count.fract() == 0.0 && (0.0..=limit).contains(count);
        if counts.len() != self.memory.len() || !counts.iter().all(is_count) {
            return Err(StreamError::State { name: COUNTS });
        }
        let images = counts.iter().sum::<f64>() as usize;
        let features = state.rows(FEATURES, self.dim, images)?;
        let entropies = state.numbers(ENTROPIES)?;
        if [features.len() / self.dim, entropies.len()] != [images; 2] {
            return Err(StreamError::State { name: ENTROPIES });
        }
        let features = features.chunks_exact(self.dim);
        let mut stored = features
            .zip(entropies)
            .map(|(feature, &entropy)| StoredImage {
                feature: feature.to_vec(),
                entropy,
            });
        for (memory, count) in self.memory.iter_mut().zip(counts) {
            *memory = stored.by_ref().take(*count as usize).collect();
        }
        Ok(())
    }

    /// Scores a batch of features `[N, D]` of length 1, in their order. The batch enters the memory
    /// first.
    ///
    /// # Errors
    /// [`StreamError::Length`] and [`StreamError::NotFinite`]; nothing is remembered then.
    pub fn batch(&mut self, features: &[f64]) -> Result<Vec<StreamScore>, StreamError> {
        self.batch_with(features, &PlainProducts)
    }

    /// Same as [`batch`](Self::batch), with products of the caller.
    ///
    /// # Errors
    /// Same as [`batch`](Self::batch).
    pub fn batch_with(
        &mut self,
        features: &[f64],
        products: &dyn RowProducts,
    ) -> Result<Vec<StreamScore>, StreamError> {
        check_rows(features, self.dim, "image features")?;
        let rows = self.memory.len();
        let with = |texts: &[f64]| products.products(features, texts, self.dim, self.scale);
        let logits = with(&self.texts);
        let logits: Vec<&[f64]> = logits.chunks_exact(rows).collect();
        let images: Vec<&[f64]> = features.chunks_exact(self.dim).collect();
        let fixed: Vec<f64> = logits.iter().map(|row| self.neglabel(row)).collect();
        for ((image, logits), score) in images.iter().zip(&logits).zip(&fixed) {
            self.remember(image, logits, *score);
        }
        let adapted: Vec<f64> = match self.settings.proxies {
            AdaNegProxies::Mean => {
                let proxies = self.mean_proxies();
                products.products(features, &proxies, self.dim, self.scale)
            }
            AdaNegProxies::SampleAdaptive { beta } => {
                let row = |image: &&[f64]| self.adaptive_products(image, beta);
                images.iter().flat_map(row).collect()
            }
        };
        let each = logits.iter().zip(adapted.chunks_exact(rows)).zip(fixed);
        let score = |((logits, adapted), fixed): ((&&[f64], &[f64]), f64)| {
            let adaptive = self.neglabel(adapted);
            let weight = self.settings.static_weight;
            let score = if self.settings.is_combined {
                adaptive + weight * fixed
            } else {
                adaptive
            };
            StreamScore {
                score,
                fixed,
                class: self.predict(logits, adapted),
            }
        };
        Ok(each.map(score).collect())
    }

    fn neglabel(&self, logits: &[f64]) -> f64 {
        let (yes, negatives) = logits.split_at(self.classes);
        let negatives = NegativeLogits::new(negatives, &self.group_ends);
        let row = LogitsRow::new(yes, &[]).with_negatives(negatives);
        NegLabel.from_stable(NegLabel.stable(row))
    }

    /// Stores an image whose score is far from the threshold.
    fn remember(&mut self, image: &[f64], logits: &[f64], score: f64) {
        let (threshold, gap) = (self.settings.threshold, self.settings.gap);
        let range = if score > threshold + gap * (1.0 - threshold) {
            0..self.classes
        } else if score < threshold - gap * threshold {
            self.classes..logits.len()
        } else {
            return;
        };
        let own = &logits[range.clone()];
        let total = logsumexp(own.iter().copied());
        let probabilities = own.iter().map(|logit| (logit - total).exp());
        // As in the published code, where 1e-8 keeps the logarithm finite.
        let entropy = -probabilities.map(|p| p * (p + 1e-8).ln()).sum::<f64>();
        let stored = StoredImage {
            feature: image.iter().map(|value| *value as f32).collect(),
            entropy,
        };
        let memory = &mut self.memory[range.start + argmax(own)];
        if memory.len() + 1 < self.settings.memory {
            memory.push(stored);
            return;
        }
        let entropies: Vec<f64> = memory.iter().map(|stored| stored.entropy).collect();
        if let Some(worst) = memory.get_mut(argmax(&entropies))
            && stored.entropy < worst.entropy
        {
            *worst = stored;
        }
    }

    /// Normalized means of the slots, `[K + M, D]`.
    fn mean_proxies(&self) -> Vec<f64> {
        let mut proxies = self.texts.clone();
        for (proxy, memory) in proxies.chunks_exact_mut(self.dim).zip(&self.memory) {
            for stored in memory {
                for (sum, value) in proxy.iter_mut().zip(&stored.feature) {
                    *sum += f64::from(*value);
                }
            }
            normalize(proxy);
        }
        proxies
    }

    /// Logits of an image with proxies that are weighted for it.
    fn adaptive_products(&self, image: &[f64], beta: f64) -> Vec<f64> {
        let texts = self.texts.chunks_exact(self.dim).zip(&self.memory);
        let logit = |(text, memory): (&[f64], &Vec<StoredImage>)| {
            let weight = |slot: &[f64]| (-beta * (1.0 - dot(image, slot))).exp();
            let own = weight(text);
            let mut proxy: Vec<f64> = text.iter().map(|value| own * value).collect();
            for stored in memory {
                let slot: Vec<f64> = stored.feature.iter().map(|v| f64::from(*v)).collect();
                let weight = weight(&slot);
                for (sum, value) in proxy.iter_mut().zip(&slot) {
                    *sum += weight * value;
                }
            }
            normalize(&mut proxy);
            self.scale * dot(image, &proxy)
        };
        texts.map(logit).collect()
    }

    /// The class with the highest probability among all texts, that with the adapted texts included.
    fn predict(&self, logits: &[f64], adapted: &[f64]) -> usize {
        let totals = [logits, adapted].map(|row| logsumexp(row.iter().copied()));
        let weight = self.settings.static_weight;
        let both = logits.iter().zip(adapted).take(self.classes);
        let probabilities: Vec<f64> = both
            .map(|(fixed, adapted)| {
                (fixed - totals[0]).exp() + weight * (adapted - totals[1]).exp()
            })
            .collect();
        argmax(&probabilities)
    }
}

fn normalize(row: &mut [f64]) {
    let length = dot(row, row).sqrt();
    row.iter_mut().for_each(|value| *value /= length);
}
