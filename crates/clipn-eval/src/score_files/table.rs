//! Tables with a header: one row per scored image.

use std::path::Path;

use indexmap::IndexSet;

use clipn_ood::metrics::ScoreSet;
use clipn_ood::scores::by_name;

use super::roles::{Meaning, Role, is_value, meaning, plain, roles};
use super::{ScoreColumn, ScoreFileError, ScoreSets, ScoreTableOptions};

/// Names of columns of scores, besides those of [`clipn_ood::scores`].
const SCORES: [&str; 11] = [
    "score",
    "scores",
    "conf",
    "confidence",
    "idscore",
    "oodscore",
    "anomalyscore",
    "outlierscore",
    "noveltyscore",
    "yscore",
    "pred",
];

/// Separators that a header is searched for.
const SEPARATORS: [u8; 3] = [b',', b'\t', b';'];

/// A table as text.
pub(super) struct Table<'a> {
    path: &'a Path,
    header: Vec<String>,
    /// Cells of the rows, with the line of each row.
    rows: Vec<(u64, csv::StringRecord)>,
}

impl<'a> Table<'a> {
    pub(super) fn parse(path: &'a Path, bytes: &[u8]) -> Result<Self, ScoreFileError> {
        let damaged = |reason: String| ScoreFileError::Table {
            path: path.to_owned(),
            reason,
        };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let first = bytes
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        let count = |separator: u8| first.iter().filter(|&&byte| byte == separator).count();
        let separator = SEPARATORS.into_iter().rev().max_by_key(|&s| count(s));
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(separator.unwrap_or(b','))
            .trim(csv::Trim::All)
            .from_reader(bytes);
        let header = reader
            .headers()
            .map_err(|error| damaged(error.to_string()))?;
        let header: Vec<String> = header.iter().map(str::to_owned).collect();
        if header.iter().all(|name| name.parse::<f64>().is_ok()) {
            return Err(damaged(
                "expected a header with the names of the columns".to_owned(),
            ));
        }
        if let Some(name) = header
            .iter()
            .enumerate()
            .find_map(|(index, name)| header[..index].contains(name).then_some(name))
        {
            return Err(damaged(format!("duplicate column {name:?}")));
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            let line = record.position().map_or(0, csv::Position::line);
            rows.push((line, record));
        }
        Ok(Self { path, header, rows })
    }

    fn column(&self, name: &str) -> Result<usize, ScoreFileError> {
        let index = self.header.iter().position(|column| column == name);
        index.ok_or_else(|| ScoreFileError::UnknownColumn {
            path: self.path.to_owned(),
            name: name.to_owned(),
            columns: self.header.clone(),
        })
    }

    fn cell(&self, row: usize, column: usize) -> &str {
        self.rows[row].1.get(column).unwrap_or_default()
    }

    fn cell_error(&self, row: usize, column: usize, reason: String) -> ScoreFileError {
        ScoreFileError::Cell {
            path: self.path.to_owned(),
            line: self.rows[row].0,
            column: self.header[column].clone(),
            reason,
        }
    }

    /// The column that separates the sets, with the meaning of its values.
    fn set_column(&self, options: &ScoreTableOptions) -> Result<(usize, Meaning), ScoreFileError> {
        if let Some(name) = &options.set_column {
            let index = self.column(name)?;
            return Ok((index, meaning(name).unwrap_or(Meaning::Labels)));
        }
        let rank = |meaning: Meaning| match meaning {
            Meaning::Flag { .. } => 0,
            Meaning::Names => 1,
            Meaning::Labels => 2,
        };
        let known = self.header.iter().enumerate();
        let is_decisions = self.is_decisions();
        // The value of in-distribution rows belongs to the column that has it.
        let has_value = |column: usize| {
            let id = options.id_value.as_deref();
            id.is_none_or(|id| (0..self.rows.len()).any(|row| is_value(self.cell(row, column), id)))
        };
        let found = known
            .filter(|(_, name)| !(is_decisions && is_decided(name)))
            .filter_map(|(index, name)| Some((index, meaning(name)?)))
            .min_by_key(|&(index, meaning)| (!has_value(index), rank(meaning)));
        found.ok_or_else(|| {
            let (path, columns) = (self.path.to_owned(), self.header.clone());
            if is_decisions {
                ScoreFileError::Decisions { path }
            } else {
                ScoreFileError::NoSetColumn { path, columns }
            }
        })
    }

