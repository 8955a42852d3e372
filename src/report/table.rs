//! Rows of words: CSV for programs, columns for people, Markdown for documents.

/// A table with named columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<'a>(columns: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            columns: columns.into_iter().map(str::to_owned).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; a row that is short is filled with empty cells, what is too much is dropped.
    pub fn push(&mut self, row: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = row.into_iter().collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// RFC 4180 with line feeds: a header line, then one line a row.
    pub fn csv(&self) -> String {
        let mut text = String::new();
        for line in std::iter::once(&self.columns).chain(&self.rows) {
            let cells: Vec<String> = line.iter().map(|cell| quoted(cell)).collect();
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        text
    }

    /// Columns aligned with spaces; a column of numbers is aligned at its right.
    pub fn text(&self) -> String {
        let widths = self.widths();
        let numeric: Vec<bool> = (0..self.columns.len())
            .map(|column| {
                !self.rows.is_empty() && self.rows.iter().all(|row| is_number(&row[column]))
            })
            .collect();
        let mut text = String::new();
        for line in std::iter::once(&self.columns).chain(&self.rows) {
            let mut out = String::new();
            for ((cell, &width), &right) in line.iter().zip(&widths).zip(&numeric) {
                let air = " ".repeat(width - cell.chars().count());
                let (before, after) = if right {
                    (air, String::new())
                } else {
                    (String::new(), air)
                };
                out.push_str(&before);
                out.push_str(cell);
                out.push_str(&after);
                out.push_str("  ");
            }
            text.push_str(out.trim_end());
            text.push('\n');
        }
        text
    }

    /// A Markdown table.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = format!("|{}\n", "---|".repeat(self.columns.len()));
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        line(&self.columns) + &rule + &rows
    }

    fn widths(&self) -> Vec<usize> {
        (0..self.columns.len())
            .map(|column| {
                std::iter::once(&self.columns)
                    .chain(&self.rows)
                    .map(|line| line[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect()
    }
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

fn is_number(cell: &str) -> bool {
    cell.is_empty() || cell == "-" || cell.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["arm", "ms"]);
        table.push(["dense".to_owned(), "12.5".to_owned()]);
        table.push(["window, \"64\"".to_owned(), "3".to_owned()]);
        table
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        assert_eq!(
            table().csv(),
            "arm,ms\ndense,12.5\n\"window, \"\"64\"\"\",3\n"
        );
    }

    #[test]
    fn text_aligns_numbers_at_their_right() {
        assert_eq!(
            table().text(),
            "arm             ms\ndense         12.5\nwindow, \"64\"     3\n"
        );
    }

    #[test]
    fn markdown_has_a_rule() {
        assert!(
            table()
                .markdown()
                .starts_with("| arm | ms |\n|---|---|\n| dense | 12.5 |\n")
        );
    }
}
