//! Checks of feature vectors.

/// Returns what is wrong with a row of features, if anything: a value that is not finite, or only zeros.
/// Such a row has no direction, and so no cosine with anything. The text continues "row 3 …".
///
/// ```
/// use clipn_base::features::row_problem;
///
/// assert_eq!(row_problem(&[0.0, 0.5]), None);
/// assert_eq!(row_problem(&[0.5, f32::NAN]).unwrap(), "has NaN in column 1");
/// ```
#[must_use]
pub fn row_problem(row: &[f32]) -> Option<String> {
    if let Some(column) = row.iter().position(|value| !value.is_finite()) {
        let value = if row[column].is_nan() {
            "NaN"
        } else {
            "a value that is infinite or too large for f32"
        };
        return Some(format!("has {value} in column {column}"));
    }
    let is_zero = row.iter().all(|&value| value == 0.0);
    is_zero.then(|| "has only zeros, and so no direction".to_owned())
}
