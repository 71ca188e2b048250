use clipn_model::Real;
use clipn_ood::scores::LogitsRow;

/// Logits of N images over K classes, for both classifiers.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits<T = f32> {
    yes: Vec<T>,
    no: Vec<T>,
    classes: usize,
    scale: f64,
}

impl<T: Real> Logits<T> {
    /// Creates logits from rows of `classes` values each; `scale` is the factor from cosines.
    pub(super) fn new(yes: Vec<T>, no: Vec<T>, classes: usize, scale: f64) -> Self {
        Self {
            yes,
            no,
            classes,
            scale,
        }
    }

    /// Returns the number of images N.
    pub fn len(&self) -> usize {
        self.yes.len() / self.classes.max(1)
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.yes.is_empty()
    }

    /// Returns the logits of the "yes" classifier, `[N, K]`.
    pub fn yes(&self) -> &[T] {
        &self.yes
    }

    /// Returns the logits of the "no" classifier, `[N, K]`.
    pub fn no(&self) -> &[T] {
        &self.no
    }

    /// Iterates over the logits of each image.
    pub fn rows(&self) -> impl Iterator<Item = LogitsRow<'_, T>> {
        let (yes, no) = (
            self.yes.chunks_exact(self.classes),
            self.no.chunks_exact(self.classes),
        );
        yes.zip(no)
            .map(|(yes, no)| LogitsRow::new(yes, no).with_scale(self.scale))
    }
}
