//! Which rows of a table are in-distribution, and which set the others belong to.

use indexmap::IndexSet;

/// Meaning of the values of a column that separates the sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// True or false; the flag says whether true is out-of-distribution.
    Flag { true_is_ood: bool },
    /// Names of sets.
    Names,
    /// Labels: names of sets, or numbers that are negative for out-of-distribution rows, as in OpenOOD
    /// and pytorch-ood.
    Labels,
}

/// Names of columns that say whether a row is out-of-distribution.
const OOD_FLAGS: [&str; 8] = [
    "isood",
    "ood",
    "isoutlier",
    "outlier",
    "isanomaly",
    "anomaly",
    "isunknown",
    "unknown",
];

/// Names of columns that say whether a row is in-distribution.
const ID_FLAGS: [&str; 6] = [
    "isid",
    "isindistribution",
    "indistribution",
    "isinlier",
    "inlier",
    "isknown",
];

/// Names of columns that name the set of a row.
const SETS: [&str; 7] = [
    "set",
    "dataset",
    "split",
    "source",
    "oodset",
    "setname",
    "datasetname",
];

/// Names of columns of labels.
const LABELS: [&str; 7] = [
    "label",
    "labels",
    "target",
    "y",
    "ytrue",
    "groundtruth",
    "gt",
];

/// Names of in-distribution sets.
const ID_NAMES: [&str; 8] = [
    "id",
    "ind",
    "iid",
    "indist",
    "indistribution",
    "inlier",
    "known",
    "normal",
];

/// A name without case and punctuation.
pub(super) fn plain(name: &str) -> String {
    let kept = name.chars().filter(|c| c.is_alphanumeric());
    kept.flat_map(char::to_lowercase).collect()
}

/// Meaning of a column by its name, if the name is known. Flags come before names of sets, and these
/// before labels.
pub(super) fn meaning(column: &str) -> Option<Meaning> {
    let name = plain(column);
    let any = |names: &[&str]| names.contains(&name.as_str());
    if any(&OOD_FLAGS) {
        Some(Meaning::Flag { true_is_ood: true })
    } else if any(&ID_FLAGS) {
        Some(Meaning::Flag { true_is_ood: false })
    } else if any(&SETS) {
        Some(Meaning::Names)
    } else if any(&LABELS) {
        Some(Meaning::Labels)
    } else {
        None
    }
}

/// Decision on the rows of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    Id,
    Ood(String),
}

/// Whether a value means in-distribution, for every distinct value of a column.
///
/// # Errors
/// `None` if the values do not say it.
pub(super) fn roles(
    values: &IndexSet<String>,
    meaning: Meaning,
    id_value: Option<&str>,
) -> Option<Vec<Role>> {
    if let Some(id) = id_value {
        return named(values, |value| is_value(value, id)).or_else(|| flagged(values, id));
    }
    match meaning {
        Meaning::Flag { true_is_ood } => values
            .iter()
            .map(|value| {
                let is_ood = flag(value)? == true_is_ood;
                Some(if is_ood {
                    Role::Ood("ood".to_owned())
                } else {
                    Role::Id
                })
            })
            .collect(),
        Meaning::Names => named(values, |value| ID_NAMES.contains(&plain(value).as_str())),
        Meaning::Labels => signs(values)
            .or_else(|| named(values, |value| ID_NAMES.contains(&plain(value).as_str()))),
    }
}

/// Whether a cell has the value that was given for in-distribution rows.
pub(super) fn is_value(cell: &str, id: &str) -> bool {
    cell == id || same_number(cell, id)
}

/// Roles by the name of a set. `None` if no value is that of an in-distribution set.
fn named(values: &IndexSet<String>, is_id: impl Fn(&String) -> bool) -> Option<Vec<Role>> {
    values.iter().any(&is_id).then(|| {
        let role = |value: &String| {
            if is_id(value) {
                Role::Id
            } else {
                Role::Ood(value.clone())
            }
        };
        values.iter().map(role).collect()
    })
}

