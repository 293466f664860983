//! [`Outcome`]: what a run went through, as a row of a table.

use std::time::Duration;

/// What a run that held has gone through.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done.
    pub what: &'static str,
    /// How often somebody was killed, restarted or logged off.
    pub interruptions: usize,
    /// How many messages were acknowledged, and seen once each.
    pub messages: u64,
    /// How many messages were told again after a crash, under the same id.
    pub retold: u64,
    /// The longest that was waited for what was due.
    pub longest_wait: Duration,
    /// How long the run took.
    pub time: Duration,
}

/// Renders outcomes as a table.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let head = ["run", "interruptions", "messages", "told again", "longest wait s", "total s"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(outcomes.iter().map(|outcome| {
        [
            outcome.what.to_owned(),
            outcome.interruptions.to_string(),
            outcome.messages.to_string(),
            outcome.retold.to_string(),
            format!("{:.1}", outcome.longest_wait.as_secs_f64()),
            format!("{:.0}", outcome.time.as_secs_f64()),
        ]
    }));
    let widths: Vec<usize> =
        (0..head.len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let outcome = Outcome {
            what: "kills",
            interruptions: 300,
            messages: 12_345,
            retold: 7,
            longest_wait: Duration::from_millis(1234),
            time: Duration::from_secs(90),
        };
        let expected = "\
run    interruptions  messages  told again  longest wait s  total s
kills            300     12345           7             1.2       90
";
        assert_eq!(table(&[outcome]), expected);
    }
}
