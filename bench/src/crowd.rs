//! A crowd: many agents, each with a key, an enrolment, a task and a grant of its own, each of which calls once a round.
//!
//! ```text
//! {"gather": {"data", "gateway", "tool", "agents", "within_secs"}}  → {"agents", "secs"}: those that were made in time
//! {"round": {"at_once"}}                                            → {"requests", "failed", "why", "p50_us", "p99_us"}
//! ```
//!
//! They are made as an operator and an agent make them: by the API of the installation with this data folder, and at the
//! gateway's own door for enrolments, over TLS with the agent's key. In a round each calls over a TLS connection of its
//! own, opened anew and closed afterwards, and is timed from before it connects to the end of the answer. `n` in the path
//! of `/TOOL/things/n` is the agent's number.

use crate::{
    Fault,
    api::Api,
    line, runtime,
    tally::Tally,
    target::{Identity, config_of},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig,
    client::Resumption,
    pki_types::{PrivateKeyDer, ServerName},
};
use serde_json::{Value, json};
use std::{
    io::BufRead as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};
use tokio_rustls::TlsConnector;

/// Agents that are made at once: as many as the gateway enrols at once.
const MADE_AT_ONCE: usize = 8;
/// Between two lines to whoever waits.
const AGENTS_A_LINE: usize = 500;

/// Carries out commands until there are no more.
pub(crate) fn obey() -> Result<(), Fault> {
    let (runtime, mut crowd) = (runtime()?, Crowd::default());
    for line in std::io::stdin().lock().lines() {
        let command: Value = serde_json::from_str(&line?)?;
        let answer = runtime.block_on(crowd.carry_out(&command));
        println!("{}", answer.unwrap_or_else(|fault| json!({ "fault": fault.to_string() })));
    }
    Ok(())
}

#[derive(Default)]
struct Crowd {
    agents: Arc<Vec<Agent>>,
}

/// One agent, as far as its own side knows it.
struct Agent {
    /// Where the gateway listens.
    gateway: Arc<str>,
    tls: Arc<ClientConfig>,
    /// The bytes of its call.
    request: String,
}

impl Crowd {
    async fn carry_out(&mut self, command: &Value) -> Result<Value, Fault> {
        let (what, facts) =
            command.as_object().and_then(|one| one.iter().next()).ok_or("a command is an object of one")?;
        let number =
            |name: &str| facts.get(name).and_then(Value::as_u64).ok_or(format!("`{name}` is missing"));
        let text = |name: &str| facts.get(name).and_then(Value::as_str).ok_or(format!("`{name}` is missing"));
        match what.as_str() {
            "gather" => {
                let maker = Maker {
                    api: Api::of(text("data")?.as_ref())?,
                    gateway: text("gateway")?.into(),
                    tool: text("tool")?.to_owned(),
                    next: AtomicUsize::default(),
                    most: number("agents")?.try_into()?,
                    until: Instant::now() + Duration::from_secs(number("within_secs")?),
                };
                let begun = Instant::now();
                self.agents = Arc::new(gather(Arc::new(maker)).await?);
                Ok(json!({ "agents": self.agents.len(), "secs": begun.elapsed().as_secs_f64() }))
            }
            "round" => Ok(self.round(number("at_once")?.try_into()?).await?.shown()),
            other => Err(format!("`{other}` is no command").into()),
        }
    }

    /// Each calls once, so many at a time.
    async fn round(&self, at_once: usize) -> Result<Tally, Fault> {
        let (next, mut running, mut all) =
            (Arc::new(AtomicUsize::default()), JoinSet::new(), Tally::default());
        for _ in 0..at_once {
            let (next, agents) = (Arc::clone(&next), Arc::clone(&self.agents));
            running.spawn(async move {
                let mut tally = Tally::default();
                while let Some(agent) = agents.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let called = agent.ask(&agent.request).await;
                    tally.took(begun.elapsed());
                    tally.count(called);
                }
                tally
            });
        }
        while let Some(ended) = running.join_next().await {
            all.add(ended?);
        }
        Ok(all)
    }
}

