//! The manifest as text: what is stored, shown, compared and read again is the same file that a person could write.

use super::{
    Asked, Skipped,
    document::{Base, Document},
    security::Security,
};
use crate::manifest::Operation;
use nightlatch_domain::tool::{Placement, Scheme, Sensitivity};
use std::fmt::Write as _;

/// The longest line of a manifest that is text for people.
const LINE_MAX_CHARS: usize = 200;
/// So many skipped paths are listed in the file; the import lists all.
const SKIPPED_SHOWN_MAX: usize = 200;

pub(super) fn manifest(
    asked: &Asked<'_>,
    document: &Document<'_>,
    base: &Base,
    security: &Security,
    operations: &[Operation],
    skipped: &[Skipped],
) -> String {
    let mut text = String::with_capacity(operations.len() * 256 + 2048);
    let docs = document.pages().find_map(page).unwrap_or_else(|| format!("https://{}/", base.host));
    let title = line(document.info("title").unwrap_or_default());
    let title = if title.is_empty() { asked.name.to_string() } else { title };
    comment(
        &mut text,
        "Made from an OpenAPI document: `source` says which. Import that anew rather than editing this.",
    );
    skipped_lines(&mut text, skipped);
    put(&mut text, "name", asked.name.as_str());
    put(&mut text, "title", &title);
    put(&mut text, "docs", &docs);
    list(&mut text, "credential_headers", &security.headers);
    list(&mut text, "credential_query", &security.query);
    text.push_str("\n[source]\n");
    put(&mut text, "kind", "openapi");
    put(&mut text, "file", &file(asked.file));
    for key in ["title", "version"] {
        let own = line(document.info(key).unwrap_or_default());
        if !own.is_empty() {
            put(&mut text, key, &own);
        }
    }
    put(&mut text, "sha256", asked.sha256);
    host(&mut text, base, &security.placement);
    for operation in operations {
        one(&mut text, operation, &docs);
    }
    text
}

fn host(text: &mut String, base: &Base, placement: &Placement) {
    text.push_str("\n[[host]]\n");
    put(text, "host", &base.host);
    if base.scheme == Scheme::Http {
        put(text, "scheme", "http");
    }
    if base.port != base.scheme.default_port() {
        let _ = writeln!(text, "port = {}", base.port);
    }
    if base.prefix != "/" {
        put(text, "path_prefix", &base.prefix);
    }
    let place = match placement {
        Placement::Bearer => "{ kind = \"bearer\" }".to_owned(),
        Placement::Basic { user } => format!("{{ kind = \"basic\", user = {} }}", quoted(user)),
        Placement::Header { name, prefix } if prefix.is_empty() => {
            format!("{{ kind = \"header\", name = {} }}", quoted(name))
        }
        Placement::Header { name, prefix } => {
            format!("{{ kind = \"header\", name = {}, prefix = {} }}", quoted(name), quoted(prefix))
        }
    };
    let _ = writeln!(text, "key = {place}");
}

fn one(text: &mut String, operation: &Operation, docs: &str) {
    text.push_str("\n[[operation]]\n");
    put(text, "id", &operation.id.0);
    list(text, "method", &operation.methods);
    list(text, "path", &operation.paths.iter().map(ToString::to_string).collect::<Vec<_>>());
    if !operation.query.is_empty() {
        let pairs =
            operation.query.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)));
        let _ = writeln!(text, "query = {{ {} }}", pairs.collect::<Vec<_>>().join(", "));
    }
    put(text, "effect", operation.effect.as_str());
    if operation.sensitivity == Sensitivity::High {
        put(text, "sensitivity", "high");
    }
    if let Some(resource) = &operation.resource {
        put(text, "resource", resource.as_str());
    }
    put(text, "page", &page(&operation.page).unwrap_or_else(|| docs.to_owned()));
    if operation.deprecated {
        text.push_str("deprecated = true\n");
    }
}

fn skipped_lines(text: &mut String, skipped: &[Skipped]) {
    for one in skipped.iter().take(SKIPPED_SHOWN_MAX) {
        comment(text, &format!("skipped: {} {}: {}", one.method, one.path, one.reason));
    }
    let more = skipped.len().saturating_sub(SKIPPED_SHOWN_MAX);
    if more > 0 {
        comment(text, &format!("skipped: {more} more"));
    }
}

fn comment(text: &mut String, what: &str) {
    let plain: String = what.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let _ = writeln!(text, "# {plain}");
}

fn put(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "{key} = {}", quoted(value));
}

/// One value, or an array of them; nothing where there is none.
fn list(text: &mut String, key: &str, values: &[String]) {
    match values {
        [] => {}
        [one] => put(text, key, one),
        all => {
            let quoted: Vec<String> = all.iter().map(|value| quoted(value)).collect();
            let _ = writeln!(text, "{key} = [{}]", quoted.join(", "));
        }
    }
}

/// A basic string of TOML (1.0, "String").
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

/// One line of visible text; may be empty.
fn line(text: &str) -> String {
    let plain: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let mut line: String = plain.trim().chars().take(LINE_MAX_CHARS).collect();
    while line.len() > LINE_MAX_CHARS {
        line.pop();
    }
    line
}

/// The name of the file, without the folders of one machine.
fn file(path: &str) -> String {
    let name = line(path.rsplit('/').next().unwrap_or_default());
    if name.is_empty() { "document".to_owned() } else { name }
}

/// A page that a manifest may name.
fn page(text: &str) -> Option<String> {
    let sound = text.starts_with("https://")
        && text.len() <= LINE_MAX_CHARS
        && !text.chars().any(|letter| letter.is_control() || letter == ' ');
    sound.then(|| text.to_owned())
}
