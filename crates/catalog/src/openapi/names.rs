//! Names: words out of whatever style they are written in, ids that are told apart, variables of templates.

use nightlatch_domain::{grant::is_operation_id, tool::Effect};
use std::collections::BTreeSet;

/// The longest id of an operation.
const ID_MAX_BYTES: usize = 80;
/// The longest name of a variable.
const VARIABLE_MAX_BYTES: usize = 40;

/// The words of a name, in lower case and singular: `listAPIKeys`, `list-api-keys` and `list.api_keys` are all
/// `list`, `api`, `key`.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + use<> {
    words_as_written(text).map(singular)
}

/// The words of a name, in lower case.
pub(super) fn words_as_written(text: &str) -> impl Iterator<Item = String> + use<> {
    let letters: Vec<char> = text.chars().take(4096).collect();
    let mut found = vec![String::new()];
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| letters.get(before));
        let after = letters.get(index + 1);
        let is_start = letter.is_uppercase()
            && (before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit())
                || (before.is_some_and(|before| before.is_uppercase())
                    && after.is_some_and(|after| after.is_lowercase())));
        if !letter.is_alphanumeric() || is_start {
            found.push(String::new());
        }
        if let Some(word) = found.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    found.into_iter().filter(|word| !word.is_empty())
}

fn singular(word: String) -> String {
    if let Some(stem) = word.strip_suffix("ies").filter(|stem| stem.len() > 2) {
        return format!("{stem}y");
    }
    match word.strip_suffix('s').filter(|stem| stem.len() > 2 && !stem.ends_with(['s', 'u', 'i'])) {
        Some(stem) => stem.to_owned(),
        None => word,
    }
}

/// Ids that were given, so that each is given once.
#[derive(Default)]
pub(super) struct Ids(BTreeSet<String>);

impl Ids {
    /// An id made of what the document calls an operation, or of its method and path where it calls it nothing.
    pub(super) fn take(&mut self, called: &str, method: &str, path: &str) -> String {
        let plain = plain(called);
        let wanted = match plain.is_empty() {
            false => plain,
            true => self::plain(&format!("{}.{}", method.to_lowercase(), path.replace(['{', '}'], ""))),
        };
        let is_effect = Effect::ALL.iter().any(|effect| effect.as_str() == wanted);
        let wanted = match is_operation_id(&wanted) && !is_effect {
            true => wanted,
            false => format!("{}.call", shortened(&wanted, ID_MAX_BYTES - 5)),
        };
        let mut id = wanted.clone();
        let mut number = 1_usize;
        while !self.0.insert(id.clone()) {
            number += 1;
            let suffix = format!("-{number}");
            id = format!("{}{suffix}", shortened(&wanted, ID_MAX_BYTES - suffix.len()));
        }
        id
    }
}

/// Only what an id may hold, with one dash for all else.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for letter in text.chars() {
        let fits = letter.is_ascii_alphanumeric() || "._/-".contains(letter);
        match fits {
            true => plain.push(letter),
            false if plain.ends_with('-') => {}
            false => plain.push('-'),
        }
    }
    let edges = |letter: char| "-./".contains(letter);
    shortened(plain.trim_matches(edges), ID_MAX_BYTES).trim_end_matches(edges).to_owned()
}

/// The beginning of an ASCII text.
fn shortened(text: &str, most: usize) -> &str {
    text.get(..most).unwrap_or(text)
}

/// A template's name for a variable, told from those before it in the path.
pub(super) fn variable(called: &str, before: &[String]) -> String {
    let mut name = String::new();
    for letter in called.chars() {
        if letter.is_ascii_uppercase()
            && !name.is_empty()
            && name.ends_with(|last: char| last.is_ascii_lowercase())
        {
            name.push('_');
        }
        match letter.is_ascii_alphanumeric() {
            true => name.push(letter.to_ascii_lowercase()),
            false if name.is_empty() || name.ends_with('_') => {}
            false => name.push('_'),
        }
    }
    let name = name.trim_end_matches('_');
    let name = if name.is_empty() { "value" } else { shortened(name, VARIABLE_MAX_BYTES - 4) };
    let taken = |name: &str| before.iter().any(|other| other == name);
    let numbered = (2_usize..).map(|number| format!("{name}_{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Ids, variable, words};
    use nightlatch_domain::grant::is_operation_id;
    use proptest::prelude::proptest;

    fn split(text: &str) -> Vec<String> {
        words(text).collect()
    }

    #[test]
    fn every_style_of_name_has_the_same_words() {
        for text in ["listAPIKeys", "list-api-keys", "list.api_keys", "List API keys", "list/api/keys"] {
            assert_eq!(split(text), ["list", "api", "key"], "{text}");
        }
        assert_eq!(split("GetOAuth2Policies"), ["get", "o", "auth2", "policy"]);
        assert_eq!(split("access status bus"), ["access", "status", "bus"]);
    }

    #[test]
    fn an_id_is_canonical_and_given_once() {
        let mut ids = Ids::default();
        assert_eq!(ids.take("repos/get", "GET", "/x"), "repos/get");
        assert_eq!(ids.take("repos/get", "GET", "/y"), "repos/get-2");
        assert_eq!(ids.take("", "GET", "/users/{id}"), "get./users/id");
        assert_eq!(ids.take("read", "GET", "/x"), "read.call");
        assert_eq!(ids.take("Löschen!", "DELETE", "/x"), "L-schen");
        assert_eq!(ids.take(&"x".repeat(100), "GET", "/x").len(), 80);
        assert_eq!(ids.take(&"x".repeat(100), "GET", "/x").len(), 80);
    }

    #[test]
    fn a_variable_is_spelled_plainly_and_told_from_others() {
        assert_eq!(variable("AccountSid", &[]), "account_sid");
        assert_eq!(variable("issue-number", &[]), "issue_number");
        assert_eq!(variable("id", &["id".into()]), "id_2");
        assert_eq!(variable("…", &[]), "value");
    }

    proptest! {
        #[test]
        fn whatever_it_is_called_the_id_is_one(called in ".{0,120}", path in "/[a-z{}/]{0,40}") {
            let mut ids = Ids::default();
            for _ in 0..3 {
                assert!(is_operation_id(&ids.take(&called, "GET", &path)));
            }
        }
    }
}
