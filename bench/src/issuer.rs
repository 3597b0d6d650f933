//! An issuer: a token endpoint at several addresses of loopback, and the account behind each token.
//!
//! It is strict: every refresh token is good for one refresh, and one that is not the newest of its family is refused and
//! counted. It answers as late as it is told, and what an answer took it says in the access token that it gives: whoever
//! waited for it can tell the issuer's time from its own.
//!
//! ```text
//! {"answer": {"access_secs", "delay_micros"}}  → {}: how its answers are from now on
//! {"tally": {}}                                → {"refreshes", "refused"}: since it began
//! ```

use crate::{Fault, runtime};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::BufRead as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

/// What makes a token as long as tokens are.
const REST: &str = "mlqrT2YpXw8vNcG5kZdH3sJb9fVuAeRtQ6yLxW7oPnMz";

#[derive(Default)]
struct Issuer(Mutex<Books>);

#[derive(Default)]
struct Books {
    /// The account of each family, and the number of its newest refresh token.
    families: Vec<(String, u64)>,
    refreshes: u64,
    refused: u64,
    access_secs: u64,
    delay: Duration,
}

/// Answers until our standard input ends.
pub(crate) fn serve(origins: &str) -> Result<(), Fault> {
    let origins: usize = origins.parse()?;
    runtime()?.block_on(async {
        let issuer = Arc::new(Issuer::default());
        let mut ports = Vec::new();
        for _ in 0..origins {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            ports.push(listener.local_addr()?.port());
            tokio::spawn(accept(listener, Arc::clone(&issuer)));
        }
        println!("{}", json!({ "ports": ports }));
        tokio::task::spawn_blocking(move || issuer.obey()).await?
    })
}

async fn accept(listener: TcpListener, issuer: Arc<Issuer>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Where it fails, an answer only comes later.
        let _ = stream.set_nodelay(true);
        let issuer = Arc::clone(&issuer);
        let service = service_fn(move |request| {
            let issuer = Arc::clone(&issuer);
            async move { answer(&issuer, request).await }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(issuer: &Issuer, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let began = Instant::now();
    if request.uri().path() == "/me" {
        let bearer = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let account =
            issuer.account(bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default());
        return Ok(match account {
            Some(account) => says(StatusCode::OK, &json!({ "id": account, "login": account })),
            None => says(StatusCode::UNAUTHORIZED, &json!({})),
        });
    }
    let form: HashMap<String, String> =
        form_urlencoded::parse(&request.into_body().collect().await?.to_bytes()).into_owned().collect();
    let delay = issuer.books().delay;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let tokens = issuer.exchange(&form, began);
    Ok(match tokens {
        Some(tokens) => says(StatusCode::OK, &tokens),
        None => says(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_grant" })),
    })
}

fn says(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(body.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

impl Issuer {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn obey(&self) -> Result<(), Fault> {
        for line in std::io::stdin().lock().lines() {
            let command: Value = serde_json::from_str(&line?)?;
            println!("{}", self.carry_out(&command));
        }
        Ok(())
    }

    fn carry_out(&self, command: &Value) -> Value {
        let mut books = self.books();
        if let Some(how) = command.get("answer") {
            let number = |name: &str| how.get(name).and_then(Value::as_u64).unwrap_or_default();
            (books.access_secs, books.delay) =
                (number("access_secs"), Duration::from_micros(number("delay_micros")));
            return json!({});
        }
        if command.get("tally").is_some() {
            return json!({ "refreshes": books.refreshes, "refused": books.refused });
        }
        json!({ "fault": "a command is `answer` or `tally`" })
    }

    /// The account of a token; none where no family has it.
    fn account(&self, token: &str) -> Option<String> {
        let family: usize = token.split('.').next()?.parse().ok()?;
        self.books().families.get(family).map(|(account, _)| account.clone())
    }

    /// Tokens for a code, which is the account's name, or for the newest refresh token of a family.
    fn exchange(&self, form: &HashMap<String, String>, began: Instant) -> Option<Value> {
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let mut books = self.books();
        let family = match field("grant_type") {
            "authorization_code" => {
                books.families.push((field("code").to_owned(), 0));
                books.families.len() - 1
            }
            _ => {
                let presented = refresh_token(field("refresh_token"));
                let newest = presented
                    .and_then(|(family, number)| Some((family, number, books.families.get(family)?.1)));
                let Some((family, _, _)) = newest.filter(|(_, number, newest)| number == newest) else {
                    books.refused += 1;
                    return None;
                };
                books.refreshes += 1;
                family
            }
        };
        let (access_secs, newest) = (books.access_secs, books.families.get_mut(family)?);
        newest.1 += 1;
        Some(json!({
            "access_token": format!("{family}.{}.{REST}", began.elapsed().as_micros()),
            "refresh_token": format!("{family}.{}.{REST}", newest.1),
            "token_type": "Bearer",
            "expires_in": access_secs,
        }))
    }
}

/// Family and number.
fn refresh_token(text: &str) -> Option<(usize, u64)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    //! Proves that every refresh token is good once, and that what is not the newest is counted.

    use super::Issuer;
    use serde_json::json;
    use std::{collections::HashMap, time::Instant};

    fn asked(issuer: &Issuer, grant: &str, name: &str, value: &str) -> Option<String> {
        let form = HashMap::from([("grant_type".into(), grant.into()), (name.into(), value.into())]);
        let tokens = issuer.exchange(&form, Instant::now())?;
        Some(tokens["refresh_token"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_refresh_token_is_good_once() {
        let issuer = Issuer::default();
        let first = asked(&issuer, "authorization_code", "code", "dana").unwrap();
        let refreshed = |token: &str| asked(&issuer, "refresh_token", "refresh_token", token);
        let second = refreshed(&first).unwrap();
        assert!(refreshed(&first).is_none() && refreshed("7.1.x").is_none() && refreshed("").is_none());
        assert!(refreshed(&second).is_some());
        assert_eq!(issuer.carry_out(&json!({ "tally": {} })), json!({ "refreshes": 2, "refused": 3 }));
        assert_eq!((issuer.account(&second).as_deref(), issuer.account("1.1.x")), (Some("dana"), None));
    }
}
