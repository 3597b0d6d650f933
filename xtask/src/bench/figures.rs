//! Numbers of many rounds: medians with their quartiles, and tables of them.

use std::{collections::BTreeMap, fmt};

/// A median with its quartiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Median {
    pub(super) lower: f64,
    pub(super) middle: f64,
    pub(super) upper: f64,
}

impl Median {
    /// Of these; none where there are none.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| values.get((values.len().saturating_sub(1) * quarter + 2) / 4).copied();
        Some(Self { lower: at(1)?, middle: at(2)?, upper: at(3)? })
    }

    /// Of the ratios of each round: what shook both of a pair shakes the ratio less.
    pub(super) fn of_ratios(over: &[f64], under: &[f64]) -> Option<Self> {
        Self::of(
            over.iter()
                .zip(under)
                .filter(|(_, under)| **under > 0.0)
                .map(|(over, under)| over / under)
                .collect(),
        )
    }
}

impl fmt::Display for Median {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}–{})", short(self.middle), short(self.lower), short(self.upper))
    }
}

/// A number with three digits that say something.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Series of numbers, one for each thing that was measured, a number each round.
#[derive(Debug, Default)]
pub(super) struct Series(BTreeMap<String, Vec<f64>>);

impl Series {
    pub(super) fn push(&mut self, name: &str, value: f64) {
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    pub(super) fn of(&self, name: &str) -> &[f64] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn median(&self, name: &str) -> Option<Median> {
        Median::of(self.of(name).to_vec())
    }
}

/// Lines of cells, as wide as the widest of each column.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let all = || std::iter::once(&heading).chain(rows);
    let width =
        |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..heading.len()).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    //! Proves that medians are those of the middle and that ratios are taken round by round.

    use super::{Median, table};

    #[test]
    fn a_median_has_its_quartiles() {
        let median = Median::of(vec![5.0, 1.0, 3.0, 2.0, 4.0]).unwrap();
        assert_eq!((median.lower, median.middle, median.upper), (2.0, 3.0, 4.0));
        assert_eq!(Median::of(vec![7.0]).unwrap().middle, 7.0);
        assert_eq!(Median::of(Vec::new()), None);
    }

    #[test]
    fn a_ratio_is_that_of_one_round() {
        let ratio = Median::of_ratios(&[10.0, 30.0, 20.0], &[10.0, 10.0, 10.0]).unwrap();
        assert_eq!(ratio.middle, 2.0);
        assert_eq!(Median::of_ratios(&[1.0], &[0.0]), None);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let shown = table(&["a", "b"], &[vec!["long".into(), "1".into()]]);
        assert_eq!(shown, "a     b\nlong  1");
    }
}