/// Makes agents.
struct Maker {
    api: Api,
    gateway: Arc<str>,
    tool: String,
    next: AtomicUsize,
    most: usize,
    until: Instant,
}

async fn gather(maker: Arc<Maker>) -> Result<Vec<Agent>, Fault> {
    let mut making = JoinSet::new();
    for _ in 0..MADE_AT_ONCE {
        let maker = Arc::clone(&maker);
        making.spawn(async move {
            let mut made = Vec::new();
            while let Some(number) = maker.next() {
                made.push(maker.make(number).await?);
            }
            Ok::<_, Fault>(made)
        });
    }
    let mut agents = Vec::new();
    while let Some(made) = making.join_next().await {
        agents.extend(made??);
    }
    Ok(agents)
}

impl Maker {
    /// The number of the next one, while there is time.
    fn next(&self) -> Option<usize> {
        if Instant::now() >= self.until {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number > 0 && number < self.most && number.is_multiple_of(AGENTS_A_LINE) {
            eprintln!("nightlatch-bench: {number} of {} agents", self.most);
        }
        (number < self.most).then_some(number)
    }

    /// An agent, its task of a day with a code for its key, its grant; and then its enrolment.
    async fn make(&self, number: usize) -> Result<Agent, Fault> {
        let name = format!("agent-{number}");
        self.api.post("/v1/agents", &json!({ "name": name })).await?;
        let issued = self.api.post(&format!("/v1/agents/{name}/codes"), &json!({})).await?;
        let (code, task) = (text(&issued, "code")?, text(&issued, "task")?);
        let wanted = json!({ "task": task, "grant": format!("{}:read", self.tool) });
        let granted = self.api.post("/v1/grants", &wanted).await?;
        let head = |method: &str, path: &str| {
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: bench/1\r\n", self.authority())
        };
        let request = format!(
            "{}accept: */*\r\nauthorization: Bearer {}\r\n\r\n",
            head("GET", &format!("/{}/things/{number}", self.tool)),
            text(&granted, "reference")?
        );
        let agent = Agent { gateway: Arc::clone(&self.gateway), tls: Arc::new(own_key()?), request };
        let body = json!({ "code": code }).to_string();
        let length = body.len();
        let enrol = format!(
            "{}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}",
            head("POST", "/v1/enrol")
        );
        agent.ask(&enrol).await.map_err(|fault| format!("the enrolment of `{name}`: {fault}"))?;
        Ok(agent)
    }

    /// The gateway by the name that is given in the handshake.
    fn authority(&self) -> String {
        self.gateway.replace("127.0.0.1", "localhost")
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Fault> {
    value.get(name).and_then(Value::as_str).ok_or_else(|| format!("the API told no `{name}`").into())
}

/// TLS with a key that is made here, and no session that is resumed: each handshake proves it anew.
fn own_key() -> Result<ClientConfig, Fault> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["agent".to_owned()])?.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let identity: Identity = (vec![certificate.der().clone()], key);
    let mut config = config_of(Some(identity), b"http/1.1")?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

impl Agent {
    /// Asks over a connection of its own; the bytes of the body of an answer with status 200.
    async fn ask(&self, request: &str) -> Result<usize, Fault> {
        let stream = TcpStream::connect(&*self.gateway).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let mut stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut unread = Vec::new();
        let head = line::head(&mut stream, &mut unread).await?;
        let bytes = line::body(&mut stream, &mut unread, &head).await?;
        match head.target.as_str() {
            "200" => {
                // The answer is whole; how the connection ends is no part of it.
                let _ = stream.shutdown().await;
                Ok(bytes)
            }
            status => Err(format!("answered {status}, not 200").into()),
        }
    }
}
