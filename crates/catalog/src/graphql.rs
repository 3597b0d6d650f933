//! GraphQL: what a request asks for at the root.
//!
//! One endpoint does everything, so the request line says nothing; the *root fields* do. They are found here and
//! nowhere else, by a parser that others keep, and by rules that are stricter than any server's:
//!
//! * The body is one JSON object with `query`, `operationName`, `variables` and nothing that could stand for another
//!   document: no array of requests, no persisted query, no key twice.
//! * Fragments are followed, on whatever type they are, and aliases hide nothing: a root field is what is written
//!   behind the colon. What `@skip` and `@include` say is not believed.
//! * Two readings are refused: two fragments or operations of one name, an operation that is not there, a line that
//!   ends with a carriage return alone.
//!
//! What the fields mean, a manifest says ([`crate::manifest::Root`]). What lies below the root is a graph in which
//! everything leads to everything, so a root field names no resource.

use crate::strict::Strict;
use apollo_parser::{
    Lexer, Parser, Token, TokenKind,
    cst::{Definition, Document, OperationDefinition, Selection, SelectionSet},
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How deep a document may nest: real ones stay under 20.
const DEPTH_MAX: usize = 64;
/// Words and signs of a document: the longest real ones, with every fragment of an SDK, have a few thousand.
const TOKENS_MAX: usize = 20_000;
/// Different root fields of one request: a decision is made on each.
const FIELDS_MAX: usize = 64;

/// What an operation begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RootType {
    /// It looks.
    Query,
    /// It changes.
    Mutation,
}

impl RootType {
    /// The word for it in documents and manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
        }
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Of which root.
    pub on: RootType,
    /// The names of the root fields; at least one.
    pub fields: BTreeSet<String>,
}

/// Why a body is no request that can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GraphqlError {
    /// It is not one JSON object of `query`, `operationName` and `variables`, each once.
    #[error(
        "the body must be one JSON object with `query`, and at most `operationName` and `variables`, each once"
    )]
    Body,
    /// The document is not GraphQL, or too large or too deep.
    #[error("the query is no GraphQL document, or nests too deep")]
    Document,
    /// A name in the document means nothing, or two things.
    #[error("an operation or a fragment is missing, or stands twice")]
    Name,
    /// It asks for more different root fields than are judged at once.
    #[error("the query asks for more than {FIELDS_MAX} different root fields: ask for less at once")]
    TooMany,
    /// A subscription, whose answers nobody could tell from each other.
    #[error("subscriptions are not carried")]
    Subscription,
}

/// The body of a request (GraphQL over HTTP, "Request Parameters").
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    query: String,
    #[serde(default, rename = "operationName")]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<Strict>,
    #[serde(default)]
    extensions: Option<Strict>,
}

/// Reads a body of `application/json`.
///
/// # Errors
/// [`GraphqlError`]; nothing is repaired.
pub fn read(body: &[u8]) -> Result<Asked, GraphqlError> {
    let Body { query, operation_name, variables, extensions } =
        serde_json::from_slice(body).map_err(|_| GraphqlError::Body)?;
    let is_map = |value: &Option<Strict>| value.as_ref().is_none_or(|Strict(value)| value.is_object());
    // A client may name itself; whatever else is an extension could stand for another document.
    let is_known = |value: &Strict| match &value.0 {
        Value::Object(own) => own.keys().all(|key| key == "clientLibrary"),
        _ => false,
    };
    if !is_map(&variables) || !extensions.as_ref().is_none_or(is_known) {
        return Err(GraphqlError::Body);
    }
    document(&query, operation_name.as_deref())
}

/// Reads a document, of which the operation with this name is meant.
fn document(text: &str, name: Option<&str>) -> Result<Asked, GraphqlError> {
    if !ends_lines_plainly(text) {
        return Err(GraphqlError::Document);
    }
    let tree = Parser::new(text).recursion_limit(DEPTH_MAX).token_limit(TOKENS_MAX).parse();
    if tree.errors().next().is_some() {
        return Err(GraphqlError::Document);
    }
    let Parts { operations, fragments } = Parts::of(&tree.document())?;
    let operation = chosen(&operations, name.filter(|name| !name.is_empty()))?;
    let on = root_type(operation)?;
    let selection = operation.selection_set().ok_or(GraphqlError::Document)?;
    let fields = root_fields(selection, &fragments)?;
    Ok(Asked { on, fields })
}

