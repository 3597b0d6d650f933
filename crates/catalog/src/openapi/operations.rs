//! The operations of a document, one by one: held by a template, given an id and an effect, told from each other.
//!
//! Where two say the same to us, the first stands for both, with the stricter effect of the two. Nothing that may be
//! about a secret is ever left to what is unlisted: see [`Operations::guard`].

use super::{
    OpenApiError, Skipped,
    document::{Base, Document, Item},
    effects::Said,
    names::Ids,
    paths::{self, Held, Unheld},
};
use crate::manifest::{OPERATIONS_LIMIT, Operation};
use nightlatch_domain::tool::{Effect, OperationId, Sensitivity};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a document may call the effect of an operation itself.
const STATED: &str = "x-nightlatch-effect";

pub(super) struct Operations<'d> {
    document: &'d Document<'d>,
    base: &'d Base,
    /// Each with its path as we hold it.
    found: Vec<(Operation, Held)>,
    /// Which of them have a shape, by their numbers.
    shapes: BTreeMap<String, Vec<usize>>,
    ids: Ids,
    skipped: Vec<Skipped>,
}

impl<'d> Operations<'d> {
    pub(super) fn new(document: &'d Document<'d>, base: &'d Base) -> Self {
        Self {
            document,
            base,
            found: Vec::new(),
            shapes: BTreeMap::new(),
            ids: Ids::default(),
            skipped: Vec::new(),
        }
    }

    /// Takes one method of one path.
    pub(super) fn add(&mut self, item: Item<'d>) -> Result<(), OpenApiError> {
        let held = self.held(&item)?;
        let effect = self.said(&item, held.as_ref().ok())?.effect();
        let held = match held {
            Ok(held) => held,
            Err(Unheld(why)) => return self.guard(&item, effect, why),
        };
        if let Some(name) = &held.spanning {
            let why = format!("`{{{name}}}` stands for several segments, and is held where it is one");
            match effect {
                // What it is with more segments must not be reached as unlisted.
                Effect::Credential => self.guard(&item, effect, &why)?,
                _ => self.skip(&item, format!("{why}: with more it is unlisted, and so `admin`")),
            }
        }
        if item.method == "TRACE" {
            self.skip(
                &item,
                "TRACE echoes what was sent, the credential included, and is refused".to_owned(),
            );
            return Ok(());
        }
        let operation = self.operation(&item, &held, effect);
        match self.rival(&operation) {
            None => self.push(operation, held),
            Some(number) => self.merge(&item, number, &operation),
        }
    }

    /// What was found, with resources, and what was not taken.
    pub(super) fn finish(self) -> (Vec<Operation>, Vec<Skipped>) {
        let known = self.base.prefix.split('/').filter(|part| !part.is_empty()).count();
        let resourced = self.found.into_iter().map(|(mut operation, held)| {
            operation.resource = held.resource(known);
            operation
        });
        (resourced.collect(), self.skipped)
    }

    /// Holds the place of what no template of ours can hold, where it may be about a secret: else a grant of `admin`
    /// would reach it as unlisted.
    fn guard(&mut self, item: &Item<'d>, effect: Effect, why: &str) -> Result<(), OpenApiError> {
        let widened = paths::widened(&self.base.prefix, item.path);
        let Some(held) = widened.filter(|_| effect == Effect::Credential && item.method != "TRACE") else {
            self.skip(item, format!("{why}: it is unlisted, and so `admin`"));
            return Ok(());
        };
        let operation = self.operation(item, &held, effect);
        self.skip(item, format!("{why}: `{}` stands for it, as `credential`", held.template));
        match self.rival(&operation) {
            None => self.push(operation, held),
            Some(number) => {
                self.raise(number, effect);
                Ok(())
            }
        }
    }

    fn held(&self, item: &Item<'d>) -> Result<Result<Held, Unheld>, OpenApiError> {
        let other = self.base.other_server(item.operation).or_else(|| self.base.other_server(item.shared));
        if other.is_some() {
            return Ok(Err(Unheld(
                "it is at another server, which is another host: add that as a tool of its own",
            )));
        }
        let spanning = self.spanning(item)?;
        Ok(paths::held(&self.base.prefix, item.path, |name| spanning.contains(&name)))
    }

