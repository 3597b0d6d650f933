//! The part of the house style that can be counted, held against every file that git knows or would add.
//!
//! A rule is here if a machine can judge it without being wrong: that a file says what it is, that no test sleeps or
//! is switched off, that nothing unfinished and no path of one machine is committed, that files stay readable in one
//! sitting. The words a rule looks for are put together from halves, so that this file does not find itself.

use std::{fs, path::Path, process::Command};

use crate::machine::{self, Fault, Outcome};

/// Files of Rust that may hold more than [`CODE_LINES`] lines of code, each with the reason.
const LONG: &[(&str, &str)] = &[];

/// How many lines of code (not blank, not comment) a file of Rust may hold.
const CODE_LINES: usize = 600;

/// What a file opens with within its first lines.
const OPENING_LINES: usize = 3;

/// A comment with these words, on the line or the one before it, lets a test wait: only where `eventually` polls.
const MAY_SLEEP: &str = "tidy: sleeps because";

/// Signs of unfinished work, in any text that people wrote.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Folders of one machine.
const MACHINES: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// What switches a test off, or lets it pass for the wrong reason.
const DULLED: [&str; 2] = [concat!("#[ig", "nore"), concat!("should", "_panic")];

/// What makes a test slow and still unsure.
const SLEEPS: [&str; 2] = [concat!("thread::", "sleep"), concat!("time::", "sleep(")];

/// Looks at every file.
pub(crate) fn check() -> Outcome {
    let root = machine::root()?;
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&root);
    let listed = machine::output(&mut git)?;
    let mut findings = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        findings.extend(judge_file(&root, path)?);
    }
    Fault::unless_empty("tidy", findings)
}

/// What is wrong with one file; nothing if it was deleted or is no text.
fn judge_file(root: &Path, path: &str) -> Outcome<Vec<String>> {
    let full = root.join(path);
    if !full.is_file() {
        return Ok(Vec::new());
    }
    let bytes =
        fs::read(&full).map_err(|error| Fault::one(format!("tidy: cannot read `{path}`: {error}")))?;
    Ok(std::str::from_utf8(&bytes).map(|text| findings(path, text)).unwrap_or_default())
}

/// What is wrong with this text, were it the file at `path`.
fn findings(path: &str, text: &str) -> Vec<String> {
    let mut found = of_any_text(path, text);
    if path.ends_with(".rs") {
        found.extend(of_rust(path, text));
    }
    if path.ends_with("package-lock.json") && text.contains("\"resolved\"") {
        found.push(format!("{path}: records where packages were fetched; `omit-lockfile-registry-resolved=true` leaves it out"));
    }
    found
}

fn of_any_text(path: &str, text: &str) -> Vec<String> {
    if path.ends_with(".lock") || path.ends_with("package-lock.json") || path == "LICENSE" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in numbered(text) {
        if let Some(word) = UNFINISHED.iter().find(|word| holds_word(line, word)) {
            found.push(format!(
                "{path}:{number}: `{word}`: finish it, or say in the docs that it is not built"
            ));
        }
        if let Some(folder) = MACHINES.iter().find(|folder| holds_folder(line, folder)) {
            found.push(format!(
                "{path}:{number}: `{folder}` is a folder of one machine: make it relative or an argument"
            ));
        }
    }
    found
}

fn of_rust(path: &str, text: &str) -> Vec<String> {
    let mut found: Vec<String> = opening(path, text).into_iter().chain(length(path, text)).collect();
    let tests_begin = if is_test_file(path) { 1 } else { inline_tests(text) };
    let mut before = "";
    for (number, line) in numbered(text) {
        if line.contains(concat!("todo", "!(")) {
            found.push(format!("{path}:{number}: unbuilt code: build it, or answer `not-supported`"));
        }
        if let Some(mark) = DULLED.iter().find(|mark| line.contains(**mark)) {
            found.push(format!("{path}:{number}: `{mark}`: a test runs, and asserts what it expects"));
        }
        let sleeps = number >= tests_begin && SLEEPS.iter().any(|call| line.contains(call));
        if sleeps && !line.contains(MAY_SLEEP) && !before.contains(MAY_SLEEP) {
            found.push(format!("{path}:{number}: a test sleeps: poll with a deadline, or inject the clock"));
        }
        before = line;
    }
    found
}

fn opening(path: &str, text: &str) -> Option<String> {
    let opening: Vec<&str> = text.lines().take(OPENING_LINES).collect();
    if opening.iter().any(|line| line.trim() == concat!("//! place", "holder")) {
        return Some(format!("{path}: still a stand-in: write what the file is for"));
    }
    let says = opening.iter().any(|line| line.starts_with("//!"));
    (!says).then(|| format!("{path}: does not open with `//!`: say what the file is, then why it is so"))
}

