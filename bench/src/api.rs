//! The API of an installation, asked as its command line asks it, without a process for each request.
//!
//! A request is proved by a MAC under the token of the data folder: HMAC-SHA-256 over method, target, the body's
//! SHA-256, the time and a nonce. The API remembers nonces for a minute and refuses more than 12 000 of them, so whoever
//! asks much keeps to a pace that leaves room for others.

use crate::Fault;
use aws_lc_rs::{digest, hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::sleep,
};

/// Requests within [`WINDOW`]: some hundreds are left for commands.
const REQUESTS_MAX: usize = 11_500;
/// As long as a nonce is remembered, and a second for rounding.
const WINDOW: Duration = Duration::from_secs(61);
/// The largest answer.
const ANSWER_MAX_BYTES: u64 = 1024 * 1024;

pub(crate) struct Api {
    socket: PathBuf,
    key: hmac::Key,
    pace: Mutex<Pace>,
}

impl Api {
    /// Of the installation with this data folder.
    pub(crate) fn of(data: &Path) -> Result<Self, Fault> {
        let token = std::fs::read(data.join("api.token"))?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.trim_ascii());
        Ok(Self { socket: data.join("run/api.sock"), key, pace: Mutex::default() })
    }

    /// Asks with POST, in its turn; what was answered.
    pub(crate) async fn post(&self, target: &str, body: &Value) -> Result<Value, Fault> {
        while let Some(wait) = self.wait(Instant::now()) {
            sleep(wait).await;
        }
        let body = body.to_string();
        let millis = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let mut nonce = [0; 16];
        rand::fill(&mut nonce)?;
        let proof = proof(&self.key, target, body.as_bytes(), millis, nonce);
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: {proof}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = UnixStream::connect(&self.socket).await?;
        stream.write_all(request.as_bytes()).await?;
        // One request a connection: the answer ends with it.
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX_BYTES).read_to_end(&mut answer).await?;
        read(target, &answer)
    }

    fn wait(&self, now: Instant) -> Option<Duration> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).wait(now)
    }
}

fn proof(key: &hmac::Key, target: &str, body: &[u8], millis: u128, nonce: [u8; 16]) -> String {
    let nonce = URL_SAFE_NO_PAD.encode(nonce);
    let body = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, body));
    let signed = format!("nightlatch api v1\nPOST\n{target}\n{body}\n{millis}\n{nonce}");
    let tag = URL_SAFE_NO_PAD.encode(hmac::sign(key, signed.as_bytes()));
    format!("NIGHTLATCH-HMAC ts={millis},nonce={nonce},mac={tag}")
}

/// The JSON of a good answer.
fn read(target: &str, answer: &[u8]) -> Result<Value, Fault> {
    let text = std::str::from_utf8(answer)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("the API broke off")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(serde_json::from_str(body)?),
        status => Err(format!("POST {target} was answered {}: {body}", status.unwrap_or_default()).into()),
    }
}

/// When the last requests were made.
#[derive(Default)]
struct Pace(VecDeque<Instant>);

impl Pace {
    /// Takes a turn, or says how long to wait for one.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        while self.0.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            self.0.pop_front();
        }
        match self.0.front() {
            Some(first) if self.0.len() >= REQUESTS_MAX => Some(WINDOW - now.duration_since(*first)),
            _ => {
                self.0.push_back(now);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! A proof is the one that the API takes, a refusal is no answer, and nobody asks more than the API remembers.

    use super::{Pace, REQUESTS_MAX, WINDOW, proof, read};
    use aws_lc_rs::hmac;
    use std::time::{Duration, Instant};

    #[test]
    fn a_proof_names_time_and_nonce_and_is_made_over_the_request() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"token");
        let at = |target: &str, body: &[u8]| proof(&key, target, body, 1_700_000_000_000, [0; 16]);
        // Made with Python's `hmac` and `hashlib`.
        let mac = "HGB21UBEOGn_w8Veqndtg7Bu6s4yguEhqsqUA-jqRyA";
        let whole = format!("NIGHTLATCH-HMAC ts=1700000000000,nonce=AAAAAAAAAAAAAAAAAAAAAA,mac={mac}");
        assert_eq!(at("/v1/tasks", b"{}"), whole);
        assert!(at("/v1/tasks", b"{ }") != whole && at("/v1/grants", b"{}") != whole);
    }

    #[test]
    fn only_a_200_is_an_answer() {
        let answer = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 8\r\n\r\n{{\"a\":1}}");
        assert_eq!(read("/v1/x", answer("200 OK").as_bytes()).unwrap()["a"], 1);
        let refused = read("/v1/x", answer("429 Too Many Requests").as_bytes()).unwrap_err();
        assert!(refused.to_string().contains("answered 429"));
        assert!(read("/v1/x", b"HTTP/1.1 200 OK\r\n").is_err());
    }

    #[test]
    fn who_asked_too_much_waits_until_the_first_is_forgotten() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!((0..REQUESTS_MAX).all(|_| pace.wait(start).is_none()));
        let later = start + Duration::from_secs(1);
        assert_eq!(pace.wait(later), Some(WINDOW - Duration::from_secs(1)));
        assert_eq!(pace.wait(start + WINDOW), None);
    }
}
