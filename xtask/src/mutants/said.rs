//! What a program of tests says of one test, read from what it printed.

/// What became of a test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Passed,
    /// Where it panicked, and the first words of that; none where it said neither.
    Failed(Option<(String, String)>),
    /// It did not run to its end: there is none of that name, or the program ended or hung before.
    Absent,
}

/// What was printed of this test.
pub(crate) fn read(printed: &str, test: &str) -> Said {
    let begin = format!("---- {test} stdout ----");
    let mut lines = printed.lines().skip_while(|line| *line != begin);
    if lines.next().is_some() {
        return Said::Failed(panic(lines.take_while(|line| !line.starts_with("---- "))));
    }
    let passed = format!("test {test} ... ok");
    if printed.lines().any(|line| line == passed) { Said::Passed } else { Said::Absent }
}

/// The first panic of these lines.
fn panic<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<(String, String)> {
    let at = lines.find_map(|line| line.split_once("panicked at ").map(|(_, at)| at))?;
    let words = lines.find(|line| !line.trim().is_empty()).unwrap_or_default();
    Some((at.trim_end_matches(':').to_owned(), words.trim().to_owned()))
}

impl Said {
    /// Why this is no pass.
    pub(crate) fn not_passed(&self) -> Option<String> {
        match self {
            Self::Passed => None,
            Self::Failed(Some((at, words))) => Some(format!("{at}: {words}")),
            Self::Failed(None) => Some("it says nothing".to_owned()),
            Self::Absent => Some("there is no such test, or it did not end".to_owned()),
        }
    }

    /// The assertion that failed: a panic in this project, and not in a file that the patch changed. Otherwise why
    /// this is no catch.
    pub(crate) fn assertion(self, changed: &[String]) -> Result<(String, String), &'static str> {
        match self {
            Self::Failed(Some((at, words))) => {
                let file = at.split(':').next().unwrap_or_default();
                let is_own = file.starts_with("crates/") && !changed.iter().any(|one| one == file);
                if is_own {
                    Ok((at, words))
                } else {
                    Err(
                        "fails outside the project, or in a file that the patch changes: that is no assertion of a test",
                    )
                }
            }
            Self::Failed(None) => Err("fails without an assertion"),
            Self::Passed => Err("passes over it"),
            Self::Absent => Err("does not end: that is no catch"),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Proves that only an assertion of the project's own counts as one.

    use super::{Said, read};

    const PRINTED: &str = "
running 3 tests
test a::passes ... ok
test a::fails ... FAILED
test a::breaks ... FAILED

failures:

---- a::fails stdout ----

thread 'a::fails' (12) panicked at crates/keeper/src/keeping/tests.rs:7:5:
assertion `left == right` failed: once
  left: 1

---- a::breaks stdout ----

thread 'a::breaks' panicked at crates/keeper/src/keeping.rs:9:5:
attempt to subtract with overflow

failures:
    a::fails
    a::breaks

test result: FAILED. 1 passed; 2 failed; 0 ignored
";

    #[test]
    fn a_test_passes_fails_or_is_not_there() {
        assert_eq!(read(PRINTED, "a::passes"), Said::Passed);
        assert_eq!(read(PRINTED, "a::pass"), Said::Absent);
        let at = "crates/keeper/src/keeping/tests.rs:7:5".to_owned();
        let words = "assertion `left == right` failed: once".to_owned();
        assert_eq!(read(PRINTED, "a::fails"), Said::Failed(Some((at, words))));
        assert_eq!(read("test a ... ", "a"), Said::Absent, "it hung");
    }

    #[test]
    fn only_a_failing_assertion_of_a_test_is_a_catch() {
        let changed = ["crates/keeper/src/keeping.rs".to_owned()];
        assert!(read(PRINTED, "a::fails").assertion(&changed).is_ok());
        for other in ["a::breaks", "a::passes", "a::pass"] {
            assert!(read(PRINTED, other).assertion(&changed).is_err(), "{other}");
        }
        let foreign =
            Said::Failed(Some(("/rustc/1/library/core/src/option.rs:1:1".to_owned(), String::new())));
        assert!(foreign.assertion(&changed).is_err());
        assert!(read(PRINTED, "a::passes").not_passed().is_none());
        assert!(read(PRINTED, "a::fails").not_passed().is_some());
    }
}
