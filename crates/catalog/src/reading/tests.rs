//! Proves that a file's every finding is told at once, with its line and what to write.

use super::{FILE_LIMIT_BYTES, FileError, document};
use proptest::prelude::proptest;

fn read(text: &str) -> Result<(String, u64), FileError> {
    document("x.toml", text, |_, fields| {
        let name = fields.required("name").and_then(|value| value.text().map(str::to_owned));
        let count = fields.required("count").and_then(|value| value.number(10));
        let _ = fields.optional("colour").and_then(|value| value.word(&[("red", ()), ("green", ())]));
        let _ = fields
            .optional("list")
            .map(|value| value.one_or_more().iter().filter_map(|entry| entry.text()).count());
        if let Some(mut inner) = fields.optional("inner").and_then(|value| value.table("`inner`")) {
            let _ = inner.optional("flag").and_then(|value| value.boolean());
            inner.finish();
        }
        Some((name?, count?))
    })
}

fn findings(text: &str) -> Vec<(usize, String)> {
    let error = read(text).expect_err(text);
    error.findings.into_iter().map(|finding| (finding.line, finding.message)).collect()
}

#[test]
fn a_sound_file_is_read() {
    assert_eq!(
        read("name = 'a'\ncount = 0x0a\nlist = 'one'\n[inner]\nflag = true"),
        Ok(("a".to_owned(), 10))
    );
}

#[test]
fn every_finding_is_told_with_its_line() {
    let found = findings("nam = 'a'\ncount = 'x'\ncolour = 'gren'\n[inner]\nflg = true\n");
    let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 1, 2, 3, 5]);
    let all = read("nam = 'a'\ncount = 'x'\ncolour = 'gren'\n[inner]\nflg = true\n").unwrap_err().to_string();
    for part in [
        "x.toml:1: the file has no key `nam`: did you mean `name`?",
        "x.toml:1: the file has no `name`: write `name = …`",
        "x.toml:2: `count` must be a whole number, and this is a TOML string",
        "x.toml:3: `gren` is no value of `colour`: did you mean `green`?",
        "x.toml:5: `inner` has no key `flg`: did you mean `flag`?",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
}

#[test]
fn an_unknown_key_far_from_any_lists_what_may_stand_there() {
    let found = findings("name = 'a'\ncount = 1\nzzzzzz = 1");
    assert!(found[0].1.contains("it may hold `name`, `count`"), "{found:?}");
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let found = findings("name = 'a'\ncount = = 3\n");
    assert!(found.iter().all(|(line, message)| *line == 2 && message.starts_with("not TOML: ")), "{found:?}");
    assert!(findings("name = 'a'\nname = 'b'")[0].1.contains("duplicate key"));
}

#[test]
fn a_number_outside_its_bounds_is_refused() {
    assert!(findings("name = 'a'\ncount = 11")[0].1.contains("from 0 to 10"));
    assert!(findings("name = 'a'\ncount = -1")[0].1.contains("from 0 to 10"));
}

#[test]
fn an_overlong_file_is_refused_unread() {
    let text = format!("name = '{}'", "a".repeat(FILE_LIMIT_BYTES));
    assert!(findings(&text)[0].1.contains("longer than"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(text in "(?s).{0,200}") {
        let _ = read(&text);
    }
}
