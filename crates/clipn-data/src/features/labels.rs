use std::path::Path;

use clipn_base::content::ContentKind;
use clipn_base::files::read_at_most;

use crate::features::{FeatureError, npy};

/// Maximum bytes of the labels: a hundred million indices of 64 bits fit.
const MAX_BYTES: u64 = 1 << 30;

/// Reads one label per row of features: a `.npy` array of class indices, or a text file with one index
/// or class name per line, in another case too if it means one class. The index -1 is a row without a class.
///
/// # Errors
/// [`FeatureError::Read`], [`FeatureError::Kind`] or [`FeatureError::Labels`] for a file without labels,
/// [`FeatureError::Label`] for a label that is no class, and
/// [`FeatureError::Count`] if there are not `rows` labels.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("labels.txt");
/// std::fs::write(&path, "dog\n0\n-1\n")?;
/// let names = ["cat", "dog"].map(String::from);
/// assert_eq!(clipn_data::read_labels(&path, &names, 3)?, [Some(1), Some(0), None]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_labels(
    path: impl AsRef<Path>,
    class_names: &[String],
    rows: usize,
) -> Result<Vec<Option<usize>>, FeatureError> {
    let path = path.as_ref();
    let bytes = read_at_most(path, MAX_BYTES).map_err(|source| FeatureError::Read {
        path: path.to_owned(),
        source,
    })?;
    let failed = |location, reason| FeatureError::Label {
        path: path.to_owned(),
        location,
        reason,
    };
    let class = |location: &dyn Fn() -> String, number: f64| {
        if number == -1.0 {
            return Ok(None);
        }
        let class = number as usize;
        if class as f64 == number && class < class_names.len() {
            return Ok(Some(class));
        }
        let last = class_names.len().saturating_sub(1);
        Err(failed(
            location(),
            format!("expected the index of a class from 0 to {last}, or -1 for none, got {number}"),
        ))
    };
    let labels: Vec<Option<usize>> = if bytes.starts_with(npy::MAGIC) {
        let unusable = |reason| FeatureError::Labels {
            path: path.to_owned(),
            reason,
        };
        if npy::is_boolean(&bytes) {
            return Err(unusable("expected class indices, got booleans".to_owned()));
        }
        let numbers = npy::read_list(&bytes).map_err(unusable)?;
        numbers
            .into_iter()
            .enumerate()
            .map(|(index, number)| class(&|| format!("index {index}"), number))
            .collect::<Result<_, _>>()?
    } else {
        let text = std::str::from_utf8(&bytes).map_err(|_| FeatureError::Kind {
            path: path.to_owned(),
            expected: "labels as a NumPy array (.npy) or a text file in UTF-8",
            kind: ContentKind::detect(&bytes),
        })?;
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        let lowercase: Vec<String> = class_names.iter().map(|name| name.to_lowercase()).collect();
        let label = |(index, line): (usize, &str)| {
            let location = || format!("line {}", index + 1);
            // A class may be called by a number; its name wins. Another case will do if it means one class.
            if let Some(class) = class_names.iter().position(|name| name == line) {
                return Ok(Some(class));
            }
            if let Ok(number) = line.parse::<i64>() {
                return class(&location, number as f64);
            }
            let line_in_lowercase = line.to_lowercase();
            let mut alike =
                (0..class_names.len()).filter(|class| lowercase[*class] == line_in_lowercase);
            match (alike.next(), alike.next()) {
                (Some(class), None) => Ok(Some(class)),
                _ => Err(failed(
                    location(),
                    format!("expected the name or index of a class, got {line:?}"),
                )),
            }
        };
        lines.enumerate().map(label).collect::<Result<_, _>>()?
    };
    if labels.len() != rows {
        return Err(FeatureError::Count {
            path: path.to_owned(),
            what: "labels",
            rows,
            found: labels.len(),
        });
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_indices_or_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels");
        let names = ["cat", "1"].map(String::from);
        let read = |text: &str, rows| {
            std::fs::write(&path, text).unwrap();
            read_labels(&path, &names, rows).map_err(|error| error.to_string())
        };
        assert_eq!(
            read("cat\n0\n1\n-1", 4),
            Ok(vec![Some(0), Some(0), Some(1), None])
        );
        assert!(
            read("0\n2\n", 2)
                .unwrap_err()
                .contains(", line 2: expected")
        );
        assert!(
            read("0\n2\n", 2)
                .unwrap_err()
                .ends_with("from 0 to 1, or -1 for none, got 2")
        );
        assert!(read("0\n-5\n", 2).unwrap_err().ends_with("got -5"));
        assert_eq!(read("CAT", 1), Ok(vec![Some(0)]));
        assert!(read("dog\n", 1).unwrap_err().ends_with("got \"dog\""));
        assert!(read("0\n", 2).unwrap_err().contains("expected 2 labels"));
    }
}
