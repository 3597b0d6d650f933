//! HTTP as the demo's actors speak it: one call on one connection, and a copy of every byte that came.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};

/// No answer is waited for longer; a refresh that waits for a provider is given up by Nightlatch before.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Only loopback is spoken to.
    #[error("`{0}` is no address of this machine: the demo's actors call `http://127.0.0.1:PORT/…` only")]
    Elsewhere(String),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The request could not be made.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    /// HTTP failed.
    #[error("no whole answer came: {0}")]
    Hyper(#[from] hyper::Error),
    /// Nothing came in time.
    #[error("no answer came in {ANSWER_WITHIN:?}")]
    Late,
}

/// A call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call<'a> {
    /// The method.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: &'a str,
    /// The host that is called, with its port.
    pub(crate) host: &'a str,
    /// Headers besides `Host`.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The body.
    pub(crate) body: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body's text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Where every byte that a program received is kept, for the scan.
#[derive(Debug, Clone)]
pub(crate) struct Transcript(Arc<File>);

impl Transcript {
    /// A new file.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        File::create(path).map(|file| Self(Arc::new(file)))
    }
}

/// A connection on which calls can be made.
pub(crate) struct Line(SendRequest<Full<Bytes>>);

impl Line {
    /// Over a stream that stands.
    pub(crate) async fn over<S>(stream: S, transcript: Option<Transcript>) -> Result<Self, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(Copied { stream, transcript })).await?;
        // Its end is seen by whoever calls on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(sender))
    }

    /// Over plain TCP to a host and port.
    pub(crate) async fn to(host: &str, transcript: Option<Transcript>) -> Result<Self, HttpError> {
        Self::over(TcpStream::connect(host).await?, transcript).await
    }

    /// One call.
    pub(crate) async fn call(&mut self, call: Call<'_>) -> Result<Answer, HttpError> {
        let mut request = Request::builder().method(call.method).uri(call.path).header("host", call.host);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(call.body)))?;
        let answered = async {
            let (head, body) = self.0.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        timeout(ANSWER_WITHIN, answered).await.map_err(|_| HttpError::Late)?
    }
}

/// An address on loopback, in host and path.
pub(crate) fn loopback(url: &str) -> Result<(&str, &str), HttpError> {
    let elsewhere = || HttpError::Elsewhere(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(elsewhere)?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(at).ok_or_else(elsewhere)?;
    if !host.starts_with("127.0.0.1:") {
        return Err(elsewhere());
    }
    Ok((host, if path.is_empty() { "/" } else { path }))
}

/// A stream whose incoming bytes are copied to a transcript.
struct Copied<S> {
    stream: S,
    transcript: Option<Transcript>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Copied<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, out))?;
        if let (Some(Transcript(file)), Some(new)) = (&self.transcript, out.filled().get(before..)) {
            // A scan of half a transcript would be worth nothing: then the program fails.
            (&**file).write_all(new)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Copied<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::loopback;

    #[test]
    fn the_actors_call_nothing_but_this_machine() {
        assert_eq!(loopback("http://127.0.0.1:80/a?b").ok(), Some(("127.0.0.1:80", "/a?b")));
        assert_eq!(loopback("http://127.0.0.1:80").ok(), Some(("127.0.0.1:80", "/")));
        for url in [
            "https://127.0.0.1:80/",
            "http://example.com/",
            "http://127.0.0.1.example.com/",
            "http://127.0.0.1@example.com/",
            "",
        ] {
            assert!(loopback(url).is_err(), "{url}");
        }
    }
}
