//! Which of a tool's path templates a path could be about at all.
//!
//! A tool that was imported from its documentation has a thousand operations and more, and every call is matched.
//! So templates stand in a tree by their segments, and a path walks down it: along the literal that it spells, and
//! along the variables. What is found this way is a *superset* of what fits the path, and of what a careless server
//! could take it for ([`super::template::careless`]); the rules of [`super::matching`] then judge those few
//! templates exactly as they would judge all of them.

use super::{
    Operation, PathTemplate,
    template::{FORMATS, careless_word},
};
use std::{borrow::Cow, collections::BTreeMap};

/// An operation by its place in the manifest, and one of its templates by its place there.
type Place = (usize, usize);

/// The templates of all operations, by route and then by segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PathIndex(BTreeMap<String, Node>);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Node {
    literals: BTreeMap<String, Node>,
    /// Where a segment holds a variable, whatever stands around it.
    variable: Option<Box<Node>>,
    /// Templates that end here.
    ends: Vec<Place>,
    /// Templates that take all that follows.
    open: Vec<Place>,
}

impl PathIndex {
    pub(crate) fn new(operations: &[Operation]) -> Self {
        let mut routes: BTreeMap<String, Node> = BTreeMap::new();
        for (number, operation) in operations.iter().enumerate() {
            for (place, template) in operation.paths.iter().enumerate() {
                let root = routes.entry(operation.route.clone()).or_default();
                root.insert(template, (number, place));
            }
        }
        Self(routes)
    }

    /// The places of all templates that could fit a decoded path, or be taken for it, in the manifest's order.
    pub(crate) fn places(&self, route: &str, path: &[Cow<'_, str>]) -> Vec<Place> {
        let mut found = Vec::new();
        if let Some(root) = self.0.get(route) {
            let keys: Vec<Cow<'_, str>> = path.iter().map(|segment| key(segment)).collect();
            let short = trimmed(&keys, |key| key.is_empty());
            root.collect(short, &mut found);
            // What is nothing to a careless server is a segment to others: `;x` may be an id.
            if short.len() < keys.len() {
                root.collect(&keys, &mut found);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Node {
    fn insert(&mut self, template: &PathTemplate, place: Place) {
        let keys: Vec<Option<String>> = template.literals().map(|text| literal(text?)).collect();
        let (keys, is_open) = match template.ends_open() {
            true => (keys.get(..keys.len().saturating_sub(1)).unwrap_or_default(), true),
            false => (trimmed(&keys, |key| key.as_deref() == Some("")), false),
        };
        let mut node = self;
        for key in keys {
            node = match key {
                Some(key) => node.literals.entry(key.clone()).or_default(),
                None => node.variable.get_or_insert_default(),
            };
        }
        if is_open { &mut node.open } else { &mut node.ends }.push(place);
    }

    fn collect(&self, path: &[Cow<'_, str>], found: &mut Vec<Place>) {
        found.extend_from_slice(&self.open);
        let Some((first, rest)) = path.split_first() else {
            found.extend_from_slice(&self.ends);
            return;
        };
        for next in self.literals.get(&**first).into_iter().chain(self.variable.as_deref()) {
            next.collect(rest, found);
        }
    }
}

/// Without the empty segment that a slash at the end leaves.
fn trimmed<T>(segments: &[T], is_empty: impl Fn(&T) -> bool) -> &[T] {
    match segments {
        [before @ .., last] if is_empty(last) && !before.is_empty() => before,
        all => all,
    }
}

/// The key of a literal; none where a careless server may see nothing in it, and so anything: a format alone.
fn literal(text: &str) -> Option<String> {
    let key = key(text);
    (!FORMATS.contains(&&*key)).then(|| key.into_owned())
}

/// One spelling for all that a literal and a segment could be equal in: exactly, or folded. It folds everywhere what
/// a careless server folds at the end of a path only, so that equal ones always meet.
fn key(text: &str) -> Cow<'_, str> {
    let mut word = careless_word(text);
    let plain = FORMATS.iter().find_map(|format| word.strip_suffix(format)).map(str::len);
    if let Some(len) = plain.filter(|len| *len > 0) {
        match &mut word {
            Cow::Borrowed(text) => *text = text.get(..len).unwrap_or_default(),
            Cow::Owned(text) => text.truncate(len),
        }
    }
    word
}

#[cfg(test)]
mod tests;