/// Roles by flags in other words than that of in-distribution rows: `1` and `0` if it is `true`, as NumPy's booleans are
/// read. `None` if there are other values than flags.
fn flagged(values: &IndexSet<String>, id: &str) -> Option<Vec<Role>> {
    let id = flag(id)?;
    let are_flags = values.iter().all(|value| flag(value).is_some());
    are_flags.then(|| named(values, |value| flag(value) == Some(id)))?
}

/// Roles by the sign of numbers. `None` if there are no negative ones, or other values than finite numbers.
fn signs(values: &IndexSet<String>) -> Option<Vec<Role>> {
    let numbers: Vec<f64> = values
        .iter()
        .map(|value| value.parse().ok().filter(|number: &f64| number.is_finite()))
        .collect::<Option<_>>()?;
    numbers.iter().any(|&number| number < 0.0).then(|| {
        let role = |&number: &f64| {
            if number < 0.0 {
                Role::Ood("ood".to_owned())
            } else {
                Role::Id
            }
        };
        numbers.iter().map(role).collect()
    })
}

/// Whether two texts are the same number, such as `1` and `1.0`.
fn same_number(a: &str, b: &str) -> bool {
    matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

fn flag(value: &str) -> Option<bool> {
    match value.to_lowercase().as_str() {
        "1" | "1.0" | "true" | "yes" | "t" | "y" => Some(true),
        "0" | "0.0" | "false" | "no" | "f" | "n" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(column: &str, values: &[&str], id_value: Option<&str>) -> Option<String> {
        let values: IndexSet<String> = values.iter().map(|&v| v.to_owned()).collect();
        let roles = roles(&values, meaning(column).unwrap(), id_value)?;
        let text = |role: &Role| match role {
            Role::Id => "ID".to_owned(),
            Role::Ood(name) => name.clone(),
        };
        Some(roles.iter().map(text).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn values_say_what_is_in_distribution_or_nothing_is_guessed() {
        let found = |column: &str, values: &[&str]| found(column, values, None);
        assert_eq!(found("is_ood", &["0", "1"]).unwrap(), "ID ood");
        assert_eq!(found("Is OOD", &["True", "False"]).unwrap(), "ood ID");
        assert_eq!(found("is_id", &["1.0", "0.0"]).unwrap(), "ID ood");
        assert_eq!(found("is_id", &["1", "2"]), None);
        assert_eq!(
            found("dataset", &["noise", "ID", "lines"]).unwrap(),
            "noise ID lines"
        );
        assert_eq!(found("dataset", &["cifar10", "svhn"]), None);
        assert_eq!(found("label", &["3", "-1", "0"]).unwrap(), "ID ood ID");
        // Scikit-learn's 1 is the positive class, which may be either.
        assert_eq!(found("y_true", &["0", "1"]), None);
        assert_eq!(found("label", &["id", "ood"]).unwrap(), "ID ood");
        assert_eq!(found("label", &["cat", "dog"]), None);
        assert_eq!(found("label", &["1", "-1", "nan"]), None);
        assert_eq!(found("label", &["1", "-inf"]), None);
        assert_eq!(meaning("path"), None);
    }

    #[test]
    fn the_value_of_in_distribution_rows_can_be_given() {
        assert_eq!(found("label", &["0", "1"], Some("1")).unwrap(), "0 ID");
        assert_eq!(
            found("label", &["0.0", "1.0"], Some("0")).unwrap(),
            "ID 1.0"
        );
        assert_eq!(found("set", &["a", "b"], Some("c")), None);
        // NumPy's booleans are read as numbers.
        assert_eq!(found("label", &["1", "0"], Some("true")).unwrap(), "ID 0");
        assert_eq!(found("label", &["1", "0", "2"], Some("true")), None);
    }
}
