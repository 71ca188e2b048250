//! Numbers of images at or above a score.

/// One distinct score and the numbers of images that score at least as high. Steps run from the
/// highest score down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) threshold: f64,
    pub(super) id: usize,
    pub(super) ood: usize,
}

/// Numbers of true positives and false positives at a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) true_positives: usize,
    pub(super) false_positives: usize,
}
