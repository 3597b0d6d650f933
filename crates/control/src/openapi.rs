//! The API's document (OpenAPI 3.1), made from the table of routes and the bodies' own descriptions.
//!
//! It lies as a golden file beside the sources: what others depend on changes where a reviewer sees it.

use crate::routes::{Route, table};
use serde_json::{Map, Value, json};

/// The document.
#[must_use]
pub fn openapi() -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    let problem = <crate::api::ApiProblem as crate::api::schema::Described>::schema(&mut schemas);
    for route in table() {
        let operation = operation(&route, &problem, &mut schemas);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(route.method.to_owned(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Nightlatch control API",
            "version": "1",
            "description": "Served on `run/api.sock` in the data folder. Every request carries `authorization: NIGHTLATCH-HMAC ts=…,nonce=…,mac=…`: HMAC-SHA-256 under `api.token` over `nightlatch api v1`, method, path with query, SHA-256 of the body, time and nonce, each on its line.",
        },
        "servers": [{ "url": "http://localhost" }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation(route: &Route, problem: &Value, schemas: &mut Map<String, Value>) -> Value {
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.about,
        "parameters": parameters(route),
        "responses": {
            "200": { "description": "done", "content": { "application/json": { "schema": (route.answers)(schemas) } } },
            "default": {
                "description": "not done",
                "content": { "application/problem+json": { "schema": problem } },
            },
        },
    });
    if let (Some(takes), Value::Object(operation)) = (route.takes, &mut operation) {
        let body =
            json!({ "required": true, "content": { "application/json": { "schema": takes(schemas) } } });
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let of_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let of_path = of_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let of_query = route.query.iter().map(|(name, about)| {
        json!({ "name": name, "in": "query", "required": false, "description": about, "schema": { "type": "string" } })
    });
    of_path.chain(of_query).collect()
}
