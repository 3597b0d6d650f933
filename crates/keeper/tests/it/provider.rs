//! A provider on loopback: authorization codes, rotating refresh tokens with reuse detection, and the tool
//! whose account they are. What it does next can be scripted; what it saw is counted.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::TcpListener;

/// What the token endpoint does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Answers this, without looking at the request.
    Answer(u16, &'static [(&'static str, &'static str)], &'static str),
    /// Does what was asked, and closes the connection without a word.
    Vanish,
    /// Does what was asked, and answers this late.
    Late(Duration),
    /// Does what was asked, and answers something else.
    Garble(&'static str),
    /// Brings an access token only.
    KeepRefresh,
}

#[derive(Default)]
struct State {
    /// The family of every refresh token that was ever given, and whether it was used.
    refresh: HashMap<String, (u32, bool)>,
    /// The account and family of every access token.
    access: HashMap<String, (String, u32)>,
    accounts: HashMap<u32, String>,
    dead: Vec<u32>,
    presented: HashMap<String, u32>,
    script: VecDeque<Act>,
    /// What the revocation endpoint does with the next requests.
    revoking: VecDeque<Act>,
    /// What came there, with its hint.
    revoked: Vec<(String, String)>,
    token_calls: u32,
    refreshes: u32,
    reuses: u32,
    codes: u32,
    probes: u32,
    next: u32,
    expires_in: u64,
    probe_status: Option<u16>,
    /// A used refresh token is taken again, and what it brought before lives on.
    is_graceful: bool,
    /// Tokens have a random part, as real ones do.
    are_random: bool,
    /// A refresh brings an access token only, and consumes nothing.
    never_rotates: bool,
    /// Messages have names, places and units of its own, and refreshes an address.
    is_odd: bool,
    /// Requests that came where nothing is.
    strayed: u32,
    last_form: HashMap<String, String>,
    last_authorization: Option<String>,
    last_path: String,
    /// Token requests that are being answered, and the most there ever were.
    at_once: u32,
    most_at_once: u32,
}

/// What a profile says of a provider that speaks oddly, but for the address of its refreshes.
pub(crate) const ODD: &str = r#"
extra_refresh_params = { audience = "mail" }
token_path = ["data", "tokens"]
expires_field = "lives"
expires_unit = "milliseconds"
refresh_expires_field = "refresh_lives"
error_field = "status"
permanent_errors = ["GRANT_GONE"]
"#;

/// The life of a refresh token there.
const ODD_REFRESH_MILLIS: u64 = 30 * 86_400_000;

