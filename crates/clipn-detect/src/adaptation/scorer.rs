use clipn_engine::PackedRows;
use clipn_model::FeatureMatrix;
use clipn_ood::streams::{
    AdaNeg, AdaNegSettings, StreamError, StreamScore, StreamTensor, Tanl, TanlSettings,
};
use sha2::{Digest, Sha256};

use crate::adaptation::products::EngineProducts;
use crate::adaptation::{AdaptationError, AdaptiveMethod};
use crate::classifier::Classifier;
use crate::negatives::Negatives;

/// A score that learns from the images that it gets, in batches.
///
/// ```
/// use clipn_detect::adaptation::AdaptiveScorer;
/// use clipn_detect::classifier::Classifier;
/// use clipn_detect::negatives::choice::Grouping;
/// use clipn_detect::negatives::{Negatives, NegativesOrigin, TemplateJoin};
/// use clipn_ood::streams::AdaNegSettings;
///
/// let names = ["cat", "dog"].map(String::from).into();
/// let words = vec!["teapot".to_owned()];
/// let origin = NegativesOrigin::user_list(vec![], TemplateJoin::default(), Grouping::default());
/// let negatives = Negatives::new(words, &[-1.0, 0.0], vec![1], origin)?;
/// let classifier = Classifier::new(names, vec![1.0, 0.0, 0.0, 1.0], None)?
///     .with_negatives(negatives)?;
/// let mut scorer = AdaptiveScorer::adaneg(&classifier, AdaNegSettings::default())?;
/// let scores = scorer.batch(&[0.8, 0.6, -0.6, -0.8])?;
/// assert!(scores[0].score >= scorer.threshold());
/// assert!(scores[1].score < scorer.threshold());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AdaptiveScorer {
    stream: Stream,
    dim: usize,
    /// Number of images since the last reset, in all runs.
    images: u64,
    /// Identifies the texts and the settings.
    identity: String,
}

#[derive(Debug)]
enum Stream {
    AdaNeg(Box<AdaNeg>),
    Tanl(Box<TanlStream>),
}

/// TANL with what its logits are computed from.
struct TanlStream {
    stream: Tanl<f32>,
    /// Classes, then words.
    texts: PackedRows<f32>,
    scale: f64,
    start: TanlStart,
}

/// What TANL begins with.
struct TanlStart {
    /// Rows of the classes, and features of the images of noise.
    classes: Vec<f32>,
    noise: Vec<f32>,
    words: usize,
    settings: TanlSettings,
}

impl std::fmt::Debug for TanlStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TanlStream")
            .field("texts", &self.texts.len())
            .field("settings", &self.start.settings)
            .finish_non_exhaustive()
    }
}

impl AdaptiveScorer {
    /// Creates an AdaNeg over the classes and the negatives of a classifier.
    ///
    /// # Errors
    /// [`AdaptationError::NoNegatives`], and [`AdaptationError::Stream`] for settings out of range.
    pub fn adaneg(
        classifier: &Classifier,
        settings: AdaNegSettings,
    ) -> Result<Self, AdaptationError> {
        let method = AdaptiveMethod::AdaNeg;
        let Some(negatives) = classifier.negatives() else {
            return Err(AdaptationError::NoNegatives { method });
        };
        let rows = [classifier.yes_weights(), negatives.rows()].concat();
        let texts: Vec<f64> = rows.iter().map(|value| f64::from(*value)).collect();
        let (dim, scale) = (classifier.dim(), classifier.scale());
        let ends = negatives.group_ends();
        let stream = AdaNeg::new(&texts, classifier.len(), ends, scale, dim, settings)?;
        let described = format!("{settings:?} {scale} {} {ends:?}", classifier.len());
        Ok(Self {
            stream: Stream::AdaNeg(Box::new(stream)),
            dim,
            images: 0,
            identity: identity(method, &described, &[&rows]),
        })
    }

    /// Creates a TANL over the classes of a classifier and a list of words, whose groups do not matter.
    /// `noise` are the features of [`noise_images`](crate::adaptation::noise_images), `[15, D]`.
    ///
    /// # Errors
    /// [`AdaptationError::Dimension`] for words or noise of another model, and
    /// [`AdaptationError::Stream`] for settings out of range.
    pub fn tanl(
        classifier: &Classifier,
        words: &Negatives,
        noise: &FeatureMatrix<f32>,
        settings: TanlSettings,
    ) -> Result<Self, AdaptationError> {
        let dim = classifier.dim();
        let given = [("words", words.dim()), ("features of noise", noise.dim())];
        if let Some((what, found)) = given.into_iter().find(|(_, found)| *found != dim) {
            return Err(AdaptationError::Dimension {
                what,
                expected: dim,
                found,
            });
        }
        let start = TanlStart {
            classes: classifier.yes_weights().to_vec(),
            noise: noise.values().to_vec(),
            words: words.len(),
            settings,
        };
        let rows = [classifier.yes_weights(), words.rows()].concat();
        let scale = classifier.scale();
        let described = format!("{settings:?} {scale} {}", classifier.len());
        let identity = identity(AdaptiveMethod::Tanl, &described, &[&rows, &start.noise]);
        let texts = PackedRows::new(&rows, dim)?;
        let stream = TanlStream {
            stream: start.begin(&texts, scale)?,
            texts,
            scale,
            start,
        };
        Ok(Self {
            stream: Stream::Tanl(Box::new(stream)),
            dim,
            images: 0,
            identity,
        })
    }