fn length(path: &str, text: &str) -> Option<String> {
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    let excused = LONG.iter().any(|(file, _)| *file == path);
    (lines > CODE_LINES && !excused).then(|| {
        format!("{path}: {lines} lines of code, more than {CODE_LINES}: split it along its seams, or give the reason in `LONG`")
    })
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|folder| folder == "tests")
}

/// The line where the tests inside a file begin; past the end if there are none.
fn inline_tests(text: &str) -> usize {
    numbered(text).find(|(_, line)| line.contains("#[cfg(test)]")).map_or(usize::MAX, |(number, _)| number)
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// True if `word` stands in the line by itself.
fn holds_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line.get(..at), line.get(at + word.len()..));
        !before.is_some_and(|text| text.ends_with(part)) && !after.is_some_and(|text| text.starts_with(part))
    })
}

/// True if `folder` begins a path in the line, and is not a part of a longer path or address.
fn holds_folder(line: &str, folder: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || "._-}*/".contains(c);
    line.match_indices(folder).any(|(at, _)| !line.get(..at).is_some_and(|text| text.ends_with(inner)))
}

#[cfg(test)]
mod tests {
    //! Proves that each rule finds what it is for, and lets pass what only looks like it.

    use super::{CODE_LINES, findings};

    fn rust(body: &str) -> Vec<String> {
        findings("crates/domain/src/task.rs", &format!("//! What a task is.\n{body}\n"))
    }

    fn rust_test(body: &str) -> Vec<String> {
        findings("crates/domain/tests/it/task.rs", &format!("//! Proves tasks.\n{body}\n"))
    }

    #[test]
    fn a_file_says_what_it_is() {
        assert_eq!(rust("pub struct Task;"), Vec::<String>::new());
        assert!(
            findings("crates/domain/src/task.rs", "pub struct Task;\n")[0]
                .contains("does not open with `//!`")
        );
        assert!(findings("src/lib.rs", concat!("//! place", "holder\n"))[0].contains("stand-in"));
    }

    #[test]
    fn a_test_is_neither_switched_off_nor_vague() {
        assert_eq!(rust_test(concat!("#[ig", "nore]")).len(), 1);
        assert_eq!(rust_test(concat!("#[should", "_panic]")).len(), 1);
    }

    #[test]
    fn a_test_does_not_sleep_but_a_timer_of_the_program_may() {
        let sleep = concat!("tokio::time::", "sleep(pause).await;");
        assert_eq!(rust_test(sleep).len(), 1);
        assert_eq!(rust(sleep).len(), 0);
        assert_eq!(rust(&format!("#[cfg(test)]\nmod tests {{\n{sleep}\n}}")).len(), 1);
        assert_eq!(findings("crates/a/src/b/tests.rs", &format!("//! Proves.\n{sleep}")).len(), 1);
    }

    #[test]
    fn eventually_may_sleep_where_it_says_why() {
        let sleep = concat!("std::thread::", "sleep(pause);");
        assert_eq!(
            rust_test(&format!("// tidy: sleeps because it polls until a deadline\n{sleep}")).len(),
            0
        );
        assert_eq!(rust_test(&format!("// waits a little\n{sleep}")).len(), 1);
    }

    #[test]
    fn nothing_unfinished_is_committed() {
        assert_eq!(findings("README.md", concat!("TO", "DO: write")).len(), 1);
        assert_eq!(findings("README.md", concat!("con_01K", "XX", "X and ", "TO", "DOS")).len(), 0);
        assert_eq!(rust(concat!("todo", "!()")).len(), 1);
    }

    #[test]
    fn no_path_of_one_machine_is_committed() {
        assert_eq!(findings("README.md", concat!("see /wo", "rk/main")).len(), 1);
        assert_eq!(findings("README.md", concat!("`/ro", "ot/x`")).len(), 1);
        assert_eq!(findings("README.md", concat!("GET https://api.example/v1/wo", "rk/items")).len(), 0);
    }

    #[test]
    fn a_file_is_read_in_one_sitting() {
        let code = "const A: u8 = 1;\n";
        assert_eq!(rust(&code.repeat(CODE_LINES)), Vec::<String>::new());
        assert_eq!(rust(&"// why\n\n".repeat(CODE_LINES)), Vec::<String>::new());
        assert!(rust(&code.repeat(CODE_LINES + 1))[0].contains("601 lines of code"));
    }

    #[test]
    fn a_lock_file_names_no_registry() {
        assert_eq!(findings("tests/parts/a/package-lock.json", "{\"resolved\": \"somewhere\"}").len(), 1);
    }
}
