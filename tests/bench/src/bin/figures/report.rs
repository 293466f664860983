//! [`Figure`]: what was measured, for people and as JSON.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use peerchat_bench::Failure;
use serde_json::{Map, Value, json};

/// Where the results go.
const OUTPUT: &str = "target/bench";

/// One value of a table.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(String),
    /// A number and how many decimals a person is shown.
    Number(f64, usize),
    /// Not measured, or without meaning here.
    Empty,
}

impl Cell {
    pub(super) fn count(count: usize) -> Self {
        Self::Number(count as f64, 0)
    }

    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number, decimals) => format!("{number:.decimals$}"),
            Self::Empty => String::new(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number, _) => json!(number),
            Self::Empty => Value::Null,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Rows under named columns. The first column is a label.
#[derive(Clone, Debug)]
pub(super) struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) const fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; cells that are missing at its end are empty.
    pub(super) fn push(&mut self, mut row: Vec<Cell>) {
        row.resize(self.columns.len(), Cell::Empty);
        self.rows.push(row);
    }

    fn text(&self) -> String {
        let heads = self.columns.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>();
        let body = self.rows.iter().map(|row| row.iter().map(Cell::text).collect::<Vec<_>>());
        let lines: Vec<_> = std::iter::once(heads).chain(body).collect();
        let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max();
        let widths: Vec<_> = (0..self.columns.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for line in lines {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                // Writing into a string cannot fail.
                let _ = if column == 0 {
                    write!(text, "{cell:<width$}")
                } else {
                    write!(text, "  {cell:>width$}")
                };
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| {
            let cells =
                self.columns.iter().zip(row).map(|(column, cell)| ((*column).to_owned(), cell.json()));
            Value::Object(cells.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }
}

/// What was measured, and how.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// What was done, under which conditions, one sentence or two each.
    pub(super) conditions: Vec<String>,
    pub(super) table: Table,
}

impl Figure {
    pub(super) fn text(&self, name: &str) -> String {
        let conditions: String = self.conditions.iter().map(|line| format!("- {line}\n")).collect();
        format!("\n{name}\n\n{conditions}\n{}", self.table.text())
    }
}

/// Writes a figure into the file that holds all of them; those measured before stay.
pub(super) fn save(name: &str, figure: &Figure) -> Result<(), Failure> {
    let path = Path::new(OUTPUT).join("figures.json");
    fs::create_dir_all(OUTPUT)?;
    let mut all: Map<String, Value> = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => Map::new(),
    };
    let cores = std::thread::available_parallelism()?.get();
    let value = json!({ "cores": cores, "conditions": figure.conditions, "rows": figure.table.json() });
    all.insert(name.to_owned(), value);
    fs::write(&path, serde_json::to_string_pretty(&all)? + "\n")?;
    println!("\nwritten: {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_its_json_has_numbers() {
        let mut table = Table::new(&["what", "p50 ms"]);
        table.push(vec!["short".into(), Cell::Number(12.345, 1)]);
        table.push(vec!["not measured".into()]);
        assert_eq!(table.text(), "what          p50 ms\nshort           12.3\nnot measured\n");
        let json = json!([{ "what": "short", "p50 ms": 12.345 }, { "what": "not measured", "p50 ms": null }]);
        assert_eq!(table.json(), json);
    }
}
