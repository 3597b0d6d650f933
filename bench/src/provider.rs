//! A provider whose tokens rotate, and its tool: what `cargo xtask bench soak` runs against.
//!
//! The provider is `nightlatch-simulator`, which knows nothing of Nightlatch. The tool stands in the same process, so
//! that it can ask, of every call and at the moment at which it arrives, whether this very credential lives; one that
//! does not is answered 401 and counted.
//!
//! ```text
//! {"register": {"redirect_uri", "access_secs"}}  → {"client_id", "client_secret"}
//! {"consent": {"address"}}                       → {"address"}: the human logs in and agrees; where the browser goes next
//! {"tally": {"client_id"}}                       → {"provider": what it counted of that client, "tool": TALLY}
//! ```

use crate::{Fault, runtime};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use nightlatch_domain::clock::{Boot, Clock, Entropy, NoEntropy, Timestamp};
use nightlatch_simulator::{Account, AuthorizeRequest, Landing, Policy, Simulator};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    convert::Infallible,
    io::BufRead as _,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    net::TcpListener,
    time::{Interval, interval},
};

/// An unused refresh token outlives every run.
const REFRESH_IDLE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The answer to a read or a write.
const THING_BYTES: usize = 1024;
/// Events of one stream, and how far apart they come.
const EVENTS: u8 = 10;
const BETWEEN_EVENTS: Duration = Duration::from_millis(100);

/// The provider, its one account, and the tool.
struct Stand {
    simulator: Simulator,
    account: Account,
    tally: Mutex<Tally>,
}

/// What the tool saw.
#[derive(Default)]
struct Tally {
    calls: u64,
    /// Calls whose credential did not live when they arrived, or that had none.
    dead: u64,
    /// Calls that no grant covers.
    forbidden: u64,
    /// The credentials that lived.
    credentials: BTreeSet<String>,
}

/// Answers until our standard input ends.
pub(crate) fn serve() -> Result<(), Fault> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let clock = Arc::new(SinceStart(Instant::now()));
        let simulator = Simulator::start(clock, Arc::new(SystemRandom)).await?;
        let account = simulator.provider().open_account("dana")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", json!({ "issuer": simulator.base(), "tool": listener.local_addr()?.to_string() }));
        let stand = Arc::new(Stand { simulator, account, tally: Mutex::default() });
        tokio::spawn(accept(listener, Arc::clone(&stand)));
        tokio::task::spawn_blocking(move || stand.obey()).await?
    })
}

impl Stand {
    fn obey(&self) -> Result<(), Fault> {
        for line in std::io::stdin().lock().lines() {
            let command: Value = serde_json::from_str(&line?)?;
            let answer = self.carry_out(&command);
            println!("{}", answer.unwrap_or_else(|fault| json!({ "fault": fault.to_string() })));
        }
        Ok(())
    }

    fn carry_out(&self, command: &Value) -> Result<Value, Fault> {
        let (what, facts) =
            command.as_object().and_then(|one| one.iter().next()).ok_or("a command is an object of one")?;
        let text = |name: &str| facts.get(name).and_then(Value::as_str).ok_or(format!("`{name}` is missing"));
        match what.as_str() {
            "register" => {
                let secs =
                    facts.get("access_secs").and_then(Value::as_u64).ok_or("`access_secs` is missing")?;
                let policy = Policy { access: Duration::from_secs(secs), refresh_idle: REFRESH_IDLE };
                Ok(json!(self.simulator.provider().register(&[text("redirect_uri")?], policy)?))
            }
            "consent" => Ok(json!({ "address": self.consent(text("address")?)? })),
            "tally" => {
                let counted = self.simulator.provider().counters(text("client_id")?)?;
                let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                let tool = json!({
                    "calls": tally.calls,
                    "dead": tally.dead,
                    "forbidden": tally.forbidden,
                    "credentials": tally.credentials.len(),
                });
                Ok(json!({ "provider": counted, "tool": tool }))
            }
            other => Err(format!("`{other}` is no command").into()),
        }
    }