/// Whether every line ends where all lexers end it. Some end a comment at a carriage return, and some read on; some let
/// a string go on over a line's end, which GraphQL §2.9.4 does not: what follows would be two documents.
fn ends_lines_plainly(text: &str) -> bool {
    let is_sound = |token: &Token<'_>| {
        let is_line = token.kind() == TokenKind::StringValue && !token.data().starts_with("\"\"\"");
        !(is_line && token.data().contains('\n'))
    };
    let mut tokens = Lexer::new(text).with_limit(TOKENS_MAX).map_while(Result::ok);
    !text.replace("\r\n", "\n").contains('\r') && tokens.all(|token| is_sound(&token))
}

/// The definitions of a document, by name.
struct Parts {
    operations: Vec<(Option<String>, OperationDefinition)>,
    fragments: BTreeMap<String, SelectionSet>,
}

impl Parts {
    fn of(document: &Document) -> Result<Self, GraphqlError> {
        let (mut operations, mut fragments) = (Vec::new(), BTreeMap::new());
        for definition in document.definitions() {
            match definition {
                Definition::OperationDefinition(operation) => {
                    operations.push((operation.name().map(|name| name.text().to_string()), operation));
                }
                Definition::FragmentDefinition(fragment) => {
                    let name = fragment.fragment_name().and_then(|name| name.name());
                    let name = name.ok_or(GraphqlError::Document)?.text().to_string();
                    let selection = fragment.selection_set().ok_or(GraphqlError::Document)?;
                    // GraphQL §5.5.1.1: fragment names are unique.
                    if fragments.insert(name, selection).is_some() {
                        return Err(GraphqlError::Name);
                    }
                }
                _ => return Err(GraphqlError::Document),
            }
        }
        // GraphQL §5.2.1.1 and §5.2.2.1: operation names are unique, and one without a name stands alone.
        let names: BTreeSet<_> = operations.iter().map(|(name, _)| name).collect();
        let is_unique = names.len() == operations.len();
        let is_alone = operations.len() == 1 || !names.contains(&None);
        if is_unique && is_alone { Ok(Self { operations, fragments }) } else { Err(GraphqlError::Name) }
    }
}

/// GraphQL §6.1: the named one, or the only one.
fn chosen<'o>(
    operations: &'o [(Option<String>, OperationDefinition)],
    name: Option<&str>,
) -> Result<&'o OperationDefinition, GraphqlError> {
    let chosen = match (name, operations) {
        (Some(name), all) => all.iter().find(|(own, _)| own.as_deref() == Some(name)),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    chosen.map(|(_, operation)| operation).ok_or(GraphqlError::Name)
}

/// GraphQL §2.3: without a word it is a query.
fn root_type(operation: &OperationDefinition) -> Result<RootType, GraphqlError> {
    let Some(word) = operation.operation_type() else { return Ok(RootType::Query) };
    match (word.query_token(), word.mutation_token(), word.subscription_token()) {
        (Some(_), None, None) => Ok(RootType::Query),
        (None, Some(_), None) => Ok(RootType::Mutation),
        (None, None, Some(_)) => Err(GraphqlError::Subscription),
        _ => Err(GraphqlError::Document),
    }
}

/// The names of all fields at the root, through fragments. One is entered once, so a ring of them ends.
fn root_fields(
    selection: SelectionSet,
    fragments: &BTreeMap<String, SelectionSet>,
) -> Result<BTreeSet<String>, GraphqlError> {
    let (mut fields, mut entered, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![selection]);
    while let Some(selection) = open.pop() {
        for one in selection.selections() {
            match one {
                Selection::Field(field) => {
                    fields.insert(field.name().ok_or(GraphqlError::Document)?.text().to_string());
                }
                Selection::InlineFragment(inline) => {
                    open.push(inline.selection_set().ok_or(GraphqlError::Document)?);
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.fragment_name().and_then(|name| name.name());
                    let name = name.ok_or(GraphqlError::Document)?.text().to_string();
                    let fragment = fragments.get(&name).ok_or(GraphqlError::Name)?;
                    if entered.insert(name) {
                        open.push(fragment.clone());
                    }
                }
            }
        }
        if fields.len() > FIELDS_MAX {
            return Err(GraphqlError::TooMany);
        }
    }
    if fields.is_empty() { Err(GraphqlError::Document) } else { Ok(fields) }
}

#[cfg(test)]
mod tests;
