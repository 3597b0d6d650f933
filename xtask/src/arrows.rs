//! Which room may import which: the workspace held against `arrows.toml`.
//!
//! The arrows are what keeps "gateway never speaks to keeper" true in a year. A compiler sees only cycles; an
//! arrow that runs the wrong way round, or an HTTP framework in the domain, compiles happily. So the table is
//! written down once and every edge that cargo knows (normal, build and test) must be in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::machine::{self, Fault, Outcome};

type Names = BTreeSet<String>;

/// What `arrows.toml` says.
#[derive(Debug, Default)]
struct Rules {
    arrows: BTreeMap<String, Names>,
    dev: BTreeMap<String, Names>,
    programs: Names,
    stands: BTreeMap<String, Names>,
    only: BTreeMap<String, Only>,
}

/// A closed list of outside dependencies.
#[derive(Debug, Default)]
struct Only {
    normal: Names,
    dev: Names,
}

/// A crate of the workspace, as cargo sees it.
#[derive(Debug)]
struct Room {
    name: String,
    has_library: bool,
    edges: Vec<Edge>,
}

/// One dependency of a room; `inside` says that it is a room too, and then `to` is the room's name.
#[derive(Debug)]
struct Edge {
    to: String,
    inside: bool,
    dev: bool,
}

/// Holds the workspace against the table.
pub(crate) fn check() -> Outcome {
    let root = machine::root()?;
    let rules = rules(&machine::read_toml(&root.join("arrows.toml"))?)?;
    let mut cargo = machine::cargo();
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--locked"]).current_dir(&root);
    let metadata = serde_json::from_str(&machine::output(&mut cargo)?)
        .map_err(|error| Fault::one(format!("`cargo metadata` printed no JSON: {error}")))?;
    Fault::unless_empty("arrows", violations(&rules, &rooms(&metadata)?))
}

/// Every way in which the rooms break the rules.
fn violations(rules: &Rules, rooms: &[Room]) -> Vec<String> {
    let mut found: Vec<String> = unknown_rooms(rules, rooms);
    for room in rooms {
        found.extend(missing_library(rules, room));
        for edge in &room.edges {
            let broken =
                if edge.inside { forbidden_arrow(rules, room, edge) } else { misplaced(rules, room, edge) };
            found.extend(broken);
        }
    }
    found
}

fn unknown_rooms(rules: &Rules, rooms: &[Room]) -> Vec<String> {
    let existing: Names = rooms.iter().map(|room| room.name.clone()).collect();
    let listed: Names = rules.arrows.keys().cloned().collect();
    let unlisted = existing.difference(&listed).map(|room| {
        format!("room `{room}` is not in `arrows.toml`: give it a line under [arrows] that says what it may import")
    });
    let gone = listed.difference(&existing).map(|room| {
        format!(
            "`arrows.toml` lists `{room}`, which does not exist: take the line out until the room is built"
        )
    });
    unlisted.chain(gone).collect()
}

fn missing_library(rules: &Rules, room: &Room) -> Option<String> {
    let needed = !room.has_library && !rules.programs.contains(&room.name);
    needed
        .then(|| format!("room `{}` has no `src/lib.rs`: write the page that says what it is for", room.name))
}

fn forbidden_arrow(rules: &Rules, room: &Room, edge: &Edge) -> Option<String> {
    let listed = |table: &BTreeMap<String, Names>| {
        table.get(&room.name).is_some_and(|allowed| allowed.contains(&edge.to))
    };
    let allowed = listed(&rules.arrows) || (edge.dev && listed(&rules.dev));
    let kind = if edge.dev { "test " } else { "" };
    (!allowed).then(|| {
        format!(
            "{kind}arrow `{}` -> `{}` is not allowed: speak through a port in `domain`, or move the code to the room \
             that the design names for it",
            room.name, edge.to
        )
    })
}

fn misplaced(rules: &Rules, room: &Room, edge: &Edge) -> Option<String> {
    outside_its_room(rules, room, edge).or_else(|| beyond_the_list(rules, room, edge))
}

