use clipn_model::Real;
use clipn_ood::scores::LogitsRow;

/// The logits of N images over K classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits<T = f32> {
    yes: Vec<T>,
    no: Vec<T>,
    classes: usize,
    scale: f64,
}

impl<T: Real> Logits<T> {
    /// Rows of `classes` values each, `scale` times the cosines.
    pub(super) fn new(yes: Vec<T>, no: Vec<T>, classes: usize, scale: f64) -> Self {
        Self {
            yes,
            no,
            classes,
            scale,
        }
    }

    /// Number of images N.
    pub fn len(&self) -> usize {
        self.yes.len() / self.classes.max(1)
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.yes.is_empty()
    }

    /// Against the "yes" texts, `[N, K]`.
    pub fn yes(&self) -> &[T] {
        &self.yes
    }

    /// Against the "no" texts, `[N, K]`.
    pub fn no(&self) -> &[T] {
        &self.no
    }

    /// The images' logits, one after the other.
    pub fn rows(&self) -> impl Iterator<Item = LogitsRow<'_, T>> {
        let (yes, no) = (
            self.yes.chunks_exact(self.classes),
            self.no.chunks_exact(self.classes),
        );
        yes.zip(no).map(|(yes, no)| LogitsRow {
            yes,
            no,
            scale: self.scale,
        })
    }
}
