//! What would be another if one manifest took the place of another: shown before it takes effect.

use super::{Host, Manifest, Operation, Root};
use nightlatch_domain::tool::{Effect, OperationId, Placement, Scheme};
use std::collections::BTreeMap;

/// Something that can be done, in few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub effect: Effect,
    /// How it is asked for: method and path, or root and field.
    pub request: String,
    /// The resource that it names.
    pub resource: Option<String>,
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// What could not be done before.
    pub added: Vec<Act>,
    /// What can be done no more.
    pub removed: Vec<Act>,
    /// What is another under the same id: before, after.
    pub changed: Vec<(Act, Act)>,
}

impl Manifest {
    /// What becomes another when `after` takes the place of this.
    #[must_use]
    pub fn difference(&self, after: &Self) -> Difference {
        let (mut before, mut difference) = (self.acts(), Difference::default());
        for (id, act) in after.acts() {
            match before.remove(&id) {
                None => difference.added.push(act),
                Some(earlier) if earlier != act => difference.changed.push((earlier, act)),
                Some(_) => {}
            }
        }
        difference.removed = before.into_values().collect();
        difference
    }

    /// Everything that can be done, by id.
    #[must_use]
    pub fn acts(&self) -> BTreeMap<OperationId, Act> {
        let operations = self.operations.iter().map(Act::of_operation);
        let acts = operations.chain(self.roots.iter().map(Act::of_root));
        acts.map(|act| (act.id.clone(), act)).collect()
    }

    /// Where a credential goes, and where it stands there: `https://api.example.com/v2, bearer`.
    #[must_use]
    pub fn destinations(&self) -> Vec<String> {
        self.hosts.iter().map(destination).collect()
    }
}

impl Act {
    fn of_operation(operation: &Operation) -> Self {
        let query: Vec<String> =
            operation.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let paths: Vec<&str> = operation.paths.iter().map(super::PathTemplate::as_str).collect();
        let route = if operation.route.is_empty() { String::new() } else { format!("~{} ", operation.route) };
        Self {
            id: operation.id.clone(),
            effect: operation.effect,
            request: format!("{} {route}{}{query}", operation.methods.join(","), paths.join(" ")),
            resource: operation.resource.as_ref().map(|resource| resource.as_str().to_owned()),
        }
    }

    fn of_root(root: &Root) -> Self {
        let request = format!("{} {}", root.on.as_str(), root.fields.join(" "));
        Self { id: root.id.clone(), effect: root.effect, request, resource: None }
    }
}

fn destination(host: &Host) -> String {
    let scheme = if host.scheme == Scheme::Https { "https" } else { "http" };
    let port =
        if host.port == host.scheme.default_port() { String::new() } else { format!(":{}", host.port) };
    let prefix = host.path_prefix.trim_end_matches('/');
    let place = |placement: &Placement| match placement {
        Placement::Bearer => "bearer".to_owned(),
        Placement::Basic { user } => format!("basic:{user}"),
        Placement::Header { name, prefix } => {
            format!("header:{name}:{prefix}").trim_end_matches(':').to_owned()
        }
    };
    let places: Vec<String> = [&host.key, &host.oauth].into_iter().flatten().map(place).collect();
    let mut places = places;
    places.dedup();
    format!("{scheme}://{}{port}{prefix}, {}", host.host, places.join(" or "))
}

#[cfg(test)]
mod tests {
    use crate::manifest::Manifest;

    const TEXT: &str = r#"
name = "pets"
title = "Pets"
docs = "https://example.com"
[[host]]
host = "api.example.com"
path_prefix = "/v2"
key = { kind = "header", name = "x-key", prefix = "pet " }
[[operation]]
id = "pets.get"
method = "GET"
path = "/v2/pets/{pet}"
effect = "read"
resource = "pets/{pet}"
page = "https://example.com"
[[operation]]
id = "pets.put"
method = "PUT"
path = "/v2/pets/{pet}"
effect = "write"
page = "https://example.com"
"#;

    fn manifest(text: &str) -> Manifest {
        Manifest::parse("x", text).unwrap()
    }

    #[test]
    fn what_is_another_is_told_and_nothing_else() {
        let before = manifest(TEXT);
        assert_eq!(before.difference(&before), super::Difference::default());
        let after = TEXT
            .replace("id = \"pets.put\"", "id = \"pets.change\"")
            .replace("effect = \"read\"", "effect = \"admin\"");
        let difference = before.difference(&manifest(&after));
        let ids = |acts: &[super::Act]| acts.iter().map(|act| act.id.0.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&difference.added), ["pets.change"]);
        assert_eq!(ids(&difference.removed), ["pets.put"]);
        let [(earlier, later)] = difference.changed.as_slice() else { panic!("{difference:?}") };
        assert_eq!((earlier.effect.as_str(), later.effect.as_str()), ("read", "admin"));
        assert_eq!(later.request, "GET /v2/pets/{pet}");
    }

    #[test]
    fn a_destination_says_where_a_credential_stands() {
        assert_eq!(manifest(TEXT).destinations(), ["https://api.example.com/v2, header:x-key:pet "]);
    }
}
