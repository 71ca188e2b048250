//! Text tables.

use std::borrow::Cow;
use std::io::Write;

use crate::common::terminal::printable;

/// Text table. Each column is as wide as its widest cell; the first columns are left-aligned, the
/// others right-aligned.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    left: usize,
}

impl Table {
    /// Creates a table with these headings, whose first `left` columns are left-aligned.
    pub(crate) fn new(headings: impl IntoIterator<Item = impl Into<String>>, left: usize) -> Self {
        Self {
            rows: vec![headings.into_iter().map(Into::into).collect()],
            left,
        }
    }

    /// Adds a row. Characters that act on a terminal are escaped.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let cells = cells.into_iter().map(|cell| {
            let cell: String = cell.into();
            match printable(&cell) {
                Cow::Borrowed(_) => cell,
                Cow::Owned(escaped) => escaped,
            }
        });
        let cells = cells.collect();
        self.rows.push(cells);
    }

    /// Writes the rows with two spaces between columns and none at the end of a line.
    pub(crate) fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |c: usize| {
            self.rows
                .iter()
                .filter_map(|r| r.get(c))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or_default()).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                if column > 0 {
                    line.push_str("  ");
                }
                let padding = " ".repeat(width - cell.chars().count());
                let (before, after) = if column < self.left {
                    ("", &*padding)
                } else {
                    (&*padding, "")
                };
                line.extend([before, cell, after]);
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_columns() {
        let mut table = Table::new(["name", "n"], 1);
        table.row(["größe", "1"]);
        table.row(["a", "100"]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "name     n\ngröße    1\na      100\n"
        );
    }
}
