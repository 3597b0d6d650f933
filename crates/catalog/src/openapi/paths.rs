//! A path of the document → a template, the query values that it names, and the resource.

use super::names;
use crate::manifest::{PathTemplate, ResourceTemplate};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

/// A path as a manifest holds it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) template: PathTemplate,
    pub(super) query: BTreeMap<String, String>,
    pub(super) segments: Vec<Segment>,
    /// A variable inside of it that may stand for several segments, and is held where it is one.
    pub(super) spanning: Option<String>,
}

/// A segment, for what is made of it besides the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(String),
    Variable(String),
    /// All that follows.
    Open,
}

impl Segment {
    /// Whether it only says which API it is: `api`, `rest`, `v1`, `2010-04-01`.
    fn is_version(&self) -> bool {
        let Self::Literal(text) = self else { return false };
        let number = text.strip_prefix('v').unwrap_or(text);
        let is_number = number.starts_with(|first: char| first.is_ascii_digit())
            && number.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._".contains(letter));
        is_number || matches!(text.as_str(), "api" | "rest")
    }
}

/// Why a template cannot hold a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unheld(pub(super) &'static str);

/// Reads a path under a prefix. `spans` says which variables stand for more than one segment.
pub(super) fn held(prefix: &str, path: &str, spans: impl Fn(&str) -> bool) -> Result<Held, Unheld> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    if path.contains('#') || query.is_some_and(|query| query.contains('#')) {
        return Err(Unheld("a part of it stands behind `#`, which never leaves a client"));
    }
    let inside = path.strip_prefix('/').ok_or(Unheld("it does not begin with `/`"))?;
    let mut parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
    let known = parts.len();
    if !(inside.is_empty() && known > 0) {
        parts.extend(inside.split('/'));
    }
    let mut reading =
        Reading { written: Vec::new(), segments: Vec::new(), names: Vec::new(), spanning: None };
    for (index, part) in parts.iter().enumerate() {
        reading.take(part, index + 1 == parts.len(), &spans)?;
    }
    let text = format!("/{}", reading.written.join("/"));
    let template =
        PathTemplate::parse(&text).map_err(|_| Unheld("a segment of it is no plain text and no variable"))?;
    Ok(Held {
        template,
        query: query.map_or(Ok(BTreeMap::new()), values)?,
        segments: reading.segments,
        spanning: reading.spanning,
    })
}

/// The widest template under the longest beginning of a path that one can hold: for what must not be lost.
pub(super) fn widened(prefix: &str, path: &str) -> Option<Held> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let known = prefix.split('/').filter(|part| !part.is_empty()).count();
    let parts: Vec<&str> = prefix.split('/').chain(path.split('/')).filter(|part| !part.is_empty()).collect();
    (known..parts.len().max(known + 1)).rev().find_map(|length| {
        let begun = [parts.get(..length)?, &["{rest}"]].concat().join("/");
        held("", &format!("/{begun}"), |name| name == "rest").ok()
    })
}

struct Reading {
    written: Vec<String>,
    segments: Vec<Segment>,
    names: Vec<String>,
    spanning: Option<String>,
}

impl Reading {
    fn take(&mut self, part: &str, is_last: bool, spans: impl Fn(&str) -> bool) -> Result<(), Unheld> {
        let Some((before, rest)) = part.split_once('{') else {
            let literal = percent_decode_str(part).decode_utf8_lossy().into_owned();
            self.written.push(literal.clone());
            self.segments.push(Segment::Literal(literal));
            return Ok(());
        };
        let (inside, after) = rest.split_once('}').ok_or(Unheld("a brace of it is never closed"))?;
        if after.contains(['{', '}']) || before.contains('}') {
            return Err(Unheld("a segment of it holds two variables"));
        }
        // RFC 6570 §3.2: `+` takes slashes too, `*` explodes. Other operators are no part of a path.
        let bare = inside.trim_start_matches('+').trim_end_matches('*');
        let is_open = bare != inside || spans(inside);
        let name = names::variable(bare, &self.names);
        if is_open && is_last && before.is_empty() && after.is_empty() {
            self.written.push(format!("{{{name}...}}"));
            self.segments.push(Segment::Open);
        } else {
            self.spanning = self.spanning.take().or(is_open.then(|| name.clone()));
            self.written.push(format!("{before}{{{name}}}{after}"));
            self.segments.push(Segment::Variable(name.clone()));
        }
        self.names.push(name);
        Ok(())
    }
}

/// Query values that stand in a path: `/?action=list`.
fn values(query: &str) -> Result<BTreeMap<String, String>, Unheld> {
    let mut values = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let is_plain =
            !value.is_empty() && !name.is_empty() && !format!("{name}{value}").contains(['{', '}', ';', '[']);
        if !is_plain || values.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(Unheld("its query names no plain values"));
        }
    }
    Ok(values)
}

impl Held {
    /// The resource that it names: the literals and variables of its beginning, up to the last variable of the first
    /// run of them, without the `known` segments of the server's own path and what only says which API it is. So
    /// operations on one thing and on its parts name the same, and another release of the document does too.
    pub(super) fn resource(&self, known: usize) -> Option<ResourceTemplate> {
        let is_variable = |segment: &Segment| matches!(segment, Segment::Variable(_));
        let first = self.segments.iter().position(is_variable)?;
        let run = self.segments.iter().skip(first).take_while(|segment| is_variable(segment)).count();
        let inside = self.segments.get(known.min(first)..first + run)?;
        let versions = inside.iter().take_while(|segment| segment.is_version()).count();
        let named = inside.get(versions..)?;
        let part = |segment: &Segment| match segment {
            Segment::Literal(text) => text.clone(),
            Segment::Variable(name) => format!("{{{name}}}"),
            Segment::Open => String::new(),
        };
        let text = named.iter().map(part).collect::<Vec<_>>().join("/");
        ResourceTemplate::parse(&text)
    }

    pub(super) fn literals(&self) -> Vec<String> {
        let literal = |segment: &Segment| match segment {
            Segment::Literal(text) => Some(text.clone()),
            Segment::Variable(_) | Segment::Open => None,
        };
        self.segments.iter().filter_map(literal).collect()
    }

    pub(super) fn variables(&self) -> Vec<String> {
        let variable = |segment: &Segment| match segment {
            Segment::Variable(name) => Some(name.clone()),
            Segment::Literal(_) | Segment::Open => None,
        };
        self.segments.iter().filter_map(variable).collect()
    }
}
