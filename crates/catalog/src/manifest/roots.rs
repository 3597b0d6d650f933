//! The root fields of a GraphQL endpoint: what a manifest calls them, and what they do.
//!
//! An operation with `body = "graphql"` is told apart by what stands in its body. Each root field that a manifest
//! lists is an operation of its own, with an id and an effect; several may share one. What it does not list has the
//! effect of the endpoint itself, which is `admin`, and its id, so that whoever is granted the endpoint by name is
//! granted the unlisted. A name that speaks of secrets is `credential` all the same.

use super::{
    Manifest, Operation,
    read::{EFFECTS, SENSITIVITIES, each, operation_id, page},
};
use crate::{
    graphql::{Asked, RootType},
    openapi::speaks_of_secrets,
    reading::{Document, Fields, Value},
    suggest,
};
use nightlatch_domain::{
    exchange::Matched,
    tool::{Effect, OperationId, Sensitivity},
};
use serde::Serialize;
use std::{cmp::Reverse, collections::BTreeSet};

/// What stands in the body of an operation, where policy must read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyKind {
    /// A GraphQL request in JSON.
    Graphql,
}

/// Root fields that are one operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Root {
    /// The operation's id.
    pub id: OperationId,
    /// The endpoint, by its operation's id.
    pub endpoint: OperationId,
    /// Of which root.
    pub on: RootType,
    /// The names of the fields.
    pub fields: Vec<String>,
    /// What they do.
    pub effect: Effect,
    /// How bad it would be if it were seen.
    pub sensitivity: Sensitivity,
    /// The documentation page that they were taken from.
    pub page: String,
}

impl Manifest {
    /// What stands in the body of what was matched, where policy must read it before it decides.
    #[must_use]
    pub fn body_of(&self, matched: &Matched) -> Option<BodyKind> {
        // An endpoint has roots, and most tools have no endpoint: nothing is looked for there.
        self.roots.first()?;
        self.operation(&matched.operation)?.body
    }

    /// What a request asks for at an endpoint that was matched: the operation of each of its root fields, the one with
    /// the strictest effect first.
    #[must_use]
    pub fn roots_asked(&self, endpoint: &Matched, asked: &Asked) -> Vec<Matched> {
        let mut all: Vec<Matched> = Vec::new();
        for field in &asked.fields {
            let one = self.root_asked(endpoint, asked.on, field);
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all.sort_by(|one, other| {
            let weight = |own: &Matched| Reverse((own.effect, own.sensitivity));
            weight(one).cmp(&weight(other)).then_with(|| one.operation.cmp(&other.operation))
        });
        all
    }

    fn root_asked(&self, endpoint: &Matched, on: RootType, field: &str) -> Matched {
        let is_listed = |root: &&Root| {
            root.endpoint == endpoint.operation && root.on == on && root.fields.iter().any(|own| own == field)
        };
        match self.roots.iter().find(is_listed) {
            Some(root) => Matched {
                operation: root.id.clone(),
                effect: root.effect,
                sensitivity: root.sensitivity,
                ..endpoint.clone()
            },
            None if speaks_of_secrets(field) => {
                Matched { effect: Effect::Credential, sensitivity: Sensitivity::High, ..endpoint.clone() }
            }
            None => endpoint.clone(),
        }
    }

    /// Whether an operation is about secrets, by itself or by what may stand in its body.
    pub(super) fn is_about_secrets(&self, operation: &Operation) -> bool {
        let has_secret_root = || {
            self.roots.iter().any(|root| root.endpoint == operation.id && root.effect == Effect::Credential)
        };
        operation.effect == Effect::Credential || (operation.body.is_some() && has_secret_root())
    }
}

/// Reads every `[[graphql]]` of a manifest.
pub(super) fn read(
    source: &Document<'_>,
    fields: &mut Fields<'_, '_>,
    operations: &[Operation],
) -> Vec<Root> {
    let entries = fields.optional("graphql").and_then(|value| value.entries()).unwrap_or_default();
    let mut ids: BTreeSet<OperationId> = operations.iter().map(|operation| operation.id.clone()).collect();
    let mut known = BTreeSet::new();
    let mut roots = Vec::new();
    for entry in &entries {
        let Some(root) = entry.table("this `graphql`").and_then(|mut fields| root(&mut fields, operations))
        else {
            continue;
        };
        if !ids.insert(root.id.clone()) {
            entry.fault(format!("the id `{}` stands twice: give these fields another", root.id));
        }
        for field in &root.fields {
            if !known.insert((root.endpoint.clone(), root.on, field.clone())) {
                entry.fault(format!("the field `{field}` stands twice: leave one out"));
            }
        }
        roots.push(root);
    }
    let has_roots = |operation: &Operation| roots.iter().any(|root| root.endpoint == operation.id);
    for bare in operations.iter().filter(|own| own.body.is_some() && !has_roots(own)) {
        let span = fields.span();
        source.fault(
            &span,
            format!("`{}` reads its body and has no `[[graphql]]`: list its root fields", bare.id),
        );
    }
    roots
}

fn root(fields: &mut Fields<'_, '_>, operations: &[Operation]) -> Option<Root> {
    let id = fields.required("id").and_then(|value| operation_id(&value));
    let endpoint = endpoint(fields, operations);
    let on = fields
        .required("on")
        .and_then(|value| value.word(&[("query", RootType::Query), ("mutation", RootType::Mutation)]));
    let names = each(fields.required("field"), field);
    let effect = fields.required("effect").and_then(|value| value.word(EFFECTS));
    let sensitivity =
        fields.optional("sensitivity").and_then(|value| value.word(SENSITIVITIES)).unwrap_or_default();
    let page = fields.required("page").and_then(|value| page(&value));
    fields.finish();
    if names.is_empty() {
        return None;
    }
    Some(Root {
        id: id?,
        endpoint: endpoint?,
        on: on?,
        fields: names,
        effect: effect?,
        sensitivity,
        page: page?,
    })
}

/// The endpoint that is named, or `graphql`.
fn endpoint(fields: &mut Fields<'_, '_>, operations: &[Operation]) -> Option<OperationId> {
    let value = fields.optional("endpoint");
    let text = value.as_ref().map_or(Some("graphql"), Value::text)?;
    let endpoints =
        || operations.iter().filter(|own| own.body == Some(BodyKind::Graphql)).map(|own| own.id.0.as_str());
    if endpoints().any(|own| own == text) {
        return Some(OperationId(text.to_owned()));
    }
    let hint = match suggest::nearest(text, endpoints()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write `body = \"graphql\"` in the operation of the endpoint".to_owned(),
    };
    let message = format!("no operation `{text}` has a body of GraphQL: {hint}");
    match value {
        Some(value) => value.fault(message),
        None => fields.fault(message),
    }
    None
}

/// GraphQL §2.1.9: `Name`.
fn field(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let first = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let sound =
        first && text.len() <= 200 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !sound {
        value.fault(format!(
            "`{text}` is no name of a field: write it as the schema does, for example `viewer`"
        ));
    }
    sound.then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
