//! A webhook as its receiver meets it: a server of its own that holds the secret which `webhook secret` showed, takes
//! what verifies and refuses the rest.

use crate::world::{
    agent::Agent, connect::text, eventually, http::Answer, install::Install, recorder::Recorder,
};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const KEY: &str = "canary-webhooks-0f4b7d21c98e63a5";
/// Standard Webhooks: a message of another time is a replay.
const TOLERANCE_SECS: u64 = 300;

/// A message as it arrived, and what it was answered.
#[derive(Debug, Clone)]
struct Message {
    path: String,
    id: String,
    body: Vec<u8>,
    /// None where nothing was answered.
    status: Option<u16>,
}

#[derive(Default)]
struct Shared {
    /// None: it takes messages and answers none of them.
    secret: Option<String>,
    arrived: Vec<Message>,
}

struct Receiver {
    port: u16,
    shared: Arc<Mutex<Shared>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::<Mutex<Shared>>::default();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || receive(stream, &shared));
            }
        });
        Self { port, shared }
    }

    fn arrived(&self) -> Vec<Message> {
        self.shared.lock().expect("no test failed before").arrived.clone()
    }

    fn verifies_with(&self, secret: &str) {
        self.shared.lock().expect("no test failed before").secret = Some(secret.to_owned());
    }

    /// What it answers to a message of this test's own making.
    fn answers(&self, fields: &[(&str, &str)], body: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("POST /hook HTTP/1.1\r\ncontent-length: {}\r\n{fields}\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).expect("sent");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("an answer");
        line.split(' ').nth(1).expect("a status").parse().expect("a number")
    }
}

fn receive(stream: TcpStream, shared: &Mutex<Shared>) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let field = |name: &str| {
        let values = lines.iter().filter_map(|line| line.split_once(": "));
        values.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect::<String>()
    };
    let mut body = vec![0; field("content-length").parse().unwrap_or_default()];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let secret = shared.lock().expect("no test failed before").secret.clone();
    let status = secret.map(|secret| if verifies(&secret, &field, &body) { 204 } else { 401 });
    let path = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
    let message = Message { path, id: field("webhook-id"), body, status };
    shared.lock().expect("no test failed before").arrived.push(message);
    match status {
        Some(status) => {
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
        // Until the sender goes.
        None => drop(reader.read(&mut [0])),
    }
}

/// As the specification has a receiver do it: the time is near, and one of the signatures is right.
fn verifies(secret: &str, field: &dyn Fn(&str) -> String, body: &[u8]) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("its form")).expect("base64");
    let at = field("webhook-timestamp");
    let near = at.parse::<u64>().is_ok_and(|at| at.abs_diff(now_secs()) <= TOLERANCE_SECS);
    let signed = [format!("{}.{at}.", field("webhook-id")).as_bytes(), body].concat();
    let signatures = field("webhook-signature");
    let mut tags = signatures.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
    near && tags.any(|tag| hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &tag).is_ok())
}

fn sign(secret: &str, id: &str, at: u64, body: &[u8]) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("its form")).expect("base64");
    let signed = [format!("{id}.{at}.").as_bytes(), body].concat();
    format!("v1,{}", STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed)))
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

