use std::collections::VecDeque;

use clipn_base::random::{RandomSource, Xoshiro256};
use num_traits::Float;

use super::memory::{RowQueue, mean};
use super::state::StoredState;
use super::{
    StreamError, StreamScore, StreamTensor, check_fraction, check_rows, two_class_threshold,
};
use crate::scores::{argmax, logsumexp};

/// Names of the parts of the state.
const ID: &str = "tanl.id";
const OOD: &str = "tanl.ood";
const HISTORY: &str = "tanl.history";
const THRESHOLD: &str = "tanl.threshold";

/// Settings of [`Tanl`]; the defaults are those of the published run.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct TanlSettings {
    /// Number M of words that are weighed against the classes, at least 1.
    pub words: usize,
    /// Step γ' between the numbers of words that are averaged over; 0 weighs all M words only.
    pub step: usize,
    /// Weight α of the queues against the batch itself, from 0 to 1.
    pub queue_weight: f64,
    /// Part g of the range on either side of the threshold whose images enter no queue, from 0 to 1.
    pub gap: f64,
    /// Number L of images in each queue, at least 1.
    pub queue: usize,
    /// Number of scores that the threshold is chosen from, at least 1.
    pub history: usize,
    /// Seed of the order of the initial rows; `None` leaves them in order.
    pub seed: Option<u64>,
}

impl Default for TanlSettings {
    fn default() -> Self {
        Self {
            words: 1000,
            step: 1,
            queue_weight: 0.0,
            gap: 0.5,
            queue: 300,
            history: 20_000,
            seed: Some(0),
        }
    }
}

/// TANL: NegLabel against those words of a large list that are more active for unknown images than for
/// known ones (CVPR 2026, <https://arxiv.org/abs/2603.25250>).
///
/// The activation of a word is its probability in the softmax over all classes and words. Two queues of
/// activations, of known and of unknown images, begin with the texts of the classes and with images of
/// noise. Each batch is scored, split by a threshold that the scores themselves give, and scored again
/// with the words of the highest difference. Memory: two queues of L rows of N numbers of type `T`.
///
/// ```
/// use clipn_ood::streams::{Tanl, TanlSettings};
///
/// // Logits of one class and two words: of the text of the class, and of an image of noise.
/// let (texts, noise) = ([100.0, 20.0, 10.0], [20.0, 15.0, 24.0]);
/// let settings = TanlSettings::default();
/// let mut stream = Tanl::<f32>::new(&texts, &noise, 1, 2, settings)?;
/// let scores = stream.batch(&[30.0, 20.0, 25.0, 22.0, 20.0, 29.0])?;
/// assert!(scores[0].score > scores[1].score);
/// # Ok::<(), clipn_ood::streams::StreamError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tanl<T = f32> {
    settings: TanlSettings,
    classes: usize,
    words: usize,
    id: RowQueue<T>,
    ood: RowQueue<T>,
    history: VecDeque<f64>,
    threshold: Option<f64>,
    /// Words by falling difference at the start, for the score without memory.
    initial_order: Vec<usize>,
}

impl<T: Float> Tanl<T> {
    /// Creates a stream from the logits of the texts of the K classes, taken as images, `[K, K + N]`, and
    /// of images of noise, `[J, K + N]`, with all classes and all N words.
    ///
    /// # Errors
    /// [`StreamError`] for shapes that do not match, values that are not finite, and settings out of
    /// range.
    pub fn new(
        text_logits: &[T],
        noise_logits: &[T],
        classes: usize,
        words: usize,
        settings: TanlSettings,
    ) -> Result<Self, StreamError> {
        check_fraction("queue_weight", settings.queue_weight)?;
        check_fraction("gap", settings.gap)?;
        for (key, value) in [
            ("words", settings.words),
            ("queue", settings.queue),
            ("history", settings.history),
        ] {
            if value == 0 {
                return Err(StreamError::Setting {
                    key,
                    expected: "at least 1",
                    got: 0.0,
                });
            }
        }
        let width = classes + words;
        for (what, count) in [
            ("the classes", classes),
            ("the words", words),
            ("the logits of texts", text_logits.len()),
            ("the logits of noise", noise_logits.len()),
        ] {
            if count == 0 {
                return Err(StreamError::Empty { what });
            }
        }
        check_rows(text_logits, width, "the logits of texts")?;
        check_rows(noise_logits, width, "the logits of noise")?;
        let mut stream = Self {
            settings,
            classes,
            words,
            id: RowQueue::new(words, settings.queue),
            ood: RowQueue::new(words, settings.queue),
            history: VecDeque::new(),
            threshold: None,
            initial_order: Vec::new(),
        };
        for (logits, stream_key, is_id) in [(text_logits, 0, true), (noise_logits, 1, false)] {
            let mut rows: Vec<Vec<T>> = logits
                .chunks_exact(width)
                .map(|row| stream.activations(row))
                .collect();
            if let Some(seed) = settings.seed {
                Xoshiro256::keyed(seed, &[stream_key]).shuffle(&mut rows);
            }
            let queue = if is_id {
                &mut stream.id
            } else {
                &mut stream.ood
            };
            rows.iter().for_each(|row| queue.push(row));
        }
        stream.initial_order = stream.order(&stream.id.mean(), &stream.ood.mean());
        for row in text_logits
            .chunks_exact(width)
            .chain(noise_logits.chunks_exact(width))
        {
            let score = stream.score(row, &stream.initial_order);
            stream.record(score);
        }
        Ok(stream)
    }