/// The running provider. Its thread ends with the process.
#[derive(Clone)]
pub(crate) struct Provider {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State { expires_in: 3600, ..State::default() }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, served));
        });
        Self { state, address }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its profile, with what a test adds.
    pub(crate) fn profile(&self, extra: &str) -> String {
        let port = self.port();
        let rotation = if extra.contains("rotation =") { "" } else { "rotation = 'always'" };
        format!(
            r#"
name = "test"
title = "Test"
authorization_endpoint = "http://127.0.0.1:{port}/authorize"
token_endpoint = "http://127.0.0.1:{port}/token"
client_auth = ["none", "client_secret_basic"]
not_processed_statuses = [429, 503]
{rotation}
{extra}
[[fact]]
covers = ["not_processed_statuses"]
source = "this provider answers so before it looks at what was presented"
confidence = "verified"
checked_at = "2026-11-29"
"#
        )
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    pub(crate) fn next(&self, act: Act) {
        self.with(|state| state.script.push_back(act));
    }

    /// What it does with the next tokens that come to be revoked.
    pub(crate) fn next_revocations(&self, act: &Act, count: usize) {
        self.with(|state| state.revoking.extend(std::iter::repeat_n(act.clone(), count)));
    }

    /// What came to be revoked: the tokens with their hints.
    pub(crate) fn revoked(&self) -> Vec<(String, String)> {
        self.with(|state| state.revoked.clone())
    }

    pub(crate) fn strayed(&self) -> u32 {
        self.with(|state| state.strayed)
    }

    /// A profile's line: where tokens are revoked.
    pub(crate) fn revocation_endpoint(&self) -> String {
        format!("revocation_endpoint = \"http://127.0.0.1:{}/revoke\"\n", self.port())
    }

    /// From now on it does what it is asked to.
    pub(crate) fn recovers(&self) {
        self.with(|state| {
            state.script.clear();
            state.revoking.clear();
        });
    }

    pub(crate) fn access_life(&self, secs: u64) {
        self.with(|state| state.expires_in = secs);
    }

    /// From now on its tokens have a random part.
    pub(crate) fn gives_random_tokens(&self) {
        self.with(|state| state.are_random = true);
    }

    /// From now on it speaks as [`ODD`] says.
    pub(crate) fn speaks_oddly(&self) {
        self.with(|state| state.is_odd = true);
    }

    /// From now on it takes a used refresh token again.
    pub(crate) fn is_graceful(&self) {
        self.with(|state| state.is_graceful = true);
    }

    /// From now on a refresh consumes nothing.
    pub(crate) fn never_rotates(&self) {
        self.with(|state| state.never_rotates = true);
    }

    /// Ends one refresh token, and nothing else of its family.
    pub(crate) fn forget(&self, number: u32) {
        self.with(|state| state.refresh.remove(&token("refresh", number, state.are_random)));
    }

    pub(crate) fn probe_answers(&self, status: Option<u16>) {
        self.with(|state| state.probe_status = status);
    }

    /// Gives tokens to somebody else: the system that is to be followed. Answers the refresh token.
    pub(crate) fn hands_out(&self, account: &str) -> String {
        self.hands_out_both(account).0
    }

    /// The refresh token, and the access token that came with it.
    pub(crate) fn hands_out_both(&self, account: &str) -> (String, String) {
        self.with(|state| {
            let family = state.next + 1;
            state.accounts.insert(family, account.to_owned());
            let body: serde_json::Value = serde_json::from_str(&give(state, family, true)).unwrap();
            let text = |key: &str| body[key].as_str().unwrap().to_owned();
            (text("refresh_token"), text("access_token"))
        })
    }

    /// From now on it takes this refresh token, as one of the account's.
    pub(crate) fn knows_as(&self, refresh: &str, account: &str) {
        self.with(|state| {
            state.next += 1;
            let family = state.next;
            state.accounts.insert(family, account.to_owned());
            state.refresh.insert(refresh.to_owned(), (family, false));
        });
    }

    /// The most token requests that were there at the same time.
    pub(crate) fn most_at_once(&self) -> u32 {
        self.with(|state| state.most_at_once)
    }

    /// Ends every family, as an administrator would.
    pub(crate) fn revoke_all(&self) {
        self.with(|state| state.dead = state.accounts.keys().copied().collect());
    }

    pub(crate) fn refreshes(&self) -> u32 {
        self.with(|state| state.refreshes)
    }

    pub(crate) fn token_calls(&self) -> u32 {
        self.with(|state| state.token_calls)
    }

    pub(crate) fn reuses(&self) -> u32 {
        self.with(|state| state.reuses)
    }

    pub(crate) fn codes(&self) -> u32 {
        self.with(|state| state.codes)
    }

    pub(crate) fn probes(&self) -> u32 {
        self.with(|state| state.probes)
    }

    /// The most often that any one refresh token was presented.
    pub(crate) fn most_presented(&self) -> u32 {
        self.with(|state| state.presented.values().copied().max().unwrap_or(0))
    }

    pub(crate) fn last_field(&self, name: &str) -> Option<String> {
        self.with(|state| state.last_form.get(name).cloned())
    }

    pub(crate) fn last_path(&self) -> String {
        self.with(|state| state.last_path.clone())
    }

    pub(crate) fn last_authorization(&self) -> Option<String> {
        self.with(|state| state.last_authorization.clone())
    }

    /// Whether an access token is one of ours and alive.
    pub(crate) fn knows(&self, access: &[u8]) -> bool {
        let token = String::from_utf8_lossy(access).into_owned();
        self.with(|state| state.access.get(&token).is_some_and(|(_, family)| !state.dead.contains(family)))
    }
}

