//! The other end of the API: what the command line asks with.
//!
//! One connection for each request, over the socket in the data folder; the answer is read whole, up to a
//! limit, and a refusal comes back as the problem that the server wrote.

use crate::{
    api::ApiProblem,
    auth::{ApiKey, Signed},
};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use nightlatch_domain::clock::{Clock, Entropy, random};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::net::UnixStream;

/// The name under which the API answers on its socket.
pub const HOST: &str = "localhost";

/// The largest answer that is read.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// How long an answer may take: a probe of a slow tool, a wait for a flow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Asks the API.
#[derive(Clone)]
pub struct Client {
    socket: PathBuf,
    key: Arc<ApiKey>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("nothing serves this data folder; start it with `nightlatch up`")]
    Silent,
    /// The server refused.
    #[error("{0}")]
    Refused(ApiProblem),
    /// The connection broke off, or the answer could not be read.
    #[error("nightlatch did not answer as expected ({0}); look at the log of `nightlatch up`")]
    Broken(&'static str),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes; nothing was asked")]
    NoEntropy,
}

impl Client {
    /// A client of the socket at `socket`.
    #[must_use]
    pub fn new(socket: &Path, key: ApiKey, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { socket: socket.to_owned(), key: Arc::new(key), clock, entropy }
    }

    /// Asks with GET. `target` is path and query, percent-encoded ([`segment`]).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, target, Bytes::new()).await
    }

    /// Asks with POST and a body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        target: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|_| ClientError::Broken("the request"))?;
        self.ask(Method::POST, target, body.into()).await
    }

    /// Asks with DELETE.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.ask(Method::DELETE, target, Bytes::new()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let request = self.request(method, target, body)?;
        let (status, body) = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(request))
            .await
            .map_err(|_| ClientError::Broken("no answer in time"))??;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| ClientError::Broken("the answer"));
        }
        let problem = serde_json::from_slice(&body).map_err(|_| ClientError::Broken("the refusal"))?;
        Err(ClientError::Refused(problem))
    }

    fn request(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let nonce = random::<16>(&*self.entropy).map_err(|_| ClientError::NoEntropy)?;
        let signed = Signed { method: method.as_str(), target, body: &body };
        let proof = self.key.header(&signed, self.clock.now(), nonce);
        Request::builder()
            .method(&method)
            .uri(target)
            .header(header::HOST, HOST)
            .header(header::AUTHORIZATION, proof)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| ClientError::Broken("the request"))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ClientError> {
        let broken = |_| ClientError::Broken("the connection");
        let stream = UnixStream::connect(&self.socket).await.map_err(|_| ClientError::Silent)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT_BYTES).collect().await;
        driver.abort();
        Ok((status, body.map_err(|_| ClientError::Broken("the answer"))?.to_bytes()))
    }
}

/// One segment of a path, percent-encoded: what a human typed cannot become another path.
#[must_use]
pub fn segment(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