    /// Checks that no other column says otherwise of a row whether it is in-distribution, unless the column or its value
    /// was chosen.
    fn check_other_flags(
        &self,
        options: &ScoreTableOptions,
        set: usize,
        (value_of_row, roles_of_values): (&[usize], &[Role]),
    ) -> Result<(), ScoreFileError> {
        if options.set_column.is_some() || options.id_value.is_some() {
            return Ok(());
        }
        for (column, name) in self.header.iter().enumerate() {
            let Some(meaning @ Meaning::Flag { .. }) = meaning(name) else {
                continue;
            };
            if column == set || (self.is_decisions() && is_decided(name)) {
                continue;
            }
            let cells = (0..self.rows.len()).map(|row| self.cell(row, column).to_owned());
            let values: IndexSet<String> = cells.collect();
            let Some(others) = roles(&values, meaning, None) else {
                continue;
            };
            let differs = |&row: &usize| {
                let other = values.get_index_of(self.cell(row, column));
                let other = other.map(|value| others[value] == Role::Id);
                other != Some(roles_of_values[value_of_row[row]] == Role::Id)
            };
            if let Some(row) = (0..self.rows.len()).find(differs) {
                return Err(ScoreFileError::Contradiction {
                    path: self.path.to_owned(),
                    columns: [self.header[set].clone(), name.clone()],
                    line: self.rows[row].0,
                });
            }
        }
        Ok(())
    }

    /// The column with the names of the sets, beside one that says which rows are in-distribution.
    fn names_column(&self, options: &ScoreTableOptions, meaning: Meaning) -> Option<usize> {
        let is_flag = matches!(meaning, Meaning::Flag { .. });
        let is_chosen = options.set_column.is_some() || options.id_value.is_some();
        if !is_flag || is_chosen {
            return None;
        }
        // Other columns with known names, such as `source` and `split`, may name files or parts.
        let is_set = |name: &String| NAMES_BESIDE_FLAG.contains(&plain(name).as_str());
        self.header.iter().position(is_set)
    }

    /// Whether the rows are decisions of `clipn classify`, whose `label` and `unknown` follow from the score:
    /// they are no ground truth.
    fn is_decisions(&self) -> bool {
        let has = |name: &str| self.header.iter().any(|column| column == name);
        has("score") && has("threshold") && has("reason")
    }

    /// The columns of scores: those requested, else those with a known name, else the only column of
    /// numbers that is not the set's.
    fn score_columns(
        &self,
        options: &ScoreTableOptions,
        set: usize,
    ) -> Result<Vec<usize>, ScoreFileError> {
        if !options.score_columns.is_empty() {
            let names = options.score_columns.iter();
            return names.map(|name| self.column(name)).collect();
        }
        let others = (0..self.header.len()).filter(|&index| index != set);
        let known: Vec<usize> = others
            .clone()
            .filter(|&index| {
                let name = &self.header[index];
                SCORES.contains(&plain(name).as_str()) || by_name(name).is_ok()
            })
            .collect();
        // Beside a score, `pred` is the predicted class, as OpenOOD writes it.
        let is_prediction = |index: &usize| plain(&self.header[*index]) == "pred";
        let scores: Vec<usize> = known
            .iter()
            .copied()
            .filter(|i| !is_prediction(i))
            .collect();
        match (scores.is_empty(), known.is_empty()) {
            (false, _) => return Ok(scores),
            (true, false) => return Ok(known),
            (true, true) => {}
        }
        let is_number = |row: usize, column: usize| self.cell(row, column).parse::<f64>().is_ok();
        let numeric: Vec<usize> = others
            .filter(|&index| meaning(&self.header[index]).is_none())
            .filter(|&index| (0..self.rows.len()).all(|row| is_number(row, index)))
            .collect();
        match numeric[..] {
            [only] if !self.rows.is_empty() => Ok(vec![only]),
            _ => Err(ScoreFileError::NoScoreColumn {
                path: self.path.to_owned(),
                columns: self.header.clone(),
            }),
        }
    }

    /// The score in a cell. `None` if it is empty in a row that reports an error in a column `error`,
    /// as in the tables of an evaluation.
    fn score(&self, row: usize, column: usize) -> Result<Option<f64>, ScoreFileError> {
        let text = self.cell(row, column);
        let error = self.header.iter().position(|name| name == "error");
        if text.is_empty() && error.is_some_and(|error| !self.cell(row, error).is_empty()) {
            return Ok(None);
        }
        let number: f64 = text.parse().map_err(|_| {
            self.cell_error(row, column, format!("expected a number, got {text:?}"))
        })?;
        if !number.is_finite() {
            let reason = format!("expected a finite score, got {number}");
            return Err(self.cell_error(row, column, reason));
        }
        Ok(Some(number))
    }

