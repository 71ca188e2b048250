use clipn_model::{PatchGrid, Real};
use clipn_ood::scores::{FittedValues, LocalLogits, LogitsRow, NegativeLogits};

/// Logits of N images over K classes, of "yes" and, if there is one, of "no".
#[derive(Debug, Clone, PartialEq)]
pub struct Logits<T = f32> {
    yes: Vec<T>,
    no: Vec<T>,
    /// `[N, M]`, empty without negatives.
    negatives: Vec<T>,
    group_ends: Vec<usize>,
    local: PatchLogits<T>,
    /// Values of the fitted scores, `[N]`, empty without any.
    fitted: Vec<FittedValues>,
    classes: usize,
    scale: f64,
}

impl<T: Real> Logits<T> {
    /// Creates logits from rows of `classes` values each; `scale` is the factor from cosines.
    pub(super) fn new(yes: Vec<T>, no: Vec<T>, classes: usize, scale: f64) -> Self {
        Self {
            yes,
            no,
            negatives: Vec::new(),
            group_ends: Vec::new(),
            local: PatchLogits::default(),
            fitted: Vec::new(),
            classes,
            scale,
        }
    }

    /// Adds the logits of M negatives, `[N, M]`, with the ends of their groups.
    pub(super) fn with_negatives(self, negatives: Vec<T>, group_ends: Vec<usize>) -> Self {
        Self {
            negatives,
            group_ends,
            ..self
        }
    }

    /// Adds the logits of P patches of each image.
    pub(super) fn with_local(self, local: PatchLogits<T>) -> Self {
        Self { local, ..self }
    }

    /// Adds the values of the fitted scores, `[N]`.
    pub(super) fn with_fitted(self, fitted: Vec<FittedValues>) -> Self {
        Self { fitted, ..self }
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

    /// Returns the logits of the "no" classifier, `[N, K]`; empty if there is none.
    pub fn no(&self) -> &[T] {
        &self.no
    }

    /// Returns the logits of the negatives, `[N, M]`; empty if there are none.
    pub fn negatives(&self) -> &[T] {
        &self.negatives
    }

    /// Returns the "yes" logits of the patches, `[N, P, K]`; empty if they were not computed.
    pub fn local(&self) -> &[T] {
        &self.local.yes
    }

    /// Iterates over the logits of each image.
    pub fn rows(&self) -> impl Iterator<Item = LogitsRow<'_, T>> {
        let yes = self.yes.chunks_exact(self.classes);
        yes.enumerate().map(|(image, yes)| {
            let negatives = self.group_ends.last().copied().unwrap_or_default();
            LogitsRow::new(yes, row_of(&self.no, image, self.classes))
                .with_scale(self.scale)
                .with_local(self.local.of_image(image, self.classes))
                .with_fitted(self.fitted.get(image))
                .with_negatives(NegativeLogits::new(
                    row_of(&self.negatives, image, negatives),
                    &self.group_ends,
                ))
        })
    }
}

/// Logits of the P patches of N images; all empty if they were not computed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PatchLogits<T> {
    /// `[N, P, K]`.
    pub(super) yes: Vec<T>,
    /// `[N, P, K]`, empty unless decisions are explained.
    pub(super) no: Vec<T>,
    /// Log-sum-exp over the negatives, `[N, P]`, empty unless decisions are explained.
    pub(super) negatives: Vec<T>,
    pub(super) grid: PatchGrid,
}

impl<T> Default for PatchLogits<T> {
    fn default() -> Self {
        Self {
            yes: Vec::new(),
            no: Vec::new(),
            negatives: Vec::new(),
            grid: PatchGrid {
                rows: 0,
                columns: 0,
            },
        }
    }
}

impl<T> PatchLogits<T> {
    fn of_image(&self, image: usize, classes: usize) -> LocalLogits<'_, T> {
        let patches = self.grid.len();
        LocalLogits {
            yes: row_of(&self.yes, image, patches * classes),
            no: row_of(&self.no, image, patches * classes),
            negatives: row_of(&self.negatives, image, patches),
            columns: self.grid.columns,
        }
    }
}

/// Row of an image in a matrix of rows of `width` values; empty if there is no such row.
fn row_of<T>(values: &[T], image: usize, width: usize) -> &[T] {
    values
        .get(image * width..(image + 1) * width)
        .unwrap_or_default()
}
