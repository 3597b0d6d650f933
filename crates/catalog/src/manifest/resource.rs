//! Resources: the name of what an operation touches, in one spelling.
//!
//! A grant says `@acme/*`, a `forbid` says `acme/payroll`; both compare texts. So a resource has one
//! spelling for all the names that the provider takes for the same thing: letter case and an alias suffix
//! (`.git`) are declared by the manifest and removed here, from requests and from grants alike. A value
//! that would mean something to the pattern (`*`, `/`) or be cut by a server (`;`) is refused, and so is a
//! number's second spelling (`01`, `+1`), unless the manifest says that digits are a name like any other.

use super::{Manifest, Operation};
use crate::suggest;
use nightlatch_domain::{
    grant::{GrantText, GrantTextError, Selector},
    tool::OperationId,
};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// How a tool's resources are spelled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ResourceRule {
    /// Whether the provider takes names that differ in letter case for the same thing. Resources are then
    /// in lower case, and ASCII only.
    pub ignores_case: bool,
    /// A suffix that the provider takes for an alias of the name without it, for example `.git`.
    pub strip_suffix: Option<String>,
    /// Whether digits are a name like any other, so that `01` is another thing than `1`. Else they are a
    /// number, which has one spelling.
    pub digits_are_names: bool,
    /// Whether a name of 32 hexadecimal digits, with dashes as UUIDs have them or without, is one UUID. It is then
    /// spelled with dashes, in lower case (RFC 9562 §4).
    pub knows_uuids: bool,
}

/// A resource template: `{owner}/{repo}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResourceTemplate {
    text: String,
}

/// Why a grant does not fit a tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No operation has this id.
    #[error("`{tool}` has no operation `{id}`: {hint}")]
    Operation {
        /// The tool.
        tool: String,
        /// What was written.
        id: String,
        /// What to do.
        hint: String,
    },
    /// No selected operation names a resource of this form.
    #[error("no operation of this grant names a resource like `{pattern}`: {hint}")]
    Resource {
        /// What was written.
        pattern: String,
        /// What to do.
        hint: String,
    },
    /// The grant names another tool.
    #[error("the grant is for `{given}` and not for `{tool}`")]
    Tool {
        /// The tool of the manifest.
        tool: String,
        /// The tool of the grant.
        given: String,
    },
    /// The spelling could not be brought to the tool's one spelling.
    #[error(transparent)]
    Text(#[from] GrantTextError),
}

impl ResourceTemplate {
    /// Reads a template of variables and plain characters, for a check against the paths that fill it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let template = Self { text: text.to_owned() };
        let sound = |byte: u8| byte.is_ascii_graphic() && !b"*;%?#\\@".contains(&byte);
        let whole = template.variables().is_some_and(|names| !names.is_empty());
        (whole && text.bytes().all(sound) && text.split('/').all(|part| !part.is_empty())).then_some(template)
    }

    /// The template as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its variables; none where braces do not pair.
    #[must_use]
    pub(crate) fn variables(&self) -> Option<Vec<&str>> {
        let mut parts = self.text.split('{');
        parts.next().filter(|plain| !plain.contains('}'))?;
        parts
            .map(|part| part.split_once('}').filter(|(_, plain)| !plain.contains('}')).map(|(name, _)| name))
            .collect()
    }

    /// The resource for these values; none where a value may not stand in one.
    #[must_use]
    pub(crate) fn filled(&self, values: &BTreeMap<&str, String>, rule: &ResourceRule) -> Option<String> {
        let mut filled = String::with_capacity(self.text.len() * 2);
        for part in self.text.split('{') {
            match part.split_once('}') {
                Some((name, plain)) => {
                    filled.push_str(&rule.spelled(values.get(name)?)?);
                    filled.push_str(plain);
                }
                None => filled.push_str(part),
            }
        }
        Some(filled)
    }

    fn segment_count(&self) -> usize {
        self.text.split('/').count()
    }
}

impl Serialize for ResourceTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl ResourceRule {
    /// A value in the tool's one spelling; none where it may not stand in a resource.
    #[must_use]
    pub fn spelled(&self, value: &str) -> Option<String> {
        let unfit = |letter: char| "*/;\\".contains(letter) || letter.is_whitespace() || letter.is_control();
        if value.contains(unfit) || (self.ignores_case && !value.is_ascii()) {
            return None;
        }
        if let Some(uuid) = uuid(value).filter(|_| self.knows_uuids) {
            return Some(uuid);
        }
        let mut text = if self.ignores_case { value.to_ascii_lowercase() } else { value.to_owned() };
        while let Some(short) = self.strip_suffix.as_deref().and_then(|suffix| text.strip_suffix(suffix)) {
            text = short.to_owned();
        }
        let doubtful = !self.digits_are_names && is_odd_number(&text);
        (!text.is_empty() && !doubtful).then_some(text)
    }
}

