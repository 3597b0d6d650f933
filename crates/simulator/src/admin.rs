//! The admin port: what the provider counted, what it gave out, and its power to take back.

use crate::{
    error::SimulatorError,
    provider::{Policy, Provider},
    routes::{Answer, json_answer, problem, query, word},
};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;

/// A registration, in JSON.
#[derive(Deserialize)]
struct NewClient {
    redirect_uris: Vec<String>,
    policy: Policy,
}

/// Answers one request of the admin face.
pub(crate) fn answer(provider: &mut Provider, request: &Request<Bytes>) -> Answer {
    let query = query(request);
    let client = word(&query, "client_id");
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/counters") => told(provider.counters(client)),
        (&Method::GET, "/issued") => told(Ok(provider.issued((!client.is_empty()).then_some(client)))),
        (&Method::POST, "/revoke") => told(provider.revoke(client)),
        (&Method::POST, "/clients") => {
            let Ok(new) = serde_json::from_slice::<NewClient>(request.body()) else {
                return problem(StatusCode::BAD_REQUEST, "invalid_request");
            };
            let uris: Vec<&str> = new.redirect_uris.iter().map(String::as_str).collect();
            told(provider.register(&uris, new.policy))
        }
        _ => problem(StatusCode::NOT_FOUND, "not_found"),
    }
}

fn told<T: serde::Serialize>(result: Result<T, SimulatorError>) -> Answer {
    match result {
        Ok(value) => json_answer(StatusCode::OK, &json!(value)),
        Err(SimulatorError::UnknownClient(_)) => problem(StatusCode::NOT_FOUND, "unknown_client"),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
    }
}