    /// What a human at a browser does at the authorization endpoint.
    fn consent(&self, address: &str) -> Result<String, Fault> {
        let query = address.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let field = |name: &str| {
            let mut fields = form_urlencoded::parse(query.as_bytes()).filter(|(own, _)| own == name);
            fields.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let asked = AuthorizeRequest {
            response_type: field("response_type"),
            client_id: field("client_id"),
            redirect_uri: field("redirect_uri"),
            scope: field("scope"),
            state: field("state"),
            code_challenge: field("code_challenge"),
            code_challenge_method: field("code_challenge_method"),
        };
        let (now, Account { login, password, .. }) = (self.simulator.now(), &self.account);
        let mut provider = self.simulator.provider();
        let Landing::Login { request, .. } = provider.authorize(asked, None, now)? else {
            return Err("the provider asks for no login".into());
        };
        let Landing::LoggedIn { session, .. } = provider.log_in(&request, login, password)? else {
            return Err("the login failed".into());
        };
        let Landing::Consent { once, .. } = provider.consent_page(&request, Some(&session)) else {
            return Err("the provider asks for no consent".into());
        };
        match provider.consent(&request, &once, true, Some(&session), now)? {
            Landing::Back(address) => Ok(address),
            other => Err(format!("the consent led nowhere: {other:?}").into()),
        }
    }

    /// Counts a call; whether its credential lives.
    fn admits(&self, head: &hyper::http::request::Parts) -> bool {
        let bearer = only_bearer(&head.headers);
        let lives =
            self.simulator.provider().bearer(bearer.unwrap_or_default(), self.simulator.now()).is_some();
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.calls += 1;
        tally.forbidden += u64::from(head.method == Method::DELETE);
        match bearer.filter(|_| lives) {
            None => tally.dead += 1,
            Some(bearer) if tally.credentials.contains(bearer) => {}
            Some(bearer) => drop(tally.credentials.insert(bearer.to_owned())),
        }
        lives
    }
}

/// The bearer of the one field that holds one.
fn only_bearer(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let bearer = fields.next()?.to_str().ok()?.strip_prefix("Bearer ")?;
    fields.next().is_none().then_some(bearer)
}

async fn accept(listener: TcpListener, stand: Arc<Stand>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Where it fails, an answer only comes later.
        let _ = stream.set_nodelay(true);
        let stand = Arc::clone(&stand);
        let service = service_fn(move |request| {
            let stand = Arc::clone(&stand);
            async move { answer(&stand, request).await }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(stand: &Stand, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = request.into_parts();
    let lives = stand.admits(&head);
    body.collect().await?;
    let path = head.uri.path();
    let mut answer = match path {
        _ if !lives => json_answer(StatusCode::UNAUTHORIZED, r#"{"error":"invalid_token"}"#.into()),
        "/me" => json_answer(
            StatusCode::OK,
            json!({ "id": stand.account.id, "login": stand.account.login }).to_string(),
        ),
        _ if path.starts_with("/things/") => {
            json_answer(StatusCode::OK, format!("\"{}\"", "x".repeat(THING_BYTES)))
        }
        _ if path.starts_with("/events/") => {
            let events = Events { left: EVENTS, pace: interval(BETWEEN_EVENTS) };
            let mut answer = Response::new(events.boxed());
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/event-stream"));
            return Ok(answer);
        }
        _ => json_answer(StatusCode::NOT_FOUND, r#"{"error":"not_found"}"#.into()),
    };
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    Ok(answer)
}

fn json_answer(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)).boxed());
    *answer.status_mut() = status;
    answer
}

/// A stream of events.
struct Events {
    left: u8,
    pace: Interval,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        ready!(self.pace.poll_tick(context));
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data: still here\n\n")))))
    }
}

/// The machine's clocks, as far as a provider needs them.
struct SinceStart(Instant);

impl Clock for SinceStart {
    fn now(&self) -> Timestamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    }

    fn boot(&self) -> Boot {
        Boot::from_millis(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// The generator of the TLS library.
struct SystemRandom;

impl Entropy for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(out).map_err(|_| NoEntropy)
    }
}

#[cfg(test)]
mod tests {
    //! A credential that does not live is refused and counted, and so is anything beside it.

    use super::{SinceStart, Stand, SystemRandom};
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use hyper::Request;
    use nightlatch_simulator::{Simulator, TokenRequest};
    use serde_json::json;
    use std::{
        sync::{Arc, Mutex},
        time::Instant,
    };

    #[tokio::test]
    async fn only_a_living_credential_is_admitted_and_each_is_counted_once() {
        let clock = Arc::new(SinceStart(Instant::now()));
        let simulator = Simulator::start(clock, Arc::new(SystemRandom)).await.unwrap();
        let account = simulator.provider().open_account("dana").unwrap();
        let stand = Stand { simulator, account, tally: Mutex::default() };
        let uri = "http://127.0.0.1/callback";
        let client =
            stand.carry_out(&json!({ "register": { "redirect_uri": uri, "access_secs": 60 } })).unwrap();
        let (id, secret) = (client["client_id"].as_str().unwrap(), client["client_secret"].as_str().unwrap());
        // RFC 7636 appendix B.
        let (verifier, challenge) =
            ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let address = format!(
            "http://127.0.0.1/authorize?response_type=code&client_id={id}&redirect_uri={uri}\
             &code_challenge={challenge}&code_challenge_method=S256&state=s"
        );
        let back = stand.consent(&address).unwrap();
        let code = back.split("code=").nth(1).unwrap().split('&').next().unwrap();
        let asked = TokenRequest {
            authorization: format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))),
            grant_type: "authorization_code".into(),
            code: code.into(),
            redirect_uri: uri.into(),
            code_verifier: verifier.into(),
            refresh_token: String::new(),
        };
        let now = stand.simulator.now();
        let token = stand.simulator.provider().token(&asked, now).unwrap().access_token;
        let admits = |fields: &[&str]| {
            let request = Request::get("/things/1");
            let request =
                fields.iter().fold(request, |request, value| request.header("authorization", *value));
            stand.admits(&request.body(()).unwrap().into_parts().0)
        };
        let living = format!("Bearer {token}");
        assert!(admits(&[&living]) && admits(&[&living]));
        assert!(!admits(&[]) && !admits(&[&living, &living]) && !admits(&["Bearer nlr_x"]));
        let tally = &stand.carry_out(&json!({ "tally": { "client_id": id } })).unwrap()["tool"];
        assert_eq!(*tally, json!({ "calls": 5, "dead": 3, "forbidden": 0, "credentials": 1 }));
    }
}
