//! What may not be compiled into the project, held against what really is.
//!
//! Cargo.lock lists every optional dependency of every dependency; judging that would ban `ring` while nothing
//! compiles it, or hide it among what is excused. So `cargo tree` is asked for one target with the features that
//! are on, build scripts and tests included, and every package in it must pass: not banned, not below its floor,
//! under a licence that the project accepts.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    licence,
    machine::{self, Fault, Outcome},
};

/// What `xtask/bans.toml` says.
#[derive(Debug)]
struct Rules {
    triple: String,
    banned: BTreeMap<String, String>,
    floors: BTreeMap<String, Vec<Version>>,
    licences: Vec<String>,
}

/// A package that is compiled.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: Version,
    licence: String,
}

/// The three numbers of a version, in the order in which they count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u64, u64, u64);

/// Holds what is compiled against the bans.
pub(crate) fn check() -> Outcome {
    let root = machine::root()?;
    let rules = rules(&machine::read_toml(&root.join("xtask/bans.toml"))?)?;
    let mut cargo = machine::cargo();
    cargo.args(["tree", "--workspace", "--locked", "--target", &rules.triple, "-e", "normal,build,dev"]);
    cargo.args(["--prefix", "none", "--format", "{p}|{l}"]).current_dir(&root);
    let packages = packages(&machine::output(&mut cargo)?)?;
    Fault::unless_empty("bans", violations(&rules, &packages))
}

fn violations(rules: &Rules, packages: &BTreeSet<Package>) -> Vec<String> {
    packages
        .iter()
        .flat_map(|package| [banned(rules, package), too_old(rules, package), unlicensed(rules, package)])
        .flatten()
        .collect()
}

fn banned(rules: &Rules, package: &Package) -> Option<String> {
    let reason = rules.banned.get(&package.name)?;
    let name = &package.name;
    Some(format!(
        "`{name}` is compiled ({reason}): `cargo tree -i {name}` shows who asks; turn that feature off"
    ))
}

fn too_old(rules: &Rules, package: &Package) -> Option<String> {
    let floors = rules.floors.get(&package.name)?;
    // The floor that counts is the one of the newest release line that is not above the package's own.
    let floor = floors.iter().rev().find(|floor| floor.line() <= package.version.line());
    let good = floor.is_some_and(|floor| package.version >= *floor);
    let name = &package.name;
    (!good).then(|| {
        let wanted: Vec<String> = floors.iter().map(Version::to_string).collect();
        format!(
            "`{name}` {} is below its floor ({}): `cargo update -p {name}`",
            package.version,
            wanted.join(" or ")
        )
    })
}

fn unlicensed(rules: &Rules, package: &Package) -> Option<String> {
    let met = licence::is_met(&package.licence, &rules.licences);
    (!met).then(|| {
        format!(
            "`{}` has the licence `{}`, which the accepted ones do not meet: choose another crate, or add the licence \
             to `xtask/bans.toml` once a person has read it",
            package.name, package.licence
        )
    })
}

impl Version {
    fn read(text: &str) -> Option<Self> {
        let numbers = text.split(['-', '+']).next()?;
        let mut numbers = numbers.split('.').map(str::parse);
        let mut next = || numbers.next().unwrap_or(Ok(0)).ok();
        Some(Self(next()?, next()?, next()?))
    }

