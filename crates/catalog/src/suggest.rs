//! The nearest of some known words, for "did you mean". Only what is really near is named: a wrong guess
//! costs a reader more than none.

/// The candidate that is nearest to `word`, where one lies within a third of its length.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = (word.chars().count() / 3).max(1);
    let measured = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    measured.filter(|(far, _)| *far <= near).min().map(|(_, candidate)| candidate)
}

/// The words in backticks, comma-separated.
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Edits (insert, delete, replace) that turn one word into the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().take(64).enumerate() {
        let mut corner = index;
        let mut last = index + 1;
        let mut next = vec![last];
        for (cell, other) in row.iter().skip(1).zip(&right) {
            last = (corner + usize::from(letter != *other)).min(cell + 1).min(last + 1);
            corner = *cell;
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn a_slip_of_the_finger_is_named_and_a_stranger_is_not() {
        assert_eq!(nearest("efect", ["effect", "page"]), Some("effect"));
        assert_eq!(nearest("repos.gte", ["repos.get", "repos.delete"]), Some("repos.get"));
        assert_eq!(nearest("colour", ["effect", "page"]), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
