//! OpenAPI 3.0 and 3.1 → a tool's manifest.
//!
//! A document is somebody else's text about somebody else's API, and what is made of it decides what an agent may do.
//! So this is one way only: document in, manifest *text* out, which [`Manifest::parse`] then reads like any other that
//! a person wrote; there is no second kind of tool. What can be said of it:
//!
//! * **Nothing is lost in silence.** Every method of every path is an operation or stands among [`Imported::skipped`]
//!   with the reason. What is skipped is unlisted, and so `admin`; where it may be an operation on a secret, a wider
//!   template holds its place with effect `credential`, so that no wildcard reaches it.
//! * **Effects are never less than what the words say** (`effects`): the method is a floor, names raise it, and the
//!   document's own `x-nightlatch-effect` may only raise it further.
//! * **One host**, which the operator confirms: the document's first absolute one, or the one that was asked for.
//! * **Nothing is fetched.** A `$ref` to another document is refused, and so are rings of them, keys that stand twice,
//!   and a document beyond the limits that stand here.

mod document;
mod effects;
mod names;
mod operations;
mod paths;
mod render;
mod security;

use crate::{
    manifest::{ChosenHost, Manifest},
    reading::FileError,
    strict::Strict,
};
use document::Document;
use nightlatch_domain::tool::{Effect, Name, Placement};
use operations::Operations;
use serde_json::Value;

/// The longest document: GitHub's, with every schema, has 13 MB.
pub const DOCUMENT_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// Values in a YAML document: one in eight bytes. An alias makes many of few bytes, so they are counted too.
const YAML_NODES_MAX: usize = 2_000_000;
const YAML_ALIASES_MAX: usize = 10_000;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What the tool is to be called.
    pub name: &'a Name,
    /// The file, for messages and for the record.
    pub file: &'a str,
    /// SHA-256 of the document, in lower-case hexadecimal.
    pub sha256: &'a str,
    /// The host, where it is not the document's own.
    pub host: Option<&'a ChosenHost>,
    /// Where the credential stands, where it is not what the document says.
    pub placement: Option<&'a Placement>,
}

/// What a document was made into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The manifest, as text.
    pub text: String,
    /// The same, read.
    pub manifest: Manifest,
    /// What no operation could be made of, in the document's order of paths.
    pub skipped: Vec<Skipped>,
}

/// A method of a path that is no operation of its own.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// The method, in capitals.
    pub method: String,
    /// The path, as the document has it.
    pub path: String,
    /// Why, and what stands for it.
    pub reason: String,
}

/// Why a document is no tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenApiError {
    /// It is longer than [`DOCUMENT_LIMIT_BYTES`].
    #[error(
        "`{file}` is longer than {DOCUMENT_LIMIT_BYTES} bytes: cut it down to the paths that agents need"
    )]
    TooLong {
        /// The file.
        file: String,
    },
    /// It is neither JSON nor YAML, nests too deep, or has a key twice.
    #[error("`{file}` cannot be read as JSON or YAML: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the reader said.
        reason: String,
    },
    /// It is no OpenAPI 3 document.
    #[error(
        "`{file}` is no OpenAPI 3.0 or 3.1 document ({found}): convert older ones with a tool of their makers"
    )]
    Version {
        /// The file.
        file: String,
        /// What it says of itself.
        found: String,
    },
    /// Something has another shape than OpenAPI gives it.
    #[error("`{at}` in the document is not what OpenAPI puts there: {wanted}")]
    Shape {
        /// Where, as a JSON pointer or a name.
        at: String,
        /// What was expected.
        wanted: &'static str,
    },
    /// A `$ref` that leads to another document.
    #[error(
        "`{0}` refers to another document, and nothing is fetched: bundle the document into one file first"
    )]
    Remote(String),
    /// A `$ref` that leads nowhere.
    #[error("`{0}` refers to nothing in this document: mend the document")]
    Dangling(String),
    /// References that refer to references, in a ring or without end.
    #[error("`{0}` leads through too many references, or round in a ring: mend the document")]
    Ring(String),
    /// More operations than a manifest holds.
    #[error("the document has more than {0} operations: cut it down to the paths that agents need")]
    TooMany(usize),
    /// The document names no host that can be taken as it is.
    #[error(
        "the document names no host of its own ({0}): say which, for example `--host https://api.example.com`"
    )]
    NoHost(String),
    /// No security scheme says where a key stands.
    #[error(
        "the document does not say where a credential stands ({0}): say it with `--placement bearer`, `--placement header:NAME` or `--placement basic:USER`"
    )]
    NoPlacement(String),
    /// What was made of it does not hold together.
    #[error("the document cannot be made into a manifest: {0}")]
    Manifest(#[from] FileError),
}

/// Makes a manifest of a document.
///
/// # Errors
/// [`OpenApiError`], which says what to do next.
pub fn import(text: &str, asked: Asked<'_>) -> Result<Imported, OpenApiError> {
    let root = read(text, asked.file)?;
    let document = Document::new(&root, asked.file)?;
    let base = document.base(asked.host)?;
    let security = security::read(&document, asked.placement)?;
    let mut operations = Operations::new(&document, &base);
    for item in document.items()? {
        operations.add(item?)?;
    }
    let (operations, skipped) = operations.finish();
    let text = render::manifest(&asked, &document, &base, &security, &operations, &skipped);
    let manifest = Manifest::parse(asked.file, &text)?;
    Ok(Imported { text, manifest, skipped })
}

/// How many operations there are of each effect, in the order of their weight.
#[must_use]
pub fn by_effect(manifest: &Manifest) -> [(Effect, usize); 5] {
    let count = |effect| manifest.operations.iter().filter(|operation| operation.effect == effect).count();
    Effect::ALL.map(|effect| (effect, count(effect)))
}

/// Whether a name by itself speaks of secrets: `createToken`, `rotate-key`.
pub(crate) fn speaks_of_secrets(name: &str) -> bool {
    effects::of_name("POST", name) == Effect::Credential
}

/// Every JSON text is YAML, and its reader is the quicker and the stricter one.
fn read(text: &str, file: &str) -> Result<Value, OpenApiError> {
    if text.len() > DOCUMENT_LIMIT_BYTES {
        return Err(OpenApiError::TooLong { file: file.to_owned() });
    }
    let unreadable = |reason: String| OpenApiError::Unreadable {
        file: file.to_owned(),
        reason: reason.lines().next().unwrap_or_default().chars().take(300).collect(),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        let read = serde_json::from_str::<Strict>(text);
        return read.map(|strict| strict.0).map_err(|error| unreadable(error.to_string()));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: YAML_NODES_MAX,
            max_events: 2 * YAML_NODES_MAX,
            max_aliases: YAML_ALIASES_MAX,
        },
        with_snippet: false,
    };
    let read = serde_saphyr::from_str_with_options::<Strict>(text, options);
    read.map(|strict| strict.0).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests;