    /// Number of known and of unknown images in the queues, those at the start included.
    pub fn queue_lengths(&self) -> [usize; 2] {
        [self.id.len(), self.ood.len()]
    }

    /// Number of bytes of the queues and of the history when they are full.
    pub fn max_bytes(&self) -> usize {
        let rows = self
            .settings
            .queue
            .saturating_mul(2 * self.words * size_of::<T>());
        rows.saturating_add(self.settings.history.saturating_mul(size_of::<f64>()))
    }

    /// Threshold of the last batch, if there was one.
    pub fn threshold(&self) -> Option<f64> {
        self.threshold
    }

    /// Scores a batch of logits `[N, K + words]`, in their order.
    ///
    /// # Errors
    /// [`StreamError::Length`] and [`StreamError::NotFinite`]; nothing is remembered then.
    pub fn batch(&mut self, logits: &[T]) -> Result<Vec<StreamScore>, StreamError> {
        let width = self.classes + self.words;
        check_rows(logits, width, "logits")?;
        let rows: Vec<&[T]> = logits.chunks_exact(width).collect();
        let means = [self.id.mean(), self.ood.mean()];
        let order = self.order(&means[0], &means[1]);
        let first: Vec<f64> = rows.iter().map(|row| self.score(row, &order)).collect();
        first.iter().for_each(|score| self.record(*score));
        let threshold = two_class_threshold(self.history.make_contiguous());
        self.threshold = Some(threshold);
        let gap = self.settings.gap;
        let known = threshold + gap * (1.0 - threshold);
        let unknown = threshold - gap * threshold;
        let activations = |is_candidate: &dyn Fn(f64) -> bool| -> Vec<Vec<T>> {
            let rows = rows.iter().zip(&first);
            let candidates = rows.filter(|(_, score)| is_candidate(**score));
            candidates.map(|(row, _)| self.activations(row)).collect()
        };
        let candidates = [
            activations(&|score| score > known),
            activations(&|score| score < unknown),
        ];
        let weight = self.settings.queue_weight;
        let mixed = [0, 1].map(|side| {
            if candidates[side].is_empty() {
                return means[side].clone();
            }
            let batch = mean(candidates[side].iter().map(Vec::as_slice), self.words);
            let pairs = means[side].iter().zip(batch);
            pairs
                .map(|(queue, batch)| weight * queue + (1.0 - weight) * batch)
                .collect::<Vec<f64>>()
        });
        let order = self.order(&mixed[0], &mixed[1]);
        let scores = rows.iter().map(|row| StreamScore {
            score: self.score(row, &order),
            fixed: self.score(row, &self.initial_order),
            class: argmax(&row[..self.classes]),
        });
        let scores = scores.collect();
        let [id, ood] = candidates;
        id.iter().for_each(|row| self.id.push(row));
        ood.iter().for_each(|row| self.ood.push(row));
        Ok(scores)
    }

    /// Probabilities of the words among all classes and words, `[N]`.
    fn activations(&self, logits: &[T]) -> Vec<T> {
        let total = logsumexp(logits.iter().map(|logit| wide(*logit)));
        let words = logits[self.classes..].iter();
        words
            .map(|logit| T::from((wide(*logit) - total).exp()).unwrap_or_else(T::nan))
            .collect()
    }

