//! [`Report`]: what an experiment found, as a table, as JSON, and as plots.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::plot::Chart;

/// Where reports go.
const DIRECTORY: &str = "target/sim";

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) name: &'static str,
    /// How it was measured, one fact in each line.
    pub(crate) conditions: Vec<String>,
    /// The heading of the labels, then those of the numbers, each with how many decimals are shown.
    pub(crate) label: &'static str,
    pub(crate) columns: Vec<(&'static str, usize)>,
    pub(crate) rows: Vec<(String, Vec<f64>)>,
    pub(crate) charts: Vec<(&'static str, Chart)>,
}

impl Report {
    /// Returns the table as text.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![
            std::iter::once(self.label.to_owned())
                .chain(self.columns.iter().map(|(name, _)| (*name).to_owned()))
                .collect::<Vec<_>>(),
        ];
        for (label, values) in &self.rows {
            let numbers = values.iter().zip(&self.columns);
            let numbers = numbers.map(|(value, (_, decimals))| format!("{value:.decimals$}"));
            lines.push(std::iter::once(label.clone()).chain(numbers).collect());
        }
        let widths: Vec<usize> = (0..=self.columns.len())
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = format!("\n{}\n", self.name);
        for condition in &self.conditions {
            _ = writeln!(text, "  {condition}");
        }
        for (number, line) in lines.iter().enumerate() {
            let cells = line.iter().zip(&widths);
            let cells: Vec<_> = cells.map(|(cell, width)| format!("{cell:>width$}")).collect();
            _ = writeln!(text, "| {} |", cells.join(" | "));
            if number == 0 {
                let rules: Vec<_> =
                    widths.iter().map(|width| format!("{}:", "-".repeat(width + 1))).collect();
                _ = writeln!(text, "|{}|", rules.join("|"));
            }
        }
        text
    }

    /// Writes JSON and plots, and returns where.
    pub(crate) fn write(&self) -> std::io::Result<String> {
        let directory = Path::new(DIRECTORY);
        std::fs::create_dir_all(directory)?;
        let mut paths = vec![directory.join(format!("{}.json", self.name))];
        std::fs::write(&paths[0], format!("{:#}\n", self.json()))?;
        for (name, chart) in &self.charts {
            let path = directory.join(format!("{name}.svg"));
            std::fs::write(&path, chart.svg())?;
            paths.push(path);
        }
        let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        Ok(paths.join(", "))
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|(label, values)| {
                let numbers = self
                    .columns
                    .iter()
                    .zip(values)
                    .map(|((name, _), value)| ((*name).to_owned(), json!(value)));
                let mut row: serde_json::Map<String, Value> = numbers.collect();
                row.insert(self.label.to_owned(), json!(label));
                Value::Object(row)
            })
            .collect();
        json!({ "experiment": self.name, "conditions": self.conditions, "rows": rows })
    }
}
