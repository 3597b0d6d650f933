//! Security schemes → where the credential stands, and which other fields carry one.

use super::{OpenApiError, document::Document};
use crate::manifest::header_name;
use nightlatch_domain::tool::Placement;
use serde_json::{Map, Value};

/// What the schemes come to.
pub(super) struct Security {
    pub(super) placement: Placement,
    /// Other headers that carry a credential.
    pub(super) headers: Vec<String>,
    /// Query names that do.
    pub(super) query: Vec<String>,
}

/// Reads the schemes. The one that the document asks for by default comes first.
pub(super) fn read(document: &Document<'_>, asked: Option<&Placement>) -> Result<Security, OpenApiError> {
    let schemes = schemes(document)?;
    let (mut headers, mut query) = (Vec::new(), Vec::new());
    for (_, scheme) in &schemes {
        let name = text(scheme, "name");
        match (text(scheme, "type"), text(scheme, "in")) {
            ("apiKey", "header") => headers.extend(header_name(&name.to_ascii_lowercase())),
            ("apiKey", "query") if is_word(name) => query.push(name.to_owned()),
            _ => {}
        }
    }
    let placement = asked.cloned().or_else(|| schemes.iter().find_map(|(_, scheme)| placement(scheme)));
    let placement = placement.ok_or_else(|| OpenApiError::NoPlacement(described(&schemes)))?;
    let own = match &placement {
        Placement::Header { name, .. } => name.clone(),
        Placement::Bearer | Placement::Basic { .. } => "authorization".to_owned(),
    };
    headers.retain(|name| *name != own);
    for names in [&mut headers, &mut query] {
        names.sort();
        names.dedup();
    }
    Ok(Security { placement, headers, query })
}

type Scheme<'d> = (&'d str, &'d Map<String, Value>);

fn schemes<'d>(document: &Document<'d>) -> Result<Vec<Scheme<'d>>, OpenApiError> {
    let all = document.get("/components/securitySchemes").and_then(Value::as_object);
    let mut schemes = Vec::new();
    for (name, scheme) in all.into_iter().flatten() {
        schemes.extend(document.resolved(scheme)?.as_object().map(|scheme| (name.as_str(), scheme)));
    }
    let wanted = document.get("/security").and_then(Value::as_array).into_iter().flatten();
    let wanted: Vec<&str> =
        wanted.filter_map(Value::as_object).flat_map(|way| way.keys()).map(String::as_str).collect();
    schemes.sort_by_key(|(name, _)| wanted.iter().position(|own| own == name).unwrap_or(usize::MAX));
    Ok(schemes)
}

fn placement(scheme: &Map<String, Value>) -> Option<Placement> {
    match (text(scheme, "type"), text(scheme, "scheme").to_ascii_lowercase().as_str(), text(scheme, "in")) {
        ("http", "bearer", _) | ("oauth2" | "openIdConnect", _, _) => Some(Placement::Bearer),
        ("apiKey", _, "header") => {
            let name = header_name(&text(scheme, "name").to_ascii_lowercase())?;
            Some(Placement::Header { name, prefix: String::new() })
        }
        // A user name stands before a Basic password, and what stands in a query or a cookie we do not place.
        _ => None,
    }
}

fn described(schemes: &[Scheme<'_>]) -> String {
    let one = |(name, scheme): &Scheme<'_>| {
        format!("`{name}` is {} {}{}", text(scheme, "type"), text(scheme, "scheme"), text(scheme, "in"))
    };
    let all: Vec<String> = schemes.iter().take(5).map(one).collect();
    let shown = if all.is_empty() { "it has no security scheme".to_owned() } else { all.join(", ") };
    shown.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

fn text<'v>(of: &'v Map<String, Value>, key: &str) -> &'v str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && text.bytes().all(|byte| byte.is_ascii_graphic())
}
