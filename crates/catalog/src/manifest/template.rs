//! Path templates: `/repos/{owner}/{repo}/issues`, `/{owner}/{repo}.git/info/refs`, `/files/{path...}`.
//!
//! A segment is a literal, one variable with an optional prefix and suffix, or (last only) a variable for
//! all that follows. Literals are compared with decoded segments, so that an encoded spelling of a literal
//! does not slip into a neighbouring variable. Of two templates that fit one path, one is narrower
//! only if it is at least as narrow in every segment: there is no rule of thumb to learn or to abuse.

use serde::{Serialize, Serializer};
use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap, fmt};

/// The most segments that a template or a matched path has.
const SEGMENTS_LIMIT: usize = 64;

/// Formats that a server may take at the end of a path for no part of it: `/keys.json` is `/keys` to Rails
/// and Grape.
pub(super) const FORMATS: &[&str] = &[".csv", ".html", ".json", ".txt", ".xml", ".yaml", ".yml"];

/// A path template, as it was written and as it is matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    segments: Vec<Segment>,
    /// The segments as a server sees them that is careless in the ways of [`careless`].
    folded: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Variable { prefix: String, name: String, suffix: String },
    Rest(String),
}

/// Why a text is no path template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not begin with `/`, is too long, or has an empty segment inside.
    #[error(
        "`{0}` is no path template: begin with `/` and write single slashes, for example `/repos/{{owner}}`"
    )]
    Shape(String),
    /// A segment holds something else than one variable between plain characters.
    #[error(
        "`{0}` is no segment: write plain characters, or one `{{name}}` between them; `{{name...}}` last only"
    )]
    Segment(String),
    /// A variable stands twice.
    #[error("the variable `{0}` stands twice: give each its own name")]
    Twice(String),
}

