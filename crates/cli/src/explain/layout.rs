//! Texts side by side.

/// Rows of cells; each cell is some lines, and each column is as wide as its widest line.
#[derive(Debug, Default)]
pub(super) struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<Vec<String>>>,
}

impl Table {
    /// A table with these columns.
    pub(super) fn new(headings: Vec<String>) -> Table {
        Table { headings, rows: Vec::new() }
    }

    /// Appends a row.
    pub(super) fn row(&mut self, cells: Vec<Vec<String>>) {
        self.rows.push(cells);
    }

    /// The table's text.
    pub(super) fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).flatten();
            cells.chain(self.headings.get(column)).map(|l| l.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let mut text = line(&widths, self.headings.iter().map(String::as_str));
        text += &line(
            &widths,
            widths.iter().map(|w| "─".repeat(*w)).collect::<Vec<_>>().iter().map(String::as_str),
        );
        for row in &self.rows {
            let height = row.iter().map(Vec::len).max().unwrap_or(0);
            for i in 0..height {
                text +=
                    &line(&widths, row.iter().map(|cell| cell.get(i).map_or("", String::as_str)));
            }
        }
        text
    }
}

fn line<'a>(widths: &[usize], cells: impl Iterator<Item = &'a str>) -> String {
    let padded: Vec<String> =
        cells.zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{}\n", padded.join(" │ ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut table = Table::new(vec!["a".into(), "b".into()]);
        table.row(vec![vec!["xyz".into(), "x".into()], vec!["1".into()]]);
        assert_eq!(table.text(), "a   │ b\n─── │ ─\nxyz │ 1\nx   │\n");
    }
}
