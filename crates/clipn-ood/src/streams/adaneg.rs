use super::{StreamError, StreamScore, check_fraction, check_rows};
use crate::scores::{LogitsRow, NegLabel, NegativeLogits, Score, argmax, logsumexp};

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
        let rows = check_rows(texts, dim, "text features")?;
        if classes == 0 {
            return Err(StreamError::Empty {
                what: "the classes",
            });
        }
        let words = rows.saturating_sub(classes);
        let ends: Vec<f64> = vec![0.0; words];
        if words == 0 || !NegativeLogits::new(&ends, group_ends).has_valid_groups() {
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

    /// Scores a batch of features `[N, D]` of length 1, in their order. The batch enters the memory
    /// first.
    ///
    /// # Errors
    /// [`StreamError::Length`] and [`StreamError::NotFinite`]; nothing is remembered then.
    pub fn batch(&mut self, features: &[f64]) -> Result<Vec<StreamScore>, StreamError> {
        check_rows(features, self.dim, "image features")?;
        let images: Vec<&[f64]> = features.chunks_exact(self.dim).collect();
        let logits: Vec<Vec<f64>> = images
            .iter()
            .map(|image| self.products(image, &self.texts))
            .collect();
        let fixed: Vec<f64> = logits.iter().map(|row| self.neglabel(row)).collect();
        for ((image, logits), score) in images.iter().zip(&logits).zip(&fixed) {
            self.remember(image, logits, *score);
        }
        let proxies = match self.settings.proxies {
            AdaNegProxies::Mean => self.mean_proxies(),
            AdaNegProxies::SampleAdaptive { .. } => Vec::new(),
        };
        let each = images.iter().zip(&logits).zip(fixed);
        let score = |((image, logits), fixed): ((&&[f64], &Vec<f64>), f64)| {
            let adapted = match self.settings.proxies {
                AdaNegProxies::Mean => self.products(image, &proxies),
                AdaNegProxies::SampleAdaptive { beta } => self.adaptive_products(image, beta),
            };
            let adaptive = self.neglabel(&adapted);
            let weight = self.settings.static_weight;
            let score = if self.settings.is_combined {
                adaptive + weight * fixed
            } else {
                adaptive
            };
            StreamScore {
                score,
                fixed,
                class: self.predict(logits, &adapted),
            }
        };
        Ok(each.map(score).collect())
    }

    /// Logits of an image with rows `[K + M, D]`.
    fn products(&self, image: &[f64], rows: &[f64]) -> Vec<f64> {
        let rows = rows.chunks_exact(self.dim);
        rows.map(|row| self.scale * dot(image, row)).collect()
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

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn normalize(row: &mut [f64]) {
    let length = dot(row, row).sqrt();
    row.iter_mut().for_each(|value| *value /= length);
}
