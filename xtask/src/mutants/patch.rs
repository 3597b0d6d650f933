//! What a patch says of itself: the text before its first `diff`, which `git apply` skips.
//!
//! One sentence says what it breaks. Then a line for each test that must fail over it, `Caught-by: PACKAGE TARGET
//! TEST` (the target is `lib` or the name of an integration test), and `Needs: parts` where one of them speaks to a
//! server.

use crate::machine::{self, Fault, Outcome};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

/// A patch with what its head says.
#[derive(Debug)]
pub(crate) struct Patch {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// In one sentence.
    pub(crate) breaks: String,
    pub(crate) caught_by: Vec<Catcher>,
    pub(crate) needs_parts: bool,
    /// The files that it changes, from the workspace's root.
    pub(crate) changes: Vec<String>,
}

/// A test that must fail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Catcher {
    pub(crate) suite: Suite,
    pub(crate) test: String,
}

/// One program of tests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Suite {
    pub(crate) package: String,
    pub(crate) target: String,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package, self.target)
    }
}

/// Every patch of a folder, by number.
pub(crate) fn all(folder: &Path) -> Outcome<Vec<Patch>> {
    let files = fs::read_dir(folder)
        .map_err(|error| Fault::one(format!("cannot read `{}`: {error}", folder.display())))?;
    let mut all = Vec::new();
    for path in files.flatten().map(|file| file.path()) {
        if path.extension().is_some_and(|own| own == "patch") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            all.push(Patch { path: path.clone(), ..Patch::read(&name, &machine::read(&path)?)? });
        }
    }
    all.sort_by_key(|one| one.number);
    match all.windows(2).find(|two| two.first().map(|one| one.number) == two.last().map(|one| one.number)) {
        Some(two) => Err(Fault::one(format!("mutants: two patches have one number: {two:?}"))),
        None => Ok(all),
    }
}

/// Those whose numbers are given, or all.
pub(crate) fn choose<'a>(all: &'a [Patch], numbers: Option<&str>) -> Outcome<Vec<&'a Patch>> {
    let Some(numbers) = numbers else { return Ok(all.iter().collect()) };
    let mut chosen = Vec::new();
    for word in numbers.split(',') {
        let found = word.parse().ok().and_then(|number: u32| all.iter().find(|one| one.number == number));
        chosen.push(found.ok_or_else(|| Fault::one(format!("mutants: no patch has the number `{word}`")))?);
    }
    Ok(chosen)
}

/// Tests, by the program that has them.
pub(crate) fn by_suite(all: BTreeSet<&Catcher>) -> BTreeMap<&Suite, Vec<&Catcher>> {
    let mut suites: BTreeMap<&Suite, Vec<&Catcher>> = BTreeMap::new();
    for one in all {
        suites.entry(&one.suite).or_default().push(one);
    }
    suites
}

impl Patch {
    /// Reads the text of the patch `NN-name`.
    pub(crate) fn read(file: &str, text: &str) -> Outcome<Self> {
        let fault = |what: &str| Fault::one(format!("mutants: `{file}`: {what}"));
        let (number, name) = file
            .split_once('-')
            .and_then(|(number, name)| Some((number.parse().ok()?, name.to_owned())))
            .ok_or_else(|| fault("a patch is named `NN-name.patch`"))?;
        let changes: Vec<String> = text.lines().filter_map(changed).map(str::to_owned).collect();
        if changes.is_empty() {
            return Err(fault("it changes nothing"));
        }
        let head = text.lines().take_while(|line| changed(line).is_none()).map(str::trim);
        let (mut breaks, mut caught_by, mut needs_parts) = (Vec::new(), Vec::new(), false);
        for line in head.filter(|line| !line.is_empty()) {
            match line.split_once(": ") {
                Some(("Caught-by", named)) => caught_by.push(
                    Catcher::read(named)
                        .ok_or_else(|| fault("a test is named as `Caught-by: PACKAGE TARGET TEST`"))?,
                ),
                Some(("Needs", "parts")) => needs_parts = true,
                _ => breaks.push(line),
            }
        }
        if breaks.is_empty() || caught_by.is_empty() {
            return Err(fault("its head says what it breaks, then `Caught-by: PACKAGE TARGET TEST`"));
        }
        let breaks = breaks.join(" ");
        Ok(Self { number, name, path: PathBuf::new(), breaks, caught_by, needs_parts, changes })
    }
}