    /// The distinct values of a column, and the index of each row's value.
    fn values(&self, set: usize) -> Result<(IndexSet<String>, Vec<usize>), ScoreFileError> {
        let mut values = IndexSet::new();
        let mut value_of_row = Vec::with_capacity(self.rows.len());
        for row in 0..self.rows.len() {
            let value = self.cell(row, set);
            if value.is_empty() {
                return Err(self.cell_error(row, set, "expected a set, got nothing".to_owned()));
            }
            let (index, _) = values.insert_full(value.to_owned());
            value_of_row.push(index);
        }
        Ok((values, value_of_row))
    }

    /// The scores of each set.
    pub(super) fn sets(&self, options: &ScoreTableOptions) -> Result<ScoreSets, ScoreFileError> {
        let (set, meaning) = self.set_column(options)?;
        let columns = self.score_columns(options, set)?;
        let (values, value_of_row) = self.values(set)?;
        let id_value = options.id_value.as_deref();
        let roles = roles(&values, meaning, id_value).ok_or_else(|| {
            ScoreFileError::without_id(self.path, &self.header[set], id_value, &values)
        })?;
        self.check_other_flags(options, set, (&value_of_row, &roles))?;
        let names = self.names_column(options, meaning);
        let (mut id_names, mut ood_names) = (IndexSet::new(), IndexSet::new());
        let target = value_of_row.iter().enumerate().map(|(row, &value)| {
            let set_name = names.map(|column| self.cell(row, column));
            match &roles[value] {
                Role::Id => {
                    id_names.extend(set_name);
                    None
                }
                Role::Ood(name) => {
                    let name = set_name.filter(|name| !name.is_empty()).unwrap_or(name);
                    Some(ood_names.insert_full(name.to_owned()).0)
                }
            }
        });
        let target: Vec<Option<usize>> = target.collect();
        let empty = |&column: &usize| ScoreColumn {
            name: self.header[column].clone(),
            id: Vec::new(),
            ood: vec![Vec::new(); ood_names.len()],
        };
        let mut scores: Vec<ScoreColumn> = columns.iter().map(empty).collect();
        let mut skipped = 0;
        for (row, &target) in target.iter().enumerate() {
            let found = columns.iter().map(|&column| self.score(row, column));
            let found: Option<Vec<f64>> = found.collect::<Result<_, _>>()?;
            let Some(found) = found else {
                skipped += 1;
                continue;
            };
            for (score, number) in scores.iter_mut().zip(found) {
                match target {
                    None => score.id.push(number),
                    Some(set) => score.ood[set].push(number),
                }
            }
        }
        let id_values = values
            .iter()
            .zip(&roles)
            .filter(|(_, role)| **role == Role::Id);
        let id_names: Vec<&str> = match meaning {
            Meaning::Names => id_values.map(|(value, _)| value.as_str()).collect(),
            _ => id_names.into_iter().collect(),
        };
        let set_column = &self.header[set];
        let sets = ScoreSets {
            id_name: match id_names[..] {
                [only] if !only.is_empty() => only.to_owned(),
                _ => "id".to_owned(),
            },
            ood_names: ood_names.into_iter().collect(),
            scores,
            skipped,
            set_column: Some(match names {
                Some(names) => format!("{set_column}, {}", self.header[names]),
                None => set_column.clone(),
            }),
        };
        sets.checked(self.path)
    }
}

/// Columns that name the set of a row beside one that says whether it is in-distribution.
const NAMES_BESIDE_FLAG: [&str; 5] = ["set", "dataset", "oodset", "setname", "datasetname"];

impl ScoreSets {
    /// Checks that every set has scores.
    pub(super) fn checked(self, path: &Path) -> Result<Self, ScoreFileError> {
        let empty = |set| ScoreFileError::EmptySet {
            path: path.to_owned(),
            set,
        };
        let first = self.scores.first();
        if first.is_none_or(|score| score.id.is_empty()) {
            return Err(empty(ScoreSet::Id));
        }
        if first.is_none_or(|score| score.ood.is_empty() || score.ood.iter().any(Vec::is_empty)) {
            return Err(empty(ScoreSet::Ood));
        }
        Ok(self)
    }
}

/// Whether a column of decisions follows from the score.
fn is_decided(column: &str) -> bool {
    matches!(column, "label" | "unknown")
}
