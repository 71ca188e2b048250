use clipn_ood::scores::{LogitsRow, logsumexp, sigmoid};
use serde::{Deserialize, Serialize};

/// Where in an image its best class, the "no" of that class and the negatives are seen: a value for each
/// patch of the tower's grid, 0 to 1, row by row.
///
/// The grid covers what the preprocessing keeps of the image, the square in its center.
///
/// ```
/// use clipn_detect::detector::Evidence;
///
/// let json = r#"{"class": 0, "label": "cat", "rows": 1, "columns": 3, "yes": [0.1, 0.2, 0.9],
///     "no": null, "negatives": null}"#;
/// let evidence: Evidence = serde_json::from_str(json)?;
/// assert_eq!(evidence.place(), "right");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Evidence {
    /// Index of the best class, of unknown images too.
    pub class: usize,
    /// Name of the class.
    pub label: String,
    /// Number of rows of the grid.
    pub rows: usize,
    /// Number of columns of the grid.
    pub columns: usize,
    /// Softmax probability p of the class among all classes, `[rows · columns]`.
    pub yes: Vec<f32>,
    /// Probability 1 − q of "no" against "yes" for the class, `[rows · columns]`; `None` if the model has
    /// not learned "no".
    pub no: Option<Vec<f32>>,
    /// Probability of a typical group of negatives against the classes, `[rows · columns]`; `None` without
    /// negatives.
    pub negatives: Option<Vec<f32>>,
}

impl Evidence {
    /// Computes the maps of a class from the logits of patches
    /// ([`InferencePipeline::with_evidence`](crate::inference::InferencePipeline::with_evidence)); `None`
    /// without those, and for a class out of range.
    pub fn of(row: LogitsRow<'_, f32>, class: usize, label: &str) -> Option<Self> {
        let (classes, local) = (row.yes.len(), row.local);
        if class >= classes {
            return None;
        }
        let patches = local.yes.len().checked_div(classes)?;
        let rows = patches
            .checked_div(local.columns)
            .filter(|&rows| rows > 0)?;
        let patch = |side: &'_ [f32], patch: usize| -> Option<f32> {
            side.get(patch * classes + class).copied()
        };
        let totals: Vec<f64> = local
            .yes
            .chunks_exact(classes)
            .map(|patch| logsumexp(patch.iter().map(|&logit| f64::from(logit))))
            .collect();
        let each = || totals.iter().copied().enumerate();
        let yes = each()
            .map(|(index, total)| {
                let logit = f64::from(patch(local.yes, index).unwrap_or(f32::NAN));
                (logit - total).exp() as f32
            })
            .collect();
        let no = (!local.no.is_empty()).then(|| {
            let difference = |index| Some(patch(local.no, index)? - patch(local.yes, index)?);
            each()
                .map(|(index, _)| sigmoid(f64::from(difference(index).unwrap_or(f32::NAN))) as f32)
                .collect()
        });
        let groups = row.negatives.group_ends.len().max(1) as f64;
        let negatives = (local.negatives.len() == patches).then(|| {
            let group = |index: usize| f64::from(local.negatives[index]) - groups.ln();
            each()
                .map(|(index, total)| sigmoid(group(index) - total) as f32)
                .collect()
        });
        Some(Self {
            class,
            label: label.to_owned(),
            rows,
            columns: local.columns,
            yes,
            no,
            negatives,
        })
    }

    /// Returns where the class is seen most: `upper left`, `center`, `right`, …, by thirds of the grid.
    pub fn place(&self) -> &'static str {
        place(&self.yes, self.rows, self.columns)
    }

    /// Returns where "no" is seen most, as [`place`](Self::place) does.
    pub fn place_of_no(&self) -> Option<&'static str> {
        let no = self.no.as_ref()?;
        Some(place(no, self.rows, self.columns))
    }

    /// Returns where the negatives are seen most, as [`place`](Self::place) does.
    pub fn place_of_negatives(&self) -> Option<&'static str> {
        let negatives = self.negatives.as_ref()?;
        Some(place(negatives, self.rows, self.columns))
    }
}

/// Names the third of the rows and of the columns with the first of the highest values.
fn place(values: &[f32], rows: usize, columns: usize) -> &'static str {
    let best = (0..values.len()).reduce(|best, next| {
        if values[next] > values[best] {
            next
        } else {
            best
        }
    });
    let best = best.unwrap_or_default();
    let third = |index: usize, length: usize| (2 * index + 1) * 3 / (2 * length.max(1));
    let (row, column) = (
        third(best / columns.max(1), rows),
        third(best % columns.max(1), columns),
    );
    match (row, column) {
        (0, 0) => "upper left",
        (0, 1) => "top",
        (0, _) => "upper right",
        (1, 0) => "left",
        (1, 1) => "center",
        (1, _) => "right",
        (_, 0) => "lower left",
        (_, 1) => "bottom",
        _ => "lower right",
    }
}

#[cfg(test)]
mod tests {
    use clipn_ood::scores::{LocalLogits, NegativeLogits};

    use super::*;

    #[test]
    fn every_patch_has_the_probabilities_of_its_own_logits() {
        // Two patches side by side, two classes, and three negatives in one group.
        let local = LocalLogits {
            yes: &[30.0, 20.0, 20.0, 20.0],
            no: &[20.0, 0.0, 20.0, 0.0],
            negatives: &[20.0, 40.0],
            columns: 2,
        };
        let negatives = NegativeLogits::new(&[1.0, 2.0, 3.0], &[3]);
        let row = LogitsRow::new(&[25.0, 20.0], &[20.0, 10.0])
            .with_negatives(negatives)
            .with_local(local);
        let evidence = Evidence::of(row, 0, "cat").unwrap();
        assert_eq!((evidence.rows, evidence.columns), (1, 2));
        assert!(evidence.yes[0] > 0.99 && (evidence.yes[1] - 0.5).abs() < 1e-6);
        let no = evidence.no.clone().unwrap();
        assert!(no[0] < 0.01 && (no[1] - 0.5).abs() < 1e-6);
        let negatives = evidence.negatives.clone().unwrap();
        assert!(negatives[0] < 0.01 && negatives[1] > 0.99);
        assert_eq!(evidence.place(), "left");
        assert_eq!(evidence.place_of_no(), Some("right"));
        assert_eq!(evidence.place_of_negatives(), Some("right"));
        assert_eq!(Evidence::of(LogitsRow::new(&[1.0], &[]), 0, "cat"), None);
    }

    #[test]
    fn places_are_thirds() {
        let mut values = [0.0; 49];
        values[3 * 7 + 3] = 1.0;
        assert_eq!(place(&values, 7, 7), "center");
        values[8] = 2.0;
        assert_eq!(place(&values, 7, 7), "upper left");
        values[48] = 3.0;
        assert_eq!(place(&values, 7, 7), "lower right");
        assert_eq!(place(&[0.5], 1, 1), "center");
    }
}