impl PathTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`], which says what to write.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let shape = || TemplateError::Shape(text.chars().take(80).collect());
        let inside = text.strip_prefix('/').ok_or_else(shape)?;
        let parts: Vec<&str> = inside.split('/').collect();
        let last = parts.len() - 1;
        if parts.len() > SEGMENTS_LIMIT || parts.iter().take(last).any(|part| part.is_empty()) {
            return Err(shape());
        }
        let segment = |(index, part): (usize, &&str)| Segment::parse(part, index == last);
        let segments = parts.iter().enumerate().map(segment).collect::<Result<Vec<_>, _>>()?;
        let template = Self { text: text.to_owned(), folded: folded(&segments), segments };
        let mut names: Vec<&str> = template.variables().collect();
        names.sort_unstable();
        match names.windows(2).find_map(|pair| (pair.first() == pair.last()).then(|| pair.first())) {
            Some(Some(name)) => Err(TemplateError::Twice((*name).to_owned())),
            _ => Ok(template),
        }
    }

    /// The template as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its variables.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::name)
    }

    /// The segments: the text of each literal, none for what holds a variable.
    pub(crate) fn literals(&self) -> impl Iterator<Item = Option<&str>> {
        self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => Some(text.as_str()),
            Segment::Variable { .. } | Segment::Rest(_) => None,
        })
    }

    /// What two templates have in common that are equally narrow and could fit one path: every literal, and where
    /// the variables stand. Only templates of one shape can clash.
    pub(crate) fn shape(&self) -> String {
        let mut shape = String::with_capacity(self.text.len());
        for segment in &self.segments {
            shape.push('/');
            match segment {
                Segment::Literal(text) => shape.push_str(text),
                Segment::Variable { prefix, suffix, .. } if prefix.is_empty() && suffix.is_empty() => {
                    shape.push_str("{}");
                }
                Segment::Variable { .. } => shape.push_str("{~}"),
                Segment::Rest(_) => shape.push_str("{...}"),
            }
        }
        shape
    }

    /// Whether it ends with `{name...}`.
    #[must_use]
    pub fn ends_open(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Rest(_)))
    }

    /// Whether the last segment is a plain word, which no variable could take for another.
    #[must_use]
    pub(crate) fn ends_literally(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Literal(text)) if !text.is_empty())
    }

    /// The values of the variables, where the decoded `path` fits. No value is empty.
    #[must_use]
    pub fn matched(&self, path: &[Cow<'_, str>]) -> Option<BTreeMap<&str, String>> {
        values(&self.segments, path)
    }

    /// Whether the decoded `path` fits.
    #[must_use]
    pub(crate) fn fits(&self, path: &[Cow<'_, str>]) -> bool {
        each(&self.segments, path, |_, _| ())
    }

    /// Whether a path that [`careless`] has folded would fit for a server that folds as much.
    #[must_use]
    pub(crate) fn resembles(&self, folded: &[Cow<'_, str>]) -> bool {
        each(&self.folded, folded, |_, _| ())
    }

    /// The values that such a server would take for those of the variables.
    #[must_use]
    pub(crate) fn resembled(&self, folded: &[Cow<'_, str>]) -> Option<BTreeMap<&str, String>> {
        values(&self.folded, folded)
    }

    /// Whether some path could fit both.
    #[must_use]
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (left, right) = (self.segments.len(), other.segments.len());
        let lengths = match (self.ends_open(), other.ends_open()) {
            (false, false) => left == right,
            (true, false) => left <= right,
            (false, true) => right <= left,
            (true, true) => true,
        };
        let rows = self.segments.iter().zip(&other.segments);
        lengths && rows.into_iter().all(|(mine, theirs)| mine.may_equal(theirs))
    }

    /// How narrow this is beside another one that overlaps: `Greater` is narrower in at least one segment
    /// and wider in none; none where each is narrower somewhere.
    #[must_use]
    pub(crate) fn narrowness(&self, other: &Self) -> Option<Ordering> {
        let length = self.segments.len().max(other.segments.len());
        let mut sum = Ordering::Equal;
        for index in 0..length {
            match (sum, self.weight(index).cmp(&other.weight(index))) {
                (_, Ordering::Equal) => {}
                (Ordering::Equal, step) => sum = step,
                (before, step) if before == step => {}
                _ => return None,
            }
        }
        Some(sum)
    }

    fn weight(&self, index: usize) -> u8 {
        match self.segments.get(index).or(self.segments.last()) {
            Some(Segment::Literal(_)) => 3,
            Some(Segment::Variable { prefix, suffix, .. }) if !(prefix.is_empty() && suffix.is_empty()) => 2,
            Some(Segment::Variable { .. }) => 1,
            Some(Segment::Rest(_)) | None => 0,
        }
    }
}

/// A decoded path as a server reads it that is careless about letter case, path parameters (`;…`), spaces and
/// dots at the end of a segment, and a slash or a format at the end of all.
pub(crate) fn careless<'a>(path: &'a [Cow<'_, str>]) -> Vec<Cow<'a, str>> {
    let mut folded: Vec<Cow<'a, str>> = path.iter().map(|segment| careless_word(segment)).collect();
    if folded.len() > 1 && folded.last().is_some_and(|last| last.is_empty()) {
        folded.pop();
    }
    if let Some(last) = folded.last_mut() {
        let len = without_format(last).len();
        match last {
            Cow::Borrowed(text) => *text = text.get(..len).unwrap_or_default(),
            Cow::Owned(text) => text.truncate(len),
        }
    }
    folded
}

/// A segment without its parameters and what stands at its end for nothing, in lower case.
pub(super) fn careless_word(text: &str) -> Cow<'_, str> {
    let name = text.split(';').next().unwrap_or_default();
    let short = name.trim().trim_end_matches(['.', ' ']);
    let word = if short.is_empty() { name } else { short };
    // Most are spelled so already.
    let is_lower = word.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { Cow::Borrowed(word) } else { Cow::Owned(word.to_lowercase()) }
}

/// A last segment in lower case without its format, where something is left.
fn without_format(last: &str) -> &str {
    let short = FORMATS.iter().find_map(|format| last.strip_suffix(format));
    short.filter(|short| !short.is_empty()).unwrap_or(last)
}

fn folded(segments: &[Segment]) -> Vec<Segment> {
    let lower = |segment: &Segment| match segment {
        Segment::Literal(text) => Segment::Literal(text.to_lowercase()),
        Segment::Variable { prefix, name, suffix } => {
            let (prefix, suffix) = (prefix.to_lowercase(), suffix.to_lowercase());
            Segment::Variable { prefix, name: name.clone(), suffix }
        }
        Segment::Rest(name) => Segment::Rest(name.clone()),
    };
    let mut folded: Vec<Segment> = segments.iter().map(lower).collect();
    if folded.len() > 1 && folded.last() == Some(&Segment::Literal(String::new())) {
        folded.pop();
    }
    if let Some(Segment::Literal(text) | Segment::Variable { suffix: text, .. }) = folded.last_mut() {
        let is_format = FORMATS.contains(&text.as_str());
        *text = if is_format { String::new() } else { without_format(text).to_owned() };
    }
    folded
}

fn values<'t>(segments: &'t [Segment], path: &[Cow<'_, str>]) -> Option<BTreeMap<&'t str, String>> {
    let mut values = BTreeMap::new();
    let fits = each(segments, path, |name, value| drop(values.insert(name, value.join("/"))));
    fits.then_some(values)
}

/// Whether a path fits, and each variable with the segments that it stands for. No value is empty.
fn each<'t>(segments: &'t [Segment], path: &[Cow<'_, str>], mut value: impl FnMut(&'t str, &[&str])) -> bool {
    let ends_open = matches!(segments.last(), Some(Segment::Rest(_)));
    if path.len() < segments.len() || (!ends_open && path.len() > segments.len()) {
        return false;
    }
    for (index, (segment, given)) in segments.iter().zip(path).enumerate() {
        match segment {
            Segment::Literal(literal) if given == literal => {}
            Segment::Literal(_) => return false,
            Segment::Variable { prefix, name, suffix } => {
                let inner =
                    given.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_suffix(suffix.as_str()));
                match inner {
                    None | Some("") => return false,
                    Some(inner) => value(name, &[inner]),
                }
            }
            Segment::Rest(name) => match path.get(index..).unwrap_or_default() {
                [] => return false,
                [only] if only.is_empty() => return false,
                rest => value(name, &rest.iter().map(AsRef::as_ref).collect::<Vec<&str>>()),
            },
        }
    }
    true
}

impl Segment {
    fn parse(part: &str, is_last: bool) -> Result<Self, TemplateError> {
        let wrong = || TemplateError::Segment(part.chars().take(80).collect());
        let Some((prefix, rest)) = part.split_once('{') else {
            return if is_plain(part) { Ok(Self::Literal(part.to_owned())) } else { Err(wrong()) };
        };
        let (inside, suffix) = rest.split_once('}').ok_or_else(wrong)?;
        let (name, is_rest) = inside.strip_suffix("...").map_or((inside, false), |name| (name, true));
        if !is_variable(name) || !is_plain(prefix) || !is_plain(suffix) {
            return Err(wrong());
        }
        match (is_rest, is_last && prefix.is_empty() && suffix.is_empty()) {
            (true, true) => Ok(Self::Rest(name.to_owned())),
            (true, false) => Err(wrong()),
            (false, _) => {
                let (prefix, suffix) = (prefix.to_owned(), suffix.to_owned());
                Ok(Self::Variable { prefix, name: name.to_owned(), suffix })
            }
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Variable { name, .. } | Self::Rest(name) => Some(name),
        }
    }

    /// Whether one text could fit both.
    fn may_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(left), Self::Literal(right)) => left == right,
            (Self::Literal(text), Self::Variable { prefix, suffix, .. })
            | (Self::Variable { prefix, suffix, .. }, Self::Literal(text)) => {
                text.len() > prefix.len() + suffix.len() && text.starts_with(prefix) && text.ends_with(suffix)
            }
            (
                Self::Variable { prefix: left, suffix: left_end, .. },
                Self::Variable { prefix: right, suffix: right_end, .. },
            ) => {
                (left.starts_with(right) || right.starts_with(left))
                    && (left_end.ends_with(right_end) || right_end.ends_with(left_end))
            }
            (Self::Rest(_), _) | (_, Self::Rest(_)) => true,
        }
    }
}

/// Characters that stand in a path as they are and mean nothing to a template.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte))
        && !matches!(text, "." | "..")
}

/// The name of a variable.
pub(crate) fn is_variable(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=40).contains(&name.len()) && name.bytes().all(inner)
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Serialize for PathTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
