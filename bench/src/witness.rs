//! An upstream that stands witness: it answers over TLS, and says who called it and with what.
//!
//! It knows the one credential that every call must bear. A call that bears another, none or two is answered 401 and
//! counted as wrong; of the others it counts which things they asked for, so that a thing that was asked for twice does
//! not stand for one that was not asked for.
//!
//! ```text
//! {"tally": {}}  → {"calls", "wrong", "things"}: since it was asked last
//! ```

use crate::{Fault, runtime, upstream::server_config};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    io::BufRead as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The answer to a call.
const THING_BYTES: usize = 1024;

struct Witness {
    /// The value of the one field that every call must bear.
    authorization: String,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    calls: u64,
    wrong: u64,
    things: HashSet<String>,
}

/// Answers until our standard input ends.
pub(crate) fn serve(folder: &Path, authorization: &str) -> Result<(), Fault> {
    let tls = TlsAcceptor::from(Arc::new(server_config(folder)?));
    let witness = Arc::new(Witness { authorization: authorization.to_owned(), tally: Mutex::default() });
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", json!({ "https": listener.local_addr()?.to_string() }));
        tokio::spawn(accept(listener, tls, Arc::clone(&witness)));
        tokio::task::spawn_blocking(move || witness.obey()).await?
    })
}

impl Witness {
    fn obey(&self) -> Result<(), Fault> {
        for line in std::io::stdin().lock().lines() {
            let command: Value = serde_json::from_str(&line?)?;
            match command.get("tally") {
                Some(_) => println!("{}", self.told()),
                None => println!("{}", json!({ "fault": "a command is `tally`" })),
            }
        }
        Ok(())
    }

    fn told(&self) -> Value {
        let tally = std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner));
        json!({ "calls": tally.calls, "wrong": tally.wrong, "things": tally.things.len() })
    }

    /// Counts a call; the status and the body of its answer.
    fn hear(&self, path: &str, headers: &HeaderMap) -> (StatusCode, Vec<u8>) {
        let is_right = self.is_borne(headers);
        match path {
            _ if !is_right => {
                let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                (tally.calls, tally.wrong) = (tally.calls + 1, tally.wrong + 1);
                (StatusCode::UNAUTHORIZED, br#"{"error":"invalid_token"}"#.to_vec())
            }
            // Whose account it is, is asked by whoever connects it.
            "/me" => (StatusCode::OK, br#"{"id":"1","login":"bench"}"#.to_vec()),
            thing => {
                let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                tally.calls += 1;
                tally.things.insert(thing.to_owned());
                (StatusCode::OK, vec![b'x'; THING_BYTES])
            }
        }
    }

    fn is_borne(&self, headers: &HeaderMap) -> bool {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        fields.next().is_some_and(|value| value == self.authorization.as_str()) && fields.next().is_none()
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, witness: Arc<Witness>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Where it fails, an answer only comes later.
        let _ = stream.set_nodelay(true);
        tokio::spawn(answer(stream, tls.clone(), Arc::clone(&witness)));
    }
}

/// Answers over one connection until the other side is gone.
async fn answer(stream: TcpStream, tls: TlsAcceptor, witness: Arc<Witness>) {
    let Ok(stream) = tls.accept(stream).await else { return };
    let service = service_fn(move |request: Request<Incoming>| {
        let witness = Arc::clone(&witness);
        async move {
            let (head, body) = request.into_parts();
            body.collect().await?;
            let (status, body) = witness.hear(head.uri.path(), &head.headers);
            let mut answer = Response::new(Full::new(Bytes::from(body)));
            *answer.status_mut() = status;
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok::<_, hyper::Error>(answer)
        }
    });
    // The other side may leave whenever it likes.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[cfg(test)]
mod tests {
    //! Only the one credential is right, and a thing that is asked for twice counts once.

    use super::{Tally, Witness};
    use hyper::{HeaderMap, StatusCode, header::AUTHORIZATION};
    use serde_json::json;
    use std::sync::Mutex;

    #[test]
    fn a_call_with_another_credential_none_or_two_is_refused_and_counted() {
        let witness =
            Witness { authorization: "Bearer right".to_owned(), tally: Mutex::new(Tally::default()) };
        let ask = |path: &str, fields: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in fields {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            witness.hear(path, &headers).0
        };
        for fields in [&[][..], &["Bearer wrong"], &["Bearer right", "Bearer right"], &["right"]] {
            assert_eq!(ask("/things/1", fields), StatusCode::UNAUTHORIZED, "{fields:?}");
        }
        assert_eq!(ask("/me", &["Bearer right"]), StatusCode::OK);
        for thing in ["/things/1", "/things/2", "/things/2"] {
            assert_eq!(ask(thing, &["Bearer right"]), StatusCode::OK);
        }
        assert_eq!(witness.told(), json!({ "calls": 7, "wrong": 4, "things": 2 }));
        assert_eq!(witness.told(), json!({ "calls": 0, "wrong": 0, "things": 0 }));
    }
}