async fn post(agent: &Agent, key: &str, reference: &str, webhook: &str) -> Answer {
    let body = format!(
        r#"{{"tool":"counted","method":"POST","path":"/slow/1","reference":"{reference}","webhook":"{webhook}"}}"#
    );
    let key = format!("\"{key}\"");
    let headers = [("idempotency-key", key.as_str()), ("prefer", "wait=30")];
    agent.call(Method::POST, "/v1/calls", &headers, body).await
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_made_beside_a_program_that_would_not_sign_with_it() {
    let recorder = Recorder::start("secret.canary.test");
    let hook = "[[webhook]]\nname = \"ci\"\nurl = \"https://secret.canary.test/hook\"\n";
    let mut install = Install::started(&format!("{}\n{hook}", recorder.config())).await;
    let key = install.data().join("keys/gateway/webhook-ci.key");
    let first = text(&install.json(&["webhook", "secret", "ci"]), "secret");
    std::fs::remove_file(&key).expect("it was made at the start");
    let refused = install.run(&["webhook", "secret", "ci"]);
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nightlatch stop"));
    assert!(!key.exists(), "no key is made");
    // Nobody serves any more: it is made, and is the one that signs from then on.
    install.kill();
    let second = text(&install.json(&["webhook", "secret", "ci"]), "secret");
    assert_ne!(first, second);
    install.up().await;
    assert_eq!(text(&install.json(&["webhook", "secret", "ci"]), "secret"), second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_ended_is_told_past_a_crash_to_a_receiver_that_verifies_it() {
    let (recorder, receiver) = (Recorder::start("webhook.canary.test"), Receiver::start());
    let port = receiver.port;
    let config = format!(
        "{}\n[[allow]]\nhost = \"127.0.0.1\"\naddress = \"127.0.0.1\"\n
[[webhook]]\nname = \"ci\"\nurl = \"http://127.0.0.1:{port}/hook\"\n
[[webhook]]\nname = \"private\"\nurl = \"http://localhost:{port}/private\"\n",
        recorder.config()
    );
    let mut install = Install::started(&config).await;
    install.write("tool.toml", &recorder.manifest("counted"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "counted", "--key"], KEY, &[]);
    let granted = install.granted("harness", "counted:write").await;
    let (agent, reference) = (&granted.agent, &granted.reference);
    let secret = text(&install.json(&["webhook", "secret", "ci"]), "secret");
    assert_ne!(secret, text(&install.json(&["webhook", "secret", "private"]), "secret"));
    let none = install.run(&["webhook", "secret", "nobody"]);
    assert_eq!((none.status.code(), none.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8_lossy(&none.stderr).contains("`ci`, `private`"));

    // Its receiver takes the message and answers nothing; the call has its answer all the same.
    let done = post(agent, "one", reference, "ci").await;
    assert_eq!((done.status, &json(&done)["state"]), (StatusCode::OK, &"done".into()), "{}", done.text());
    let arrives = async |count: usize| {
        eventually("a message arrives", Duration::from_secs(30), async || {
            (receiver.arrived().len() >= count).then_some(())
        })
        .await;
    };
    arrives(1).await;
    install.kill();
    receiver.verifies_with(&secret);
    install.up().await;
    arrives(2).await;
    let told = receiver.arrived();
    assert_eq!((told[0].status, told[1].status), (None, Some(204)));
    let id = text(&json(&done), "id");
    assert_eq!([&told[0].id, &told[1].id], [&id, &id], "a receiver knows that it has it");
    assert_eq!(told[0].body, told[1].body);
    let body: Value = serde_json::from_slice(&told[1].body).expect("JSON");
    assert_eq!((&body["type"], &body["data"]["state"]), (&"call.ended".into(), &"done".into()));
    assert!(!String::from_utf8_lossy(&told[1].body).contains(KEY));
    let shown = eventually("it is noted", Duration::from_secs(10), async || {
        let place = done.headers["location"].to_str().expect("a path");
        let shown = json(&agent.call(Method::GET, place, &[], "").await);
        (shown["webhook"]["state"] == "delivered").then_some(shown)
    })
    .await;
    assert_eq!(shown["result"]["status"], 200, "the answer is for who asks with the key: {shown}");
    let events = install.json(&["ledger", "tail", "--last", "100"]).to_string();
    assert!(events.contains("webhook-delivered"), "{events}");

    // The receiver tells what is not ours: another key's, another body's, another time's.
    let (now, later) = (now_secs(), now_secs() - 2 * TOLERANCE_SECS);
    let other = text(&install.json(&["webhook", "secret", "private"]), "secret");
    let forged = String::from_utf8_lossy(&told[1].body).replace("done", "refused");
    for (signature, at, body, status) in [
        (sign(&secret, &id, now, &told[1].body), now, told[1].body.as_slice(), 204),
        (sign(&other, &id, now, &told[1].body), now, &told[1].body, 401),
        (sign(&secret, &id, now, &told[1].body), now, forged.as_bytes(), 401),
        (sign(&secret, &id, later, &told[1].body), later, &told[1].body, 401),
    ] {
        let at = at.to_string();
        let fields =
            [("webhook-id", id.as_str()), ("webhook-timestamp", &at), ("webhook-signature", &signature)];
        assert_eq!(receiver.answers(&fields, body), status, "{signature}");
    }

    // Nobody allowed that name an address of this machine; and an agent's own address is none.
    let before = receiver.arrived().len();
    let private = post(agent, "two", reference, "private").await;
    assert_eq!(private.status, StatusCode::OK);
    let place = private.headers["location"].to_str().expect("a path");
    let shown = eventually("it was tried", Duration::from_secs(30), async || {
        let shown = json(&agent.call(Method::GET, place, &[], "").await);
        (shown["webhook"]["tries"].as_u64() >= Some(1)).then_some(shown)
    })
    .await;
    assert_eq!(shown["webhook"]["state"], "waiting");
    let own = post(agent, "three", reference, &format!("http://127.0.0.1:{port}/hook")).await;
    assert_eq!(own.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", own.text());
    assert_eq!(text(&json(&own), "type"), "https://nightlatch.dev/problems/webhook-unknown");
    assert_eq!(receiver.arrived().len(), before);
    assert!(receiver.arrived().iter().all(|message| message.path == "/hook"));

    // The secret is shown by its command, and stands in its file.
    let bare = secret.trim_start_matches("whsec_");
    let database =
        ["db.sqlite", "db.sqlite-wal", "ledger/000001.jsonl"].map(|file| install.data().join(file));
    for file in database {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(memchr::memmem::find(&bytes, bare.as_bytes()).is_none(), "{}", file.display());
    }
    assert!(!install.log().contains(bare) && install.log().contains("a webhook did not take a message"));
    assert_eq!(install.json(&["ledger", "verify"])["whole"], true);
}
