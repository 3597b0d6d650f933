//! A strict provider with a hoard of tokens that it once gave to somebody else: as many accounts as are asked for, each with
//! one refresh token. Each refresh brings a new one; whoever presents a used one loses the family. It counts everything.

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;

/// What it knows.
#[derive(Default)]
struct State {
    /// The account of each refresh token that is good, and of those that were used.
    good: HashMap<String, u32>,
    used: HashMap<String, u32>,
    dead: HashSet<u32>,
    access: HashMap<String, u32>,
    presented: HashMap<String, u32>,
    refreshes: u64,
    reuses: u64,
    at_once: usize,
    most_at_once: usize,
}

/// The provider. Its thread ends with the process.
#[derive(Clone)]
pub(crate) struct Hoard {
    state: Arc<Mutex<State>>,
    port: u16,
}

/// The refresh token of an account, as the old system holds it.
pub(crate) fn held(account: u32) -> String {
    format!("canary-held-{account:05}-{:016x}", u64::from(account).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn next(kind: &str, account: u32, number: u64) -> String {
    let mixed = (u64::from(account) << 32 ^ number).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    format!("canary-{kind}-{account:05}-{mixed:016x}")
}

impl Hoard {
    pub(crate) fn of(accounts: u32) -> Self {
        let good = (0..accounts).map(|account| (held(account), account)).collect();
        let state = Arc::new(Mutex::new(State { good, ..State::default() }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        let port = listener.local_addr().expect("an address").port();
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(serve(listener, served));
        });
        Self { state, port }
    }

    /// Its profile: nothing is known of it but that it is strict.
    pub(crate) fn profile(&self) -> String {
        let port = self.port;
        format!(
            r#"name = "hoard"
title = "The old system's provider"
authorization_endpoint = "http://127.0.0.1:{port}/authorize"
token_endpoint = "http://127.0.0.1:{port}/token"
client_auth = ["none"]
rotation = "always"
"#
        )
    }

    pub(crate) fn manifest(&self) -> String {
        let port = self.port;
        format!(
            r#"name = "hoard"
title = "The hoard"
docs = "https://example.com/docs"
profile = "hoard"

[[host]]
host = "127.0.0.1"
scheme = "http"
port = {port}
oauth = {{ kind = "bearer" }}
challenge = "Bearer realm=\"hoard\""

[account]
probe = "/me"
id = ["/id"]
label = "/login"

[[operation]]
id = "me.get"
method = "GET"
path = "/me"
effect = "read"
page = "https://example.com/docs/me"
"#
        )
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().expect("no test failed before"))
    }

    pub(crate) fn refreshes(&self) -> u64 {
        self.with(|state| state.refreshes)
    }

    pub(crate) fn reuses(&self) -> u64 {
        self.with(|state| state.reuses)
    }

    /// The most often that any one refresh token was presented.
    pub(crate) fn most_presented(&self) -> u32 {
        self.with(|state| state.presented.values().copied().max().unwrap_or(0))
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.with(|state| state.most_at_once)
    }

    /// Tokens that it gave out to whoever presents the held ones: the first so many.
    pub(crate) fn some_issued(&self, most: usize) -> Vec<String> {
        self.with(|state| {
            let refresh = state.good.keys().filter(|token| !token.contains("held"));
            refresh.take(most).chain(state.access.keys().take(most)).cloned().collect()
        })
    }
}

async fn serve(listener: std::net::TcpListener, state: Arc<Mutex<State>>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let locked = || state.lock().expect("no test failed before");
    if request.uri().path() == "/me" {
        let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let account = locked().access.get(token).copied();
        return Ok(account.map_or_else(
            || json(StatusCode::UNAUTHORIZED, "{}".to_owned()),
            |account| json(StatusCode::OK, format!(r#"{{"id":"{account}","login":"user-{account:05}"}}"#)),
        ));
    }
    {
        let mut state = locked();
        state.at_once += 1;
        state.most_at_once = state.most_at_once.max(state.at_once);
    }
    let body = request.into_body().collect().await?.to_bytes();
    let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let mut state = locked();
    state.at_once -= 1;
    Ok(refreshed(&mut state, form.get("refresh_token").map(String::as_str).unwrap_or_default()))
}

fn refreshed(state: &mut State, token: &str) -> Response<Full<Bytes>> {
    let refused = || json(StatusCode::BAD_REQUEST, r#"{"error":"invalid_grant"}"#.to_owned());
    *state.presented.entry(token.to_owned()).or_default() += 1;
    if let Some(account) = state.used.get(token).copied() {
        state.reuses += 1;
        state.dead.insert(account);
        return refused();
    }
    let Some(account) = state.good.get(token).copied().filter(|account| !state.dead.contains(account)) else {
        return refused();
    };
    state.good.remove(token);
    state.used.insert(token.to_owned(), account);
    state.refreshes += 1;
    let (refresh, access) =
        (next("refresh", account, state.refreshes), next("access", account, state.refreshes));
    state.good.insert(refresh.clone(), account);
    state.access.insert(access.clone(), account);
    json(
        StatusCode::OK,
        format!(
            r#"{{"access_token":"{access}","token_type":"Bearer","expires_in":86400,"refresh_token":"{refresh}"}}"#
        ),
    )
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let made = Response::builder().status(status).header("content-type", "application/json");
    made.body(Full::from(body)).expect("an answer")
}