impl Catcher {
    fn read(named: &str) -> Option<Self> {
        let words: Vec<&str> = named.split_whitespace().collect();
        let [package, target, test] = words[..] else { return None };
        let suite = Suite { package: package.to_owned(), target: target.to_owned() };
        Some(Self { suite, test: test.to_owned() })
    }
}

/// The file that a line of a patch begins to change.
fn changed(line: &str) -> Option<&str> {
    line.strip_prefix("diff --git a/")?.split(" b/").next()
}

#[cfg(test)]
mod tests {
    //! Proves that a head is read or refused, that numbers choose, and that every patch of the project names product
    //! code, and tests that there are.

    use super::{Catcher, Patch, Suite, all, choose};
    use std::{collections::BTreeSet, fs, path::Path};

    const DIFF: &str =
        "diff --git a/crates/keeper/src/a.rs b/crates/keeper/src/a.rs\n-a: b\n+Caught-by: no\n";

    fn read(head: &str) -> Option<Patch> {
        Patch::read("05-anchor-skipped", &format!("{head}{DIFF}")).ok()
    }

    #[test]
    fn a_head_says_what_is_broken_and_what_catches_it() {
        let one = read("Nothing is\nanchored.\n\nCaught-by: k lib a::b\nCaught-by: k it c\nNeeds: parts\n\n");
        let one = one.unwrap();
        assert_eq!((one.number, one.name.as_str(), one.needs_parts), (5, "anchor-skipped", true));
        assert_eq!(
            (one.breaks.as_str(), one.changes),
            ("Nothing is anchored.", vec![String::from("crates/keeper/src/a.rs")])
        );
        let suite = Suite { package: "k".to_owned(), target: "lib".to_owned() };
        assert_eq!(one.caught_by.first(), Some(&Catcher { suite, test: "a::b".to_owned() }));
        assert_eq!(one.caught_by.len(), 2);
    }

    #[test]
    fn a_head_that_names_nothing_is_refused() {
        for head in ["", "It breaks.\n", "Caught-by: k lib a\n", "It breaks.\nCaught-by: k a\n"] {
            assert!(read(head).is_none(), "{head:?}");
        }
        assert!(Patch::read("5", &format!("It breaks.\nCaught-by: k lib a\n{DIFF}")).is_err());
        assert!(Patch::read("05-a", "It breaks.\nCaught-by: k lib a\n").is_err(), "no diff");
    }

    #[test]
    fn numbers_choose_and_one_that_nobody_has_is_said() {
        let named =
            |name| Patch::read(name, &format!("It breaks.\nCaught-by: k lib a\n{DIFF}")).ok().unwrap();
        let all = [named("01-a"), named("05-b"), named("12-c")];
        let chosen = |numbers| {
            let chosen = choose(&all, numbers).ok()?;
            Some(chosen.into_iter().map(|one| one.number).collect::<Vec<_>>())
        };
        assert_eq!(chosen(None), Some(vec![1, 5, 12]));
        assert_eq!(chosen(Some("12,05")), Some(vec![12, 5]));
        assert_eq!(chosen(Some("2")), None);
        assert_eq!(chosen(Some("")), None);
    }

    /// The text of every file of Rust below a folder.
    fn code(folder: &Path) -> String {
        let files = fs::read_dir(folder).unwrap().flatten().map(|file| file.path());
        files
            .map(|path| match path.is_dir() {
                true => code(&path),
                false if path.extension().is_some_and(|own| own == "rs") => fs::read_to_string(path).unwrap(),
                false => String::new(),
            })
            .collect()
    }

    #[test]
    fn the_projects_patches_break_product_code_and_name_tests_that_there_are() {
        let root = crate::machine::root().ok().unwrap();
        let all = all(&root.join("mutants")).ok().unwrap();
        assert_eq!(all.len(), 25, "SPEC.md says how many");
        for one in &all {
            let is_product = |path: &String| path.contains("/src/") && !path.contains("test");
            assert!(one.changes.iter().all(is_product), "{}: {:?}", one.name, one.changes);
        }
        let named: BTreeSet<&Catcher> = all.iter().flat_map(|one| &one.caught_by).collect();
        for (suite, tests) in super::by_suite(named) {
            let room = suite.package.strip_prefix("nightlatch-").unwrap_or(&suite.package);
            let code = code(&root.join("crates").join(room));
            for Catcher { test, .. } in tests {
                let name = test.rsplit("::").next().unwrap_or(test);
                assert!(code.contains(&format!("fn {name}(")), "no `{name}` in {suite}");
            }
        }
    }
}
