//! The document as a tree: its version, its server, its paths, and what its references refer to.

use super::OpenApiError;
use crate::manifest::{ChosenHost, Origin, path_prefix};
use nightlatch_domain::tool::Scheme;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// References that refer to references: real documents have one or two.
const REFS_MAX: usize = 16;

/// Methods that a path item may have (OpenAPI 3.1 §4.8.9).
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// A document that says it is OpenAPI 3.
pub(super) struct Document<'d> {
    root: &'d Value,
}

/// Where all paths lie.
pub(super) struct Base {
    pub(super) scheme: Scheme,
    pub(super) host: String,
    pub(super) port: u16,
    /// What stands before every path; `/` for nothing.
    pub(super) prefix: String,
    /// The document's own server, as it is written; operations at another one are not at this host.
    server: Option<String>,
}

/// One method of one path.
pub(super) struct Item<'d> {
    pub(super) path: &'d str,
    pub(super) method: String,
    pub(super) operation: &'d Map<String, Value>,
    /// What the path says for all its methods.
    pub(super) shared: &'d Map<String, Value>,
}

impl<'d> Document<'d> {
    pub(super) fn new(root: &'d Value, file: &str) -> Result<Self, OpenApiError> {
        let version = |found: &str| OpenApiError::Version {
            file: file.to_owned(),
            found: found.chars().take(80).collect(),
        };
        let found = root.get("openapi").or(root.get("swagger"));
        match found.and_then(Value::as_str) {
            Some(known) if known.starts_with("3.0.") || known.starts_with("3.1.") => Ok(Self { root }),
            Some(other) => Err(version(&format!("it says `{other}`"))),
            // `openapi: 3.0` is a number in YAML.
            None => Err(version("it has no text under `openapi`")),
        }
    }

    /// A text of `info`.
    pub(super) fn info(&self, key: &str) -> Option<&'d str> {
        self.root.get("info")?.get(key)?.as_str()
    }

    /// The pages that the document names for itself, the likeliest first.
    pub(super) fn pages(&self) -> impl Iterator<Item = &'d str> {
        let root = self.root;
        ["/externalDocs/url", "/info/contact/url", "/info/termsOfService"]
            .into_iter()
            .filter_map(move |pointer| root.pointer(pointer)?.as_str())
    }

    pub(super) fn get(&self, pointer: &str) -> Option<&'d Value> {
        self.root.pointer(pointer)
    }

    /// What a value is, where it is a reference what that refers to.
    pub(super) fn resolved(&self, value: &'d Value) -> Result<&'d Value, OpenApiError> {
        let mut value = value;
        for _ in 0..REFS_MAX {
            let Some(reference) = value.get("$ref") else { return Ok(value) };
            let shown = || reference.to_string().chars().take(120).collect::<String>();
            let text = reference.as_str().ok_or_else(|| OpenApiError::Dangling(shown()))?;
            let pointer = text.strip_prefix('#').ok_or_else(|| OpenApiError::Remote(shown()))?;
            // RFC 6901 §6: a pointer in a fragment is percent-encoded.
            let pointer = percent_decode_str(pointer).decode_utf8_lossy();
            value = self.root.pointer(&pointer).ok_or_else(|| OpenApiError::Dangling(shown()))?;
        }
        Err(OpenApiError::Ring(value.get("$ref").map(ToString::to_string).unwrap_or_default()))
    }

    /// Every method of every path, in the order of the paths.
    pub(super) fn items(&self) -> Result<impl Iterator<Item = Result<Item<'d>, OpenApiError>>, OpenApiError> {
        let paths = match self.root.get("paths") {
            Some(paths) => object(paths, "paths")?,
            // OpenAPI 3.1 has documents without paths. There is nothing to be done with such a tool.
            None => return Err(OpenApiError::Shape { at: "paths".to_owned(), wanted: "an object of paths" }),
        };
        let mut items = Vec::new();
        for (path, own) in paths {
            // What begins otherwise is an extension.
            if path.starts_with("x-") {
                continue;
            }
            let target = self.resolved(own)?;
            for shared in std::iter::once(own).chain((!std::ptr::eq(own, target)).then_some(target)) {
                items.extend(methods(path, object(shared, path)?));
            }
        }
        Ok(items.into_iter())
    }

    /// The one host and prefix: as asked for, or the document's first server that says them plainly.
    pub(super) fn base(&self, asked: Option<&ChosenHost>) -> Result<Base, OpenApiError> {
        let server = first_server(self.root);
        let written = server.as_ref().map(|(written, _)| written.clone());
        let plain = server.map(|(_, plain)| plain);
        let from = match (asked, &plain) {
            (Some(asked), _) => Some(asked.clone()),
            (None, Some(plain)) => ChosenHost::parse(plain).ok(),
            (None, None) => None,
        };
        let none = || {
            OpenApiError::NoHost(
                written.as_deref().unwrap_or("it has no `servers`").chars().take(120).collect(),
            )
        };
        let chosen = from.ok_or_else(none)?;
        let own = plain.as_deref().and_then(path_of);
        let prefix = match chosen.path_prefix.as_str() {
            // Another host has the API where the document has it, unless it was said otherwise.
            "/" => own.unwrap_or_else(|| "/".to_owned()),
            prefix => prefix.to_owned(),
        };
        let (scheme, host, port) = (chosen.scheme, chosen.host, chosen.port);
        Ok(Base { scheme, host, port, prefix, server: written })
    }
}