async fn serve(listener: std::net::TcpListener, state: Arc<Mutex<State>>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// An error ends the connection without an answer.
async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let vanished = || std::io::Error::other("vanished");
    if request.uri().path() == "/me" {
        return Ok(me(&request, &state));
    }
    let path = request.uri().path().to_owned();
    let is_known = ["/token", "/refresh", "/revoke"].contains(&path.as_str());
    state.lock().unwrap().strayed += u32::from(!is_known);
    assert_eq!((request.method(), is_known), (&Method::POST, true), "{path}");
    let authorization =
        request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.map_err(|_| vanished())?.to_bytes();
    let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    if path == "/revoke" {
        return Ok(revoke(&form, authorization, &state).await);
    }
    let _here = Here(Arc::clone(&state));
    let act = {
        let mut state = state.lock().unwrap();
        state.token_calls += 1;
        state.at_once += 1;
        state.most_at_once = state.most_at_once.max(state.at_once);
        state.last_form.clone_from(&form);
        state.last_authorization = authorization;
        state.last_path = path;
        state.script.pop_front()
    };
    if let Some(Act::Answer(status, headers, body)) = act {
        return Ok(plain(status, headers, body));
    }
    let keeps_refresh = matches!(act, Some(Act::KeepRefresh)) || state.lock().unwrap().never_rotates;
    let (status, body) = exchange(&form, keeps_refresh, &mut state.lock().unwrap());
    let body = if state.lock().unwrap().is_odd { oddly(status, &body) } else { body };
    match act {
        Some(Act::Vanish) => return Err(vanished()),
        // tidy: sleeps because a slow provider is what the test is about
        Some(Act::Late(wait)) => tokio::time::sleep(wait).await,
        Some(Act::Garble(other)) => {
            // tidy: sleeps because others must be on their way by then
            tokio::time::sleep(Duration::from_millis(100)).await;
            return Ok(json(StatusCode::OK, other.to_owned()));
        }
        _ => {}
    }
    Ok(json(status, body))
}

fn plain(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response<Full<Bytes>> {
    let made = Response::builder().status(status);
    let made = headers.iter().fold(made, |made, (name, value)| made.header(*name, *value));
    made.body(Full::from(body)).unwrap()
}

/// RFC 7009: the family of what comes ends; what is unknown is no error.
async fn revoke(
    form: &HashMap<String, String>,
    authorization: Option<String>,
    state: &Mutex<State>,
) -> Response<Full<Bytes>> {
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let act = {
        let mut state = state.lock().unwrap();
        state.revoked.push((field("token"), field("token_type_hint")));
        state.last_form.clone_from(form);
        state.last_authorization = authorization;
        state.revoking.pop_front()
    };
    match act {
        Some(Act::Answer(status, headers, body)) => return plain(status, headers, body),
        // tidy: sleeps because a slow provider is what the test is about
        Some(Act::Late(wait)) => tokio::time::sleep(wait).await,
        _ => {}
    }
    let mut state = state.lock().unwrap();
    let family = state.refresh.get(&field("token")).map(|(family, _)| *family);
    let family = family.or_else(|| state.access.get(&field("token")).map(|(_, family)| *family));
    state.dead.extend(family);
    plain(200, &[], "")
}

/// A request that is being answered.
struct Here(Arc<Mutex<State>>);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.lock().unwrap().at_once -= 1;
    }
}