    /// The M words with the highest difference of activations, the highest first. Equal ones keep the order
    /// of the list.
    fn order(&self, id: &[f64], ood: &[f64]) -> Vec<usize> {
        let differences: Vec<f64> = ood.iter().zip(id).map(|(ood, id)| ood - id).collect();
        let mut order: Vec<usize> = (0..self.words).collect();
        let by_difference = |a: &usize, b: &usize| {
            let by_value = differences[*b].total_cmp(&differences[*a]);
            by_value.then(a.cmp(b))
        };
        let count = self.settings.words.min(self.words);
        if count < order.len() {
            order.select_nth_unstable_by(count, by_difference);
            order.truncate(count);
        }
        order.sort_unstable_by(by_difference);
        order
    }

    fn score(&self, logits: &[T], order: &[usize]) -> f64 {
        let (classes, words) = logits.split_at(self.classes);
        let classes: Vec<f64> = classes.iter().map(|logit| wide(*logit)).collect();
        let words: Vec<f64> = order.iter().map(|&word| wide(words[word])).collect();
        activation_aware_score(&classes, &words, self.settings.step)
    }

    fn record(&mut self, score: f64) {
        if self.history.len() == self.settings.history {
            self.history.pop_front();
        }
        self.history.push_back(score);
    }
}

fn wide<T: Float>(value: T) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}

impl Tanl<f32> {
    /// Returns what the stream remembers, for [`restore`](Self::restore).
    pub fn state(&self) -> Vec<StreamTensor> {
        let queue = |name, queue: &RowQueue<f32>| {
            let values = queue.rows().flatten().copied().collect();
            StreamTensor::f32(name, [queue.len(), self.words], values)
        };
        vec![
            queue(ID, &self.id),
            queue(OOD, &self.ood),
            StreamTensor::f64(HISTORY, self.history.iter().copied().collect()),
            StreamTensor::f64(THRESHOLD, self.threshold.into_iter().collect()),
        ]
    }

    /// Replaces what the stream remembers by the state of another stream with the same texts and
    /// settings.
    ///
    /// # Errors
    /// [`StreamError::State`] if it does not fit; nothing changes then.
    pub fn restore(&mut self, state: &[StreamTensor]) -> Result<(), StreamError> {
        let state = StoredState(state);
        let queue = |name| {
            let rows = state.rows(name, self.words, self.settings.queue)?;
            let mut queue = RowQueue::new(self.words, self.settings.queue);
            rows.chunks_exact(self.words)
                .for_each(|row| queue.push(row));
            if queue.len() == 0 {
                return Err(StreamError::State { name });
            }
            Ok(queue)
        };
        let (id, ood) = (queue(ID)?, queue(OOD)?);
        let (history, threshold) = (state.numbers(HISTORY)?, state.numbers(THRESHOLD)?);
        if history.len() > self.settings.history {
            return Err(StreamError::State { name: HISTORY });
        }
        (self.id, self.ood) = (id, ood);
        self.history = history.iter().copied().collect();
        self.threshold = threshold.first().copied();
        Ok(())
    }
}

/// Computes TANL's activation-aware score from the finite logits of the classes and of words by falling
/// difference: the mean over i = step, 2·step, …, M of the probability of the classes in the softmax over
/// the classes and the first i words. A step of 0 takes i = M only. NaN without classes or words.
pub fn activation_aware_score(classes: &[f64], words: &[f64], step: usize) -> f64 {
    if classes.is_empty() {
        return f64::NAN;
    }
    let step = if step == 0 { words.len() } else { step };
    let top = classes
        .iter()
        .chain(words)
        .copied()
        .fold(f64::NEG_INFINITY, f64::max);
    let accepted: f64 = classes.iter().map(|logit| (logit - top).exp()).sum();
    let (mut rejected, mut sum, mut count) = (0.0, 0.0, 0.0);
    for (index, word) in words.iter().enumerate() {
        rejected += (word - top).exp();
        if (index + 1).is_multiple_of(step) {
            sum += accepted / (accepted + rejected);
            count += 1.0;
        }
    }
    if count == 0.0 && !words.is_empty() {
        // Fewer words than a step.
        return accepted / (accepted + rejected);
    }
    sum / count
}