impl Base {
    /// Another server that a path or an operation names for itself.
    pub(super) fn other_server(&self, of: &Map<String, Value>) -> Option<String> {
        let (written, _) = first_server(of)?;
        (self.server.as_ref() != Some(&written)).then_some(written)
    }
}

/// The first server: as it is written, and with its variables' defaults put in.
fn first_server<'v>(of: impl Servers<'v>) -> Option<(String, String)> {
    let server = of.servers()?.as_array()?.first()?;
    let written = server.get("url")?.as_str()?;
    let mut plain = written.to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        // A default in the host is somebody's example, and no host that anybody confirmed.
        let is_in_path = plain.find(&format!("{{{name}}}")).is_some_and(|at| is_after_authority(&plain, at));
        if let Some(default) = variable.get("default").and_then(Value::as_str).filter(|_| is_in_path) {
            plain = plain.replace(&format!("{{{name}}}"), default);
        }
    }
    Some((written.to_owned(), plain.trim_end_matches('/').to_owned()))
}

fn is_after_authority(url: &str, at: usize) -> bool {
    let authority = url.find("://").map_or(0, |scheme| scheme + 3);
    let path = url.get(authority..).and_then(|rest| rest.find('/')).map(|slash| authority + slash);
    path.is_some_and(|path| at > path)
}

/// The path of a server, absolute or not; none where it is no plain one.
fn path_of(url: &str) -> Option<String> {
    match Origin::parse(url) {
        Some(origin) => path_prefix(origin.rest),
        None if url.starts_with('/') => path_prefix(url),
        None => None,
    }
}

trait Servers<'v> {
    fn servers(&self) -> Option<&'v Value>;
}

impl<'v> Servers<'v> for &'v Value {
    fn servers(&self) -> Option<&'v Value> {
        self.get("servers")
    }
}

impl<'v> Servers<'v> for &'v Map<String, Value> {
    fn servers(&self) -> Option<&'v Value> {
        self.get("servers")
    }
}

fn methods<'d>(
    path: &'d str,
    shared: &'d Map<String, Value>,
) -> impl Iterator<Item = Result<Item<'d>, OpenApiError>> {
    METHODS.into_iter().filter_map(move |method| {
        let operation = shared.get(method)?;
        let at = || format!("{method} {path}").chars().take(120).collect::<String>();
        let wanted = OpenApiError::Shape { at: at(), wanted: "an operation is an object" };
        let operation = operation.as_object().ok_or(wanted);
        Some(operation.map(|operation| Item { path, method: method.to_uppercase(), operation, shared }))
    })
}

fn object<'d>(value: &'d Value, at: &str) -> Result<&'d Map<String, Value>, OpenApiError> {
    let wanted = || OpenApiError::Shape { at: at.chars().take(120).collect(), wanted: "an object" };
    value.as_object().ok_or_else(wanted)
}
