//! A running simulator with a client and a human, and HTTP to it: one connection a request, nothing followed.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use nightlatch_domain::clock::{Boot, Clock, Entropy, NoEntropy, Timestamp};
use nightlatch_simulator::{Account, Policy, Registered, Simulator};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const BACK: &str = "http://127.0.0.1:9/back";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-in-length";

/// A clock that stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn boot(&self) -> Boot {
        Boot::from_millis(0)
    }
}

/// Each draw is another number.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        let number = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        out.iter_mut().zip(number.iter().cycle()).for_each(|(place, byte)| *place = *byte);
        Ok(())
    }
}

pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) client: Registered,
    account: Account,
}

impl World {
    pub(crate) async fn new() -> Self {
        let entropy = Arc::new(Counting(AtomicU64::new(1)));
        let simulator = Simulator::start(Arc::new(Still), entropy).await.expect("loopback");
        let policy = Policy { access: Duration::from_secs(10), refresh_idle: Duration::from_secs(60) };
        let account = simulator.provider().open_account("dana").expect("an account");
        let client = simulator.provider().register(&[BACK], policy).expect("a client");
        Self { simulator, client, account }
    }

    pub(crate) fn authorize_path(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes());
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client.client_id)
            .append_pair("redirect_uri", BACK)
            .append_pair("scope", "mail")
            .append_pair("state", "s")
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(digest))
            .append_pair("code_challenge_method", "S256")
            .finish();
        format!("/authorize?{query}")
    }

    /// Fills in the login page.
    pub(crate) async fn log_in(&self, page: &Page) -> Page {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("request", &field(&page.text(), "request"))
            .append_pair("login", &self.account.login)
            .append_pair("password", &self.account.password)
            .finish();
        self.send(Method::POST, "/login", &[], &form).await
    }

    /// Goes where a login sends the browser, with its cookie.
    pub(crate) async fn follow(&self, page: &Page) -> Page {
        self.get(page.header("location"), &[("cookie", cookie(page))]).await
    }

    /// The whole login, up to the token endpoint's answer.
    pub(crate) async fn tokens(&self) -> Page {
        let login = self.get(&self.authorize_path(), &[]).await;
        let logged_in = self.log_in(&login).await;
        let consent = self.follow(&logged_in).await;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("request", &field(&consent.text(), "request"))
            .append_pair("once", &field(&consent.text(), "once"))
            .append_pair("decision", "agree")
            .finish();
        let back = self.send(Method::POST, "/consent", &[("cookie", cookie(&logged_in))], &form).await;
        let (_, query) = back.header("location").split_once('?').expect("an answer");
        let code =
            form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "code").expect("a code").1;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", &code)
            .append_pair("redirect_uri", BACK)
            .append_pair("code_verifier", VERIFIER)
            .finish();
        let pair = STANDARD.encode(format!("{}:{}", self.client.client_id, self.client.client_secret));
        let basic = format!("Basic {pair}");
        let tokens = self.send(Method::POST, "/token", &[("authorization", &basic)], &form).await;
        assert_eq!(tokens.status, 200, "{}", tokens.text());
        tokens
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Page {
        self.send(Method::GET, path, headers, "").await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Page {
        send(self.simulator.base(), method, path, headers, body).await
    }

    pub(crate) async fn admin(&self, method: Method, path: &str, body: &str) -> Page {
        send(self.simulator.admin(), method, path, &[], body).await
    }
}

fn cookie(page: &Page) -> &str {
    page.header("set-cookie").split(';').next().expect("a cookie")
}

/// The value of a form's field.
pub(crate) fn field(html: &str, name: &str) -> String {
    let (_, rest) = html.split_once(&format!("name=\"{name}\" value=\"")).expect("a field");
    rest.split_once('"').expect("its end").0.to_owned()
}

pub(crate) struct Page {
    pub(crate) status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Page {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

async fn send(base: &str, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Page {
    let host = base.trim_start_matches("http://");
    let stream = tokio::net::TcpStream::connect(host).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request");
    let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Page { status: head.status.as_u16(), headers: head.headers, body }
}
