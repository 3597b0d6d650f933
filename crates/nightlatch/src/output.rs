//! What a command prints: results to standard output, everything else to standard error.

use crate::error::Failure;
use jiff::{Timestamp as Instant, tz::TimeZone};
use nightlatch_domain::clock::Timestamp;
use serde::Serialize;
use std::{
    fmt::Display,
    io::{self, Write as _},
    time::Duration,
};

/// Where results go, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program asks.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints a result: as JSON, or as `text` writes it for a person.
    pub(crate) fn result<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let mut text = if self.json {
            serde_json::to_string_pretty(value).map_err(io::Error::from)?
        } else {
            text(value)
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
        Ok(())
    }

    /// Says to a person what can be done next; a program that asked for JSON is told nothing beside it.
    pub(crate) fn next(self, line: impl Display) {
        if !self.json {
            hint(line);
        }
    }

    /// Prints why a command failed.
    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            let problem = serde_json::to_string(&failure.problem());
            hint(problem.unwrap_or_else(|_| failure.to_string()));
        } else {
            hint(format!("nightlatch: {failure}"));
        }
    }
}

/// Says one line to the person at the terminal.
pub(crate) fn hint(line: impl Display) {
    // Nobody is left to be told that standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Rows under a heading, in columns.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heading.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut heading.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// `name  value` lines.
pub(crate) fn facts(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// Local time as people read it near `now`: the hour today, the day else.
pub(crate) fn clock_time(at: Timestamp, now: Timestamp) -> String {
    local(at, now, &TimeZone::system())
}

fn local(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let zoned = |at: Timestamp| Instant::from_millisecond(at.millis()).map(|at| at.to_zoned(zone.clone()));
    let (Ok(at), Ok(now)) = (zoned(at), zoned(now)) else { return "–".to_owned() };
    let form = if at.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    at.strftime(form).to_string()
}

/// `in 58 min`, `in 3 h`, `in 12 days`; `over` when it has passed.
pub(crate) fn until(at: Timestamp, now: Timestamp) -> String {
    if at <= now {
        return "over".to_owned();
    }
    format!("in {}", span(at.since(now)))
}

/// A span in its largest unit that is not too coarse.
pub(crate) fn span(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0..=119 => format!("{secs} s"),
        120..=7199 => format!("{} min", secs / 60),
        7200..=172_799 => format!("{} h", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    }
}

/// The text, or a dash.
pub(crate) fn or_dash(text: Option<impl Display>) -> String {
    text.map_or_else(|| "–".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::{local, span, table, until};
    use jiff::tz::TimeZone;
    use nightlatch_domain::clock::Timestamp;
    use std::time::Duration;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_in_letters() {
        let rows = vec![vec!["a".to_owned(), "–".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["ONE", "TWO", "NEXT"], &rows), "ONE   TWO   NEXT\na     –     x\n");
    }

    #[test]
    fn a_time_of_today_is_an_hour_and_another_day_has_its_date() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        assert_eq!(local(now.plus(Duration::from_secs(60)), now, &TimeZone::UTC), "22:14");
        assert_eq!(local(now.plus(Duration::from_secs(7200)), now, &TimeZone::UTC), "2023-11-15 00:13");
    }

    #[test]
    fn spans_are_said_in_one_unit() {
        assert_eq!(span(Duration::from_secs(58 * 60)), "58 min");
        assert_eq!(span(Duration::from_secs(3 * 3600)), "3 h");
        assert_eq!(until(Timestamp::from_millis(0), Timestamp::from_millis(1)), "over");
    }
}