fn outside_its_room(rules: &Rules, room: &Room, edge: &Edge) -> Option<String> {
    let rooms = rules.stands.get(&edge.to)?;
    (!rooms.contains(&room.name)).then(|| {
        let places: Vec<&str> = rooms.iter().map(String::as_str).collect();
        let places = if places.is_empty() {
            "nowhere".to_owned()
        } else {
            format!("only in `{}`", places.join("`, `"))
        };
        format!(
            "`{}` stands in `{}`, but may stand {places}: use that room's public face",
            edge.to, room.name
        )
    })
}

fn beyond_the_list(rules: &Rules, room: &Room, edge: &Edge) -> Option<String> {
    let only = rules.only.get(&room.name)?;
    let allowed = only.normal.contains(&edge.to) || (edge.dev && only.dev.contains(&edge.to));
    (!allowed).then(|| {
        format!(
            "`{}` depends on `{}`, which its closed list does not name: keep it in a room outside",
            room.name, edge.to
        )
    })
}

/// Reads `arrows.toml`.
fn rules(table: &toml::Table) -> Outcome<Rules> {
    let mut rules = Rules {
        arrows: lists(table, "arrows")?,
        dev: lists(table, "dev")?,
        stands: lists(table, "stands")?,
        ..Rules::default()
    };
    rules.programs = lists(table, "programs")?.remove("rooms").unwrap_or_default();
    for (room, only) in section(table, "only")? {
        let inner = only.as_table().ok_or_else(|| Fault::one(format!("`only.{room}` is not a table")))?;
        let mut names = inner
            .iter()
            .map(|(key, value)| Ok((key.clone(), names(key, value)?)))
            .collect::<Outcome<BTreeMap<_, _>>>()?;
        let normal = names.remove("normal").unwrap_or_default();
        rules.only.insert(room.clone(), Only { normal, dev: names.remove("dev").unwrap_or_default() });
    }
    Ok(rules)
}

fn section<'a>(table: &'a toml::Table, name: &str) -> Outcome<&'a toml::Table> {
    let section = table.get(name).and_then(toml::Value::as_table);
    section.ok_or_else(|| Fault::one(format!("`arrows.toml` has no section [{name}]")))
}

fn lists(table: &toml::Table, name: &str) -> Outcome<BTreeMap<String, Names>> {
    section(table, name)?.iter().map(|(key, value)| Ok((key.clone(), names(key, value)?))).collect()
}

fn names(key: &str, value: &toml::Value) -> Outcome<Names> {
    let bad = || Fault::one(format!("`{key}` in `arrows.toml` is not a list of names"));
    let list = value.as_array().ok_or_else(bad)?;
    list.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(bad)).collect()
}

/// Reads what `cargo metadata` printed.
fn rooms(metadata: &Value) -> Outcome<Vec<Room>> {
    let packages = metadata.get("packages").and_then(Value::as_array);
    let packages = packages.ok_or_else(|| Fault::one("`cargo metadata` lists no packages"))?;
    let ours: Names =
        packages.iter().filter_map(|package| text(package, "name")).map(str::to_owned).collect();
    packages.iter().map(|package| room(package, &ours)).collect()
}

fn room(package: &Value, ours: &Names) -> Outcome<Room> {
    let name =
        text(package, "name").ok_or_else(|| Fault::one("`cargo metadata` lists a package without a name"))?;
    let edges =
        array(package, "dependencies").iter().filter_map(|dependency| edge(dependency, ours)).collect();
    let has_library =
        array(package, "targets").iter().any(|target| array(target, "kind").iter().any(|kind| kind == "lib"));
    Ok(Room { name: short(name).to_owned(), has_library, edges })
}

fn edge(dependency: &Value, ours: &Names) -> Option<Edge> {
    let name = text(dependency, "name")?;
    let inside = ours.contains(name);
    let to = if inside { short(name) } else { name };
    Some(Edge { to: to.to_owned(), inside, dev: text(dependency, "kind") == Some("dev") })
}

/// A room's name is its package's without the family name.
fn short(package: &str) -> &str {
    package.strip_prefix("nightlatch-").unwrap_or(package)
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests;