impl Manifest {
    /// Checks a grant against this tool, and gives it back with its resource in the tool's one spelling:
    /// that form is the one to store.
    ///
    /// # Errors
    /// [`GrantError`]: an operation that the tool does not have, with the nearest one; a resource that no
    /// selected operation could name.
    pub fn check_grant(&self, grant: &GrantText) -> Result<GrantText, GrantError> {
        if grant.tool != self.name {
            return Err(GrantError::Tool { tool: self.name.to_string(), given: grant.tool.to_string() });
        }
        for selector in &grant.operations {
            if let Selector::Operation(id) = selector {
                self.lists(id).then_some(()).ok_or_else(|| self.unknown_operation(id))?;
            }
        }
        if grant.resource.is_all() {
            return Ok(grant.clone());
        }
        self.check_resource(grant)
    }

    fn unknown_operation(&self, id: &OperationId) -> GrantError {
        let ids = self.ids().map(|(id, _)| id.0.as_str());
        let hint = match suggest::nearest(&id.0, ids) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("`nightlatch tool show {}` lists them", self.name),
        };
        GrantError::Operation { tool: self.name.to_string(), id: id.0.clone(), hint }
    }

    fn check_resource(&self, grant: &GrantText) -> Result<GrantText, GrantError> {
        let pattern = grant.resource.as_str();
        let selected = self.operations.iter().filter(|operation| selects(grant, operation));
        let templates: Vec<&ResourceTemplate> =
            selected.filter_map(|operation| operation.resource.as_ref()).collect();
        if !templates.iter().any(|template| template.segment_count() == pattern.split('/').count()) {
            let mut known: Vec<&str> = templates.iter().map(|template| template.as_str()).collect();
            known.sort_unstable();
            known.dedup();
            let hint = match known.is_empty() {
                true => "leave out `@…`, or name operations that have a resource".to_owned(),
                false => format!("write {} with `*` for a segment", suggest::list(known)),
            };
            return Err(GrantError::Resource { pattern: pattern.to_owned(), hint });
        }
        self.spelled_grant(grant)
    }

    /// The grant with its pattern in the tool's spelling. A grant's texts are read anew, by the one parser.
    fn spelled_grant(&self, grant: &GrantText) -> Result<GrantText, GrantError> {
        let wrong = || GrantError::Resource {
            pattern: grant.resource.to_string(),
            hint: "write plain ASCII names, numbers without a zero in front, and `*` for a whole segment"
                .to_owned(),
        };
        let spell =
            |part: &str| if part == "*" { Some(part.to_owned()) } else { self.resource.spelled(part) };
        let parts: Option<Vec<String>> = grant.resource.as_str().split('/').map(spell).collect();
        let head = grant.to_string();
        let head = head.split_once('@').map_or(head.as_str(), |(head, _)| head);
        Ok(format!("{head}@{}", parts.ok_or_else(wrong)?.join("/")).parse()?)
    }
}

/// A UUID with its dashes, in lower case; none where the text is no UUID in either spelling.
fn uuid(text: &str) -> Option<String> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let digits: String =
        text.chars().filter(|letter| *letter != '-').collect::<String>().to_ascii_lowercase();
    let dashes = text.match_indices('-').map(|(index, _)| index);
    let is_whole = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_whole || !(text.len() == 32 || dashes.eq(DASHES)) {
        return None;
    }
    let parts: Option<Vec<&str>> =
        [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().map(|range| digits.get(range)).collect();
    Some(parts?.join("-"))
}

/// Whether a text is a whole number in another spelling than its shortest: with a plus, with a zero in front,
/// in digits beyond ASCII. Programs that read numbers take these for the plain one.
fn is_odd_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.chars().all(char::is_numeric);
    let is_shortest =
        digits.is_ascii() && (text == "0" || !digits.starts_with('0')) && !text.starts_with('+');
    is_number && !is_shortest
}

fn selects(grant: &GrantText, operation: &Operation) -> bool {
    grant.operations.iter().any(|selector| selector.covers(&operation.id, operation.effect))
}