    /// The path's variables that stand for several segments, by GitHub's word for it. OpenAPI has none.
    fn spanning(&self, item: &Item<'d>) -> Result<Vec<&'d str>, OpenApiError> {
        let lists = [item.operation.get("parameters"), item.shared.get("parameters")];
        let mut spanning = Vec::new();
        for parameter in lists.into_iter().flatten().filter_map(Value::as_array).flatten() {
            let parameter = self.document.resolved(parameter)?;
            let spans = parameter.get("x-multi-segment").and_then(Value::as_bool) == Some(true);
            spanning.extend(parameter.get("name").and_then(Value::as_str).filter(|_| spans));
        }
        Ok(spanning)
    }

    fn said<'s>(&self, item: &'s Item<'d>, held: Option<&Held>) -> Result<Said<'s>, OpenApiError> {
        let text = |key: &str| item.operation.get(key).and_then(Value::as_str).unwrap_or_default();
        let tags = item.operation.get("tags").and_then(Value::as_array).into_iter().flatten();
        let raw = || item.path.split('/').map(str::to_owned).collect();
        Ok(Said {
            method: &item.method,
            id: text("operationId"),
            literals: held.map_or_else(raw, Held::literals),
            variables: held.map(Held::variables).unwrap_or_default(),
            tags: tags.filter_map(Value::as_str).collect(),
            summary: text("summary"),
            scopes: scopes(item.operation),
            stated: stated(item.operation)?.max(stated(item.shared)?),
        })
    }

    fn operation(&mut self, item: &Item<'d>, held: &Held, effect: Effect) -> Operation {
        let called = item.operation.get("operationId").and_then(Value::as_str).unwrap_or_default();
        let page =
            item.operation.get("externalDocs").and_then(|docs| docs.get("url")).and_then(Value::as_str);
        let sensitivity = if effect >= Effect::Admin { Sensitivity::High } else { Sensitivity::Medium };
        Operation {
            answers_no_secret: false,
            id: OperationId(self.ids.take(called, &item.method, item.path)),
            route: String::new(),
            methods: vec![item.method.clone()],
            paths: vec![held.template.clone()],
            query: held.query.clone(),
            body: None,
            effect,
            sensitivity,
            resource: None,
            page: page.unwrap_or_default().to_owned(),
            upgrade: None,
            exercised: false,
            deprecated: item.operation.get("deprecated").and_then(Value::as_bool) == Some(true),
        }
    }

    fn push(&mut self, operation: Operation, held: Held) -> Result<(), OpenApiError> {
        if self.found.len() >= OPERATIONS_LIMIT {
            return Err(OpenApiError::TooMany(OPERATIONS_LIMIT));
        }
        self.shapes.entry(held.template.shape()).or_default().push(self.found.len());
        self.found.push((operation, held));
        Ok(())
    }

    /// The number of an operation that would take the same request, and is as narrow.
    fn rival(&self, operation: &Operation) -> Option<usize> {
        let shapes = operation.paths.iter().filter_map(|template| self.shapes.get(&template.shape()));
        let is_rival = |number: &&usize| {
            self.found.get(**number).is_some_and(|(earlier, _)| earlier.clash(operation).is_some())
        };
        shapes.flatten().find(is_rival).copied()
    }

    /// Lets an earlier operation stand for this one too.
    fn merge(&mut self, item: &Item<'d>, number: usize, operation: &Operation) -> Result<(), OpenApiError> {
        let same =
            self.found.get(number).map(|(earlier, _)| (earlier.id.clone(), earlier.paths == operation.paths));
        let Some((id, is_same)) = same else { return Ok(()) };
        self.raise(number, operation.effect);
        match is_same || operation.effect != Effect::Credential {
            true => {
                self.skip(
                    item,
                    format!("it is the same request as `{id}`, which has the stricter effect of both"),
                );
                Ok(())
            }
            // The earlier one takes only a part of its requests.
            false => {
                self.guard(item, operation.effect, &format!("a part of its requests are those of `{id}`"))
            }
        }
    }

    fn raise(&mut self, number: usize, effect: Effect) {
        if let Some((operation, _)) = self.found.get_mut(number) {
            operation.effect = operation.effect.max(effect);
            if operation.effect >= Effect::Admin {
                operation.sensitivity = Sensitivity::High;
            }
        }
    }

    fn skip(&mut self, item: &Item<'d>, reason: String) {
        self.skipped.push(Skipped { method: item.method.clone(), path: item.path.to_owned(), reason });
    }
}

/// The scopes of every way to authorize it.
fn scopes(operation: &Map<String, Value>) -> Vec<&str> {
    let ways = operation.get("security").and_then(Value::as_array).into_iter().flatten();
    let lists = ways.filter_map(Value::as_object).flat_map(|way| way.values()).filter_map(Value::as_array);
    lists.flatten().filter_map(Value::as_str).collect()
}

fn stated(of: &Map<String, Value>) -> Result<Option<Effect>, OpenApiError> {
    let Some(value) = of.get(STATED) else { return Ok(None) };
    let known = Effect::ALL.into_iter().find(|effect| value.as_str() == Some(effect.as_str()));
    let wanted = "one of `read`, `write`, `destructive`, `admin`, `credential`";
    known.map(Some).ok_or(OpenApiError::Shape { at: STATED.to_owned(), wanted })
}