    /// Returns the method.
    pub fn method(&self) -> AdaptiveMethod {
        match self.stream {
            Stream::AdaNeg(_) => AdaptiveMethod::AdaNeg,
            Stream::Tanl(_) => AdaptiveMethod::Tanl,
        }
    }

    /// Scores a batch of features `[N, D]` of length 1, in their order, after the batch has entered the
    /// memory.
    ///
    /// # Errors
    /// [`AdaptationError::Stream`] for features that are not finite or not whole rows; nothing is
    /// remembered then.
    pub fn batch(&mut self, features: &[f32]) -> Result<Vec<StreamScore>, AdaptationError> {
        let scores = match &mut self.stream {
            Stream::AdaNeg(stream) => {
                let features: Vec<f64> = features.iter().map(|value| f64::from(*value)).collect();
                stream.batch_with(&features, &EngineProducts)?
            }
            Stream::Tanl(tanl) => {
                if !features.len().is_multiple_of(self.dim) {
                    return Err(AdaptationError::Stream(StreamError::Length {
                        what: "image features",
                        expected: self.dim,
                        got: features.len(),
                    }));
                }
                let logits = tanl.texts.product(features, tanl.scale)?;
                tanl.stream.batch(&logits)?
            }
        };
        self.images += scores.len() as u64;
        Ok(scores)
    }

    /// Returns the threshold of the last batch, from which on an image is known: AdaNeg's is fixed in the
    /// middle of its range, TANL's is chosen from the last scores (0.5 before the first batch).
    pub fn threshold(&self) -> f64 {
        match &self.stream {
            Stream::AdaNeg(stream) => stream.middle(),
            Stream::Tanl(tanl) => tanl.stream.threshold().unwrap_or(0.5),
        }
    }

    /// Returns the number of images that were scored since the last reset, with those before a
    /// [restart](Self::load).
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Returns the number of images whose features or activations are in the memory.
    pub fn remembered(&self) -> usize {
        match &self.stream {
            Stream::AdaNeg(stream) => stream.images(),
            Stream::Tanl(tanl) => tanl.stream.queue_lengths().into_iter().sum(),
        }
    }

    /// Returns the number of bytes that the memory has at most, without the texts.
    pub fn max_bytes(&self) -> usize {
        match &self.stream {
            Stream::AdaNeg(stream) => stream.max_bytes(),
            Stream::Tanl(tanl) => tanl.stream.max_bytes(),
        }
    }

    /// Forgets all images.
    ///
    /// # Errors
    /// None for a scorer that was created without one.
    pub fn reset(&mut self) -> Result<(), AdaptationError> {
        match &mut self.stream {
            Stream::AdaNeg(stream) => stream.reset(),
            Stream::Tanl(tanl) => tanl.stream = tanl.start.begin(&tanl.texts, tanl.scale)?,
        }
        self.images = 0;
        Ok(())
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    pub(super) fn state(&self) -> Vec<StreamTensor> {
        match &self.stream {
            Stream::AdaNeg(stream) => stream.state(),
            Stream::Tanl(tanl) => tanl.stream.state(),
        }
    }

    pub(super) fn restore(
        &mut self,
        state: &[StreamTensor],
        images: u64,
    ) -> Result<(), StreamError> {
        match &mut self.stream {
            Stream::AdaNeg(stream) => stream.restore(state)?,
            Stream::Tanl(tanl) => tanl.stream.restore(state)?,
        }
        self.images = images;
        Ok(())
    }
}

impl TanlStart {
    fn begin(&self, texts: &PackedRows<f32>, scale: f64) -> Result<Tanl<f32>, AdaptationError> {
        let of_classes = texts.product(&self.classes, scale)?;
        let of_noise = texts.product(&self.noise, scale)?;
        let classes = self.classes.len() / texts.dim();
        let stream = Tanl::new(&of_classes, &of_noise, classes, self.words, self.settings)?;
        Ok(stream)
    }
}

/// Hash of what a memory belongs to.
fn identity(method: AdaptiveMethod, settings: &str, rows: &[&[f32]]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{method} {settings}\n"));
    for row in rows {
        row.iter()
            .for_each(|value| hash.update(value.to_le_bytes()));
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
