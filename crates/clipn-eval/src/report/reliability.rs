//! The reliability diagram: how often predictions of each confidence are right.

use super::calibration::Judgement;
use super::html::{count, percent};
use super::svg::{Axis, Chart};

/// Bins of equal width over confidences from 0 to 1.
const BINS: usize = 10;

/// Images below which a diagram tells little.
const FEW: usize = 200;

/// The labelled images whose confidence falls into a bin.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bin {
    n: usize,
    right: usize,
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

/// Confidences against accuracies.
#[derive(Debug)]
pub(super) struct Reliability {
    bins: [Bin; BINS],
    total: Bin,
}

impl Reliability {
    /// Of the images that have a label; `None` where there is none.
    pub(super) fn new(judgements: &[Judgement]) -> Option<Self> {
        let (mut bins, mut total) = ([Bin::default(); BINS], Bin::default());
        for Judgement {
            confidence, right, ..
        } in judgements
        {
            let Some(right) = right else { continue };
            if !confidence.is_finite() {
                continue;
            }
            let place = ((confidence * BINS as f64) as usize).min(BINS - 1);
            for bin in [&mut bins[place], &mut total] {
                bin.n += 1;
                bin.right += usize::from(*right);
                bin.confidence += confidence;
            }
        }
        (total.n > 0).then_some(Self { bins, total })
    }

    /// The expected calibration error: the mean gap between confidence and accuracy, each bin counting by its images
    /// (Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", 2015).
    pub(super) fn ece(&self) -> f64 {
        let gap = |bin: &Bin| bin.n as f64 * (bin.accuracy() - bin.mean_confidence()).abs();
        self.bins
            .iter()
            .filter(|bin| bin.n > 0)
            .map(gap)
            .sum::<f64>()
            / self.total.n as f64
    }

    /// The diagram with its sentence and one more.
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
            chart.word(
                ((i as f64 + 0.5) / BINS as f64, bin.accuracy().max(0.015)),
                &count(bin.n),
            );
        }
        let svg = chart.finish("Reliability diagram: accuracy over confidence");
        let (confidence, accuracy) = (self.total.mean_confidence(), self.total.accuracy());
        let gap = percent((confidence - accuracy).abs());
        let verdict = if gap == percent(0.0) {
            "as sure as they are right".to_owned()
        } else if confidence > accuracy {
            format!("too sure by {gap} points")
        } else {
            format!("not sure enough by {gap} points")
        };
        let few = if self.total.n < FEW {
            " So few images give a rough picture."
        } else {
            ""
        };
        format!(
            "<figure class=\"chart wide\"><h3>Confidence and accuracy of the kept</h3>{svg}\
             <p class=\"note\">Confidence p(max) is the softmax over the “yes” logits; a bar is the accuracy of the kept \
             images of that confidence, the figure above it their number, and on the dotted line both agree. On average \
             {} % confident and {} % right: {verdict}. ECE, the mean gap between the two over ten bins, each \
             counting by its images: <b>{}&nbsp;%</b>.{more}{few}</p></figure>",
            percent(confidence),
            percent(accuracy),
            percent(self.ece()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(confidence: f64, right: bool) -> Judgement {
        Judgement {
            score: 0.0,
            confidence,
            right: Some(right),
        }
    }

    #[test]
    fn the_error_is_the_mean_gap() {
        // In the bin from 0.9: 0.95 sure on average, half right. In that from 0.2: 0.2 sure, none right.
        let judgements = [
            judged(0.9, true),
            judged(1.0, false),
            judged(0.2, false),
            judged(0.2, false),
        ];
        let reliability = Reliability::new(&judgements).unwrap();
        assert!(
            (reliability.ece() - (2.0 * 0.45 + 2.0 * 0.2) / 4.0).abs() < 1e-12,
            "{}",
            reliability.ece()
        );
        assert_eq!(reliability.bins[9].n, 2);
    }

    #[test]
    fn only_labels_count() {
        let unlabelled = Judgement {
            right: None,
            ..judged(0.5, true)
        };
        assert!(Reliability::new(&[unlabelled]).is_none());
        assert!(Reliability::new(&[judged(f64::NAN, true)]).is_none());
        assert_eq!(
            Reliability::new(&[unlabelled, judged(0.5, true)])
                .unwrap()
                .total
                .n,
            1
        );
    }
}