    /// The release line: versions of one line can stand in for each other.
    fn line(self) -> (u64, u64) {
        if self.0 > 0 { (self.0, 0) } else { (0, self.1) }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Reads `xtask/bans.toml`.
fn rules(table: &toml::Table) -> Outcome<Rules> {
    let section = |name: &str| {
        let section = table.get(name).and_then(toml::Value::as_table);
        section.ok_or_else(|| Fault::one(format!("`xtask/bans.toml` has no section [{name}]")))
    };
    let triple = section("target")?.get("triple").and_then(toml::Value::as_str);
    let triple = triple.ok_or_else(|| Fault::one("`xtask/bans.toml` names no target triple"))?.to_owned();
    let banned = section("banned")?
        .iter()
        .map(|(name, why)| (name.clone(), why.as_str().unwrap_or_default().to_owned()));
    let floors = section("floors")?.iter().map(|(name, value)| Ok((name.clone(), floors(name, value)?)));
    let licences = section("licences")?.get("allowed").map(strings).unwrap_or_default();
    Ok(Rules { triple, banned: banned.collect(), floors: floors.collect::<Outcome<_>>()?, licences })
}

fn floors(name: &str, value: &toml::Value) -> Outcome<Vec<Version>> {
    let read: Option<Vec<Version>> = strings(value).iter().map(|text| Version::read(text)).collect();
    let mut floors = read.filter(|floors| !floors.is_empty()).ok_or_else(|| {
        Fault::one(format!("the floor of `{name}` in `xtask/bans.toml` is not a list of versions"))
    })?;
    floors.sort_unstable();
    Ok(floors)
}

fn strings(value: &toml::Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Reads what `cargo tree` printed: `name v1.2.3 (path)|licence (*)`, a line for each place in the tree.
fn packages(tree: &str) -> Outcome<BTreeSet<Package>> {
    let lines = tree.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('['));
    lines
        .map(|line| {
            package(line).ok_or_else(|| Fault::one(format!("`cargo tree` printed a strange line: `{line}`")))
        })
        .collect()
}

fn package(line: &str) -> Option<Package> {
    let (package, licence) = line.split_once('|')?;
    let mut words = package.split_whitespace();
    let name = words.next()?.to_owned();
    let version = Version::read(words.next()?.strip_prefix('v')?)?;
    Some(Package { name, version, licence: licence.trim_end_matches("(*)").trim().to_owned() })
}

#[cfg(test)]
mod tests {
    //! Proves that a banned, an old and a badly licensed package are each refused, and only those.

    use super::{Version, packages, rules, violations};

    fn found(tree: &str) -> Vec<String> {
        let rules = rules(&include_str!("../bans.toml").parse().unwrap()).unwrap();
        violations(&rules, &packages(tree).unwrap())
    }

    #[test]
    fn what_is_compiled_today_in_kind_passes() {
        let tree = "nightlatch v0.1.0 (/somewhere)|Apache-2.0\nhyper v1.12.0|MIT\n\nrand v0.9.3|MIT OR Apache-2.0 (*)\n";
        assert_eq!(found(tree), Vec::<String>::new());
    }

    #[test]
    fn a_banned_package_is_refused_with_its_reason() {
        let found = found("ring v0.17.14|Apache-2.0 AND ISC");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("`ring` is compiled") && found[0].contains("aws-lc-rs"), "{found:?}");
    }

    #[test]
    fn a_version_below_its_floor_is_refused() {
        for (line, bad) in [
            ("h2 v0.4.15", true),
            ("h2 v0.4.16", false),
            ("h2 v0.5.0", false),
            ("h2 v0.3.27", true),
            ("hyper v0.14.32", true),
            ("rand v0.9.2", true),
            ("rand v0.10.0", true),
            ("rand v0.10.1", false),
            ("rand v0.8.5", true),
        ] {
            assert_eq!(found(&format!("{line}|MIT")).len(), usize::from(bad), "{line}");
        }
    }

    #[test]
    fn a_licence_that_nobody_accepted_is_refused() {
        assert!(found("thing v1.0.0|GPL-3.0-only")[0].contains("`GPL-3.0-only`"));
        assert_eq!(found("thing v1.0.0|").len(), 1, "no licence at all");
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let read = |text| Version::read(text).unwrap();
        assert!(
            read("0.10.0") > read("0.9.9")
                && read("1") == read("1.0.0")
                && read("1.2.3+meta") == read("1.2.3")
        );
        assert_eq!(Version::read("latest"), None);
    }
}
