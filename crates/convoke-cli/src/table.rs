//! Columns, aligned so that people find their way, and times as they stand in them.

use std::io::{self, IsTerminal as _};

use crate::exit::Failure;
use crate::output::{Output, Reader};
use crate::render;
use crate::screen::{On, Part, coloured};

/// What stands where nothing is known, so that the columns after it stay where they are.
const NOTHING: &str = "-";

/// Between two columns.
const GAP: usize = 2;

/// Rows of columns. What is in them does not act on a terminal.
pub(crate) struct Table {
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(titles: &[&str]) -> Table {
        Table { titles: titles.iter().map(|title| (*title).to_owned()).collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| match cell.as_str() {
            "" => NOTHING.to_owned(),
            cell => render::escaped(cell).into_owned(),
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Prints it; the titles only where a person reads.
    pub(crate) fn print(mut self) -> Result<(), Failure> {
        let titled = io::stdout().is_terminal() && !self.rows.is_empty();
        if titled {
            let titles = std::mem::take(&mut self.titles);
            self.rows.insert(0, titles);
        }
        let mut output = Output::default();
        for (row, line) in lines(&self.rows).enumerate() {
            let line = if titled && row == 0 { coloured(On::Stdout, Part::Title, line) } else { line.into() };
            if output.line(&line)? == Reader::Gone {
                return Ok(());
            }
        }
        output.flush().map(|_| ())
    }
}

fn lines(rows: &[Vec<String>]) -> impl Iterator<Item = String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    rows.iter().map(move |row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<0$}", width + GAP));
        cells.collect::<String>().trim_end().to_owned()
    })
}

/// A moment, given in milliseconds since 1970, in UTC: `2026-11-22T00:29:52Z`. Empty for zero, which is no moment, and
/// for what is beyond the year 9999.
pub(crate) fn moment(ms: u64) -> String {
    let (mut days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    for year in (1970..10_000).filter(|_| ms > 0) {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        for (month, length) in (1..).zip([31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
            if days < length {
                let (day, hour, minute, second) = (days + 1, seconds / 3600, seconds / 60 % 60, seconds % 60);
                return format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
            }
            days -= length;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["NODE", "HOST"]);
        table.row(["press-1".to_owned(), String::new(), "1".to_owned()]);
        table.row(["ö".to_owned(), "a\u{1b}b".to_owned(), String::new()]);
        let lines: Vec<String> = lines(&table.rows).collect();
        assert_eq!(lines, ["press-1  -         1", "ö        a\\u001bb  -"]);
    }

    #[test]
    fn a_moment_is_shown_in_utc() {
        for (seconds, text) in [
            (1, "1970-01-01T00:00:01Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_795_307_392, "2026-11-22T00:29:52Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(moment(seconds * 1000), text);
        }
        assert_eq!(moment(0) + &moment(u64::MAX), "");
    }
}
