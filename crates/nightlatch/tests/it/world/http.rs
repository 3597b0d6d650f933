//! A plain HTTP/1.1 client for tests: one request a connection, no redirects, no magic.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;

/// An answer, whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: no JSON: {error}", self.status))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The last word of a refusal's `type`.
    pub(crate) fn problem(&self) -> String {
        let body: serde_json::Value = self.json();
        body["type"].as_str().and_then(|kind| kind.rsplit('/').next()).unwrap_or_default().to_owned()
    }

    /// Every byte that its reader sees, for the canary's eyes.
    pub(crate) fn seen(&self) -> Vec<u8> {
        let mut seen = self.status.as_str().as_bytes().to_vec();
        for (name, value) in &self.headers {
            seen.extend_from_slice(name.as_str().as_bytes());
            seen.extend_from_slice(value.as_bytes());
        }
        seen.extend_from_slice(&self.body);
        seen
    }
}

/// Sends one request to a plain HTTP server on this machine.
pub(crate) async fn send(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let uri: Uri = url.parse().expect("a URL");
    let authority = uri.authority().expect("an absolute URL").clone();
    let stream = tokio::net::TcpStream::connect(authority.as_str()).await.expect("the server answers");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    let driver = tokio::spawn(connection);
    let mut request = http::Request::builder()
        .method(method)
        .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header("host", authority.as_str());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    driver.abort();
    Answer { status: head.status, headers: head.headers, body }
}

pub(crate) async fn get(url: &str) -> Answer {
    send(Method::GET, url, &[], "").await
}

pub(crate) async fn post_json(url: &str, body: &serde_json::Value) -> Answer {
    send(Method::POST, url, &[("content-type", "application/json")], body.to_string()).await
}