fn oddly(status: StatusCode, body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    if !status.is_success() {
        return serde_json::json!({ "status": "GRANT_GONE", "data": null }).to_string();
    }
    let tokens = serde_json::json!({
        "access_token": body["access_token"],
        "refresh_token": body["refresh_token"],
        "lives": body["expires_in"].as_u64().unwrap() * 1000,
        "refresh_lives": ODD_REFRESH_MILLIS,
    });
    serde_json::json!({ "status": "fine", "data": { "tokens": tokens } }).to_string()
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let made = Response::builder().status(status).header("content-type", "application/json");
    made.body(Full::from(body)).unwrap()
}

fn me(request: &Request<Incoming>, state: &Mutex<State>) -> Response<Full<Bytes>> {
    let mut state = state.lock().unwrap();
    state.probes += 1;
    if let Some(status) = state.probe_status {
        return json(StatusCode::from_u16(status).unwrap(), "{}".to_owned());
    }
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let token = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if let Some(key) = token.strip_prefix("key-") {
        let account = key.split('_').next().unwrap();
        return json(StatusCode::OK, format!(r#"{{"id":"{account}","login":"{account}@example.com"}}"#));
    }
    match state.access.get(token) {
        Some((account, family)) if !state.dead.contains(family) => {
            json(StatusCode::OK, format!(r#"{{"id":"{account}","login":"{account}@example.com"}}"#))
        }
        _ => json(StatusCode::UNAUTHORIZED, "{}".to_owned()),
    }
}

fn exchange(form: &HashMap<String, String>, keeps_refresh: bool, state: &mut State) -> (StatusCode, String) {
    let refused = || (StatusCode::BAD_REQUEST, r#"{"error":"invalid_grant"}"#.to_owned());
    match form.get("grant_type").map(String::as_str) {
        Some("authorization_code") => {
            state.codes += 1;
            let Some(account) = form.get("code").and_then(|code| code.strip_prefix("code-")) else {
                return refused();
            };
            let family = state.next + 1;
            state.accounts.insert(family, account.to_owned());
            (StatusCode::OK, give(state, family, true))
        }
        Some("refresh_token") => {
            let token = form.get("refresh_token").cloned().unwrap_or_default();
            *state.presented.entry(token.clone()).or_default() += 1;
            let Some((family, used)) = state.refresh.get(&token).copied() else { return refused() };
            if used && !state.is_graceful {
                // RFC 9700 §4.14.2: reuse ends the family.
                state.reuses += 1;
                state.dead.push(family);
            }
            if state.dead.contains(&family) {
                return refused();
            }
            state.refreshes += 1;
            if !keeps_refresh {
                state.refresh.insert(token, (family, true));
            }
            (StatusCode::OK, give(state, family, !keeps_refresh))
        }
        _ => (StatusCode::BAD_REQUEST, r#"{"error":"unsupported_grant_type"}"#.to_owned()),
    }
}

/// The token of that number: the same each time, and with its random part unlike any other.
pub(crate) fn token(kind: &str, number: u32, is_random: bool) -> String {
    let begins = format!("canary-{kind}-{number}");
    if !is_random {
        return begins;
    }
    let characters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let seed = begins.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    let random = (0..32u64).map(|at| {
        let mixed = (seed ^ at)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(23)
            .wrapping_mul(0xD6E8_FEB8_6659_FD93);
        char::from(characters[usize::try_from((mixed >> 32) % 62).unwrap()])
    });
    format!("{begins}_{}", random.collect::<String>())
}

fn give(state: &mut State, family: u32, with_refresh: bool) -> String {
    state.next += 1;
    let (number, life) = (state.next, state.expires_in);
    let access = token("access", number, state.are_random);
    let account = state.accounts[&family].clone();
    state.access.insert(access.clone(), (account, family));
    let mut body = serde_json::json!({"access_token": access, "token_type": "Bearer", "expires_in": life});
    if with_refresh {
        let refresh = token("refresh", number, state.are_random);
        state.refresh.insert(refresh.clone(), (family, false));
        body["refresh_token"] = refresh.into();
    }
    body.to_string()
}
