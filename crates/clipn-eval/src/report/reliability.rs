//! The reliability diagram: accuracy of predictions as a function of confidence.

use super::decisions::IdPrediction;
use super::html::{format_count, format_percent};
use super::svg::{Axis, Chart};

/// Number of bins of equal width over confidences from 0 to 1.
const BINS: usize = 10;

/// Number of images below which the diagram is unreliable.
const FEW: usize = 200;

/// Labeled images whose confidence falls into a bin.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bin {
    n: usize,
    right: usize,
    /// Sum of confidences.
    confidence: f64,
}

impl Bin {
    fn accuracy(self) -> f64 {
        self.right as f64 / self.n as f64
    }

    fn mean_confidence(self) -> f64 {
        self.confidence / self.n as f64
    }
}

/// Accuracy by confidence.
#[derive(Debug)]
pub(super) struct Reliability {
    bins: [Bin; BINS],
    total: Bin,
}

impl Reliability {
    /// Computes the diagram of the labeled images; `None` without labels.
    pub(super) fn new(predictions: &[IdPrediction]) -> Option<Self> {
        let (mut bins, mut total) = ([Bin::default(); BINS], Bin::default());
        for IdPrediction {
            confidence, right, ..
        } in predictions
        {
            let Some(right) = right else { continue };
            if !confidence.is_finite() {
                continue;
            }
            let index = ((confidence * BINS as f64) as usize).min(BINS - 1);
            for bin in [&mut bins[index], &mut total] {
                bin.n += 1;
                bin.right += usize::from(*right);
                bin.confidence += confidence;
            }
        }
        (total.n > 0).then_some(Self { bins, total })
    }

    /// Returns the expected calibration error: the mean gap between confidence and accuracy, with
    /// bins weighted by their number of images (Naeini et al., "Obtaining well calibrated
    /// probabilities using Bayesian binning", 2015).
    pub(super) fn ece(&self) -> f64 {
        let gap = |bin: &Bin| bin.n as f64 * (bin.accuracy() - bin.mean_confidence()).abs();
        self.bins
            .iter()
            .filter(|bin| bin.n > 0)
            .map(gap)
            .sum::<f64>()
            / self.total.n as f64
    }

    /// Returns the diagram with its caption, followed by `more`.
    pub(super) fn figure(&self, more: &str) -> String {
        let axis = |label: &str| Axis::percent(1.0, 5, label);
        let mut chart = Chart::new(
            420.0,
            300.0,
            axis("confidence p(max), %"),
            axis("accuracy, %"),
        );
        for (i, bin) in self.bins.iter().enumerate().filter(|(_, bin)| bin.n > 0) {
            let (left, right) = (
                (i as f64 + 0.06) / BINS as f64,
                (i as f64 + 0.94) / BINS as f64,
            );
            let top = bin.accuracy();
            chart.area(&[(left, top), (right, top)], "fill id");
            chart.line(&[(left, top), (right, top)], "line id");
        }
        chart.line(&[(0.0, 0.0), (1.0, 1.0)], "line chance");
        for (i, bin) in self.bins.iter().enumerate().filter(|(_, bin)| bin.n > 0) {
            chart.dot((bin.mean_confidence(), bin.accuracy()), "dot id");
            chart.label(
                ((i as f64 + 0.5) / BINS as f64, bin.accuracy().max(0.015)),
                &format_count(bin.n),
            );
        }
        let svg = chart.finish("Reliability diagram: accuracy over confidence");
        let (confidence, accuracy) = (self.total.mean_confidence(), self.total.accuracy());
        let gap = format_percent((confidence - accuracy).abs());
        let verdict = if gap == format_percent(0.0) {
            "well calibrated on average".to_owned()
        } else if confidence > accuracy {
            format!("overconfident by {gap} points")
        } else {
            format!("underconfident by {gap} points")
        };
        let few = if self.total.n < FEW {
            " With so few images, this is a rough estimate."
        } else {
            ""
        };
        format!(
            "<figure class=\"chart wide\"><h3>Confidence and accuracy of kept images</h3>{svg}\
             <p class=\"note\">Confidence p(max) is the maximum softmax probability over the “yes” \
             logits. A bar is the accuracy of the kept images with that confidence, and the number \
             above it is their count. On the dotted line, accuracy equals confidence. Mean \
             confidence {} %, accuracy {} %: {verdict}. ECE, the mean gap between the two over ten bins weighted by \
             their counts: <b>{}&nbsp;%</b>.{more}{few}</p></figure>",
            format_percent(confidence),
            format_percent(accuracy),
            format_percent(self.ece()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(confidence: f64, right: bool) -> IdPrediction {
        IdPrediction {
            score: 0.0,
            confidence,
            right: Some(right),
        }
    }

    #[test]
    fn ece_is_the_weighted_mean_gap() {
        // In the bin from 0.9: mean confidence 0.95, half of it right. In the bin from 0.2:
        // confidence 0.2, none right.
        let predictions = [
            prediction(0.9, true),
            prediction(1.0, false),
            prediction(0.2, false),
            prediction(0.2, false),
        ];
        let reliability = Reliability::new(&predictions).unwrap();
        assert!(
            (reliability.ece() - (2.0 * 0.45 + 2.0 * 0.2) / 4.0).abs() < 1e-12,
            "{}",
            reliability.ece()
        );
        assert_eq!(reliability.bins[9].n, 2);
    }

    #[test]
    fn ignores_images_without_label_or_confidence() {
        let unlabeled = IdPrediction {
            right: None,
            ..prediction(0.5, true)
        };
        assert!(Reliability::new(&[unlabeled]).is_none());
        assert!(Reliability::new(&[prediction(f64::NAN, true)]).is_none());
        assert_eq!(
            Reliability::new(&[unlabeled, prediction(0.5, true)])
                .unwrap()
                .total
                .n,
            1
        );
    }
}
