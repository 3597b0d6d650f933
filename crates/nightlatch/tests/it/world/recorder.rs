//! A recording upstream over TLS: a tool that remembers every request as it arrived, byte for byte of its
//! head, under a root of its own that the operator's `[[map]]` names.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use std::{
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body_bytes: u64,
}

impl Arrived {
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.clone()).collect()
    }
}

/// The upstream. It answers `/me` with an account, `/large/N` with N bytes, `/slow/N` after a while (from 1000 on, N milliseconds), and anything else
/// with what arrived: a tool that repeats its caller's credential, as error pages and debug endpoints do.
pub(crate) struct Recorder {
    host: String,
    address: SocketAddr,
    root: PathBuf,
    _folder: TempDir,
    seen: Arc<Mutex<Vec<Arrived>>>,
}

impl Recorder {
    pub(crate) fn start(host: &str) -> Self {
        let issuer_key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("a CA");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = params.self_signed(&issuer_key).expect("a CA");
        let issuer = rcgen::Issuer::new(params, issuer_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let leaf = rcgen::CertificateParams::new(vec![host.to_owned()])
            .and_then(|params| params.signed_by(&key, &issuer))
            .expect("a leaf");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("root.pem");
        std::fs::write(&file, root.pem()).expect("the root");

        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], der)
            .expect("a certificate");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (acceptor, noted) = (TlsAcceptor::from(Arc::new(config)), seen.clone());
        // A thread of its own: the test's waits for commands and would not answer meanwhile.
        std::thread::spawn(move || answer_all(listener, acceptor, noted));
        Self { host: host.to_owned(), address, root: file, _folder: folder, seen }
    }

    /// The operator's configuration that reaches it.
    pub(crate) fn config(&self) -> String {
        self.config_at(&self.address.to_string())
    }

    /// The same, leading elsewhere.
    pub(crate) fn config_at(&self, to: &str) -> String {
        format!("[[map]]\nhost = \"{}\"\nto = \"{to}\"\nroot = \"{}\"\n", self.host, self.root.display())
    }

    /// A manifest for it.
    pub(crate) fn manifest(&self, tool: &str) -> String {
        format!(
            r#"name = "{tool}"
title = "The recording tool"
docs = "https://example.com/docs"

[[host]]
host = "{host}"
key = {{ kind = "bearer" }}
challenge = "Bearer realm=\"{tool}\""

[account]
probe = "/me"
id = ["/id"]
label = "/login"

[[operation]]
id = "repos.get"
method = "GET"
path = "/repos/{{owner}}/{{repo}}"
effect = "read"
resource = "{{owner}}/{{repo}}"
page = "https://example.com/docs/repos"

[[operation]]
id = "bodies.get"
method = "GET"
path = "/large/{{bytes}}"
effect = "read"
page = "https://example.com/docs/bodies"

[[operation]]
id = "slow.get"
method = "GET"
path = "/slow/{{number}}"
effect = "read"
page = "https://example.com/docs/slow"

[[operation]]
id = "slow.post"
method = "POST"
path = "/slow/{{number}}"
effect = "write"
page = "https://example.com/docs/slow"

[[operation]]
id = "bodies.put"
method = "PUT"
path = "/large"
effect = "write"
page = "https://example.com/docs/bodies"
"#,
            host = self.host,
        )
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().expect("no test failed before").len()
    }

    /// How often a path was asked for.
    pub(crate) fn count_of(&self, path: &str) -> usize {
        let seen = self.seen.lock().expect("no test failed before");
        seen.iter().filter(|arrived| arrived.target == path).count()
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The newest request for a path.
    pub(crate) fn last_of(&self, path: &str) -> Arrived {
        let seen = self.seen.lock().expect("no test failed before");
        seen.iter().rev().find(|arrived| arrived.target == path).cloned().expect("it arrived")
    }

    pub(crate) fn last(&self) -> Arrived {
        self.seen.lock().expect("no test failed before").last().cloned().expect("something arrived")
    }
}

fn answer_all(listener: std::net::TcpListener, acceptor: TlsAcceptor, seen: Arc<Mutex<Vec<Arrived>>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a listener");
        serve(TcpListener::from_std(listener).expect("a listener"), acceptor, seen).await;
    });
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, seen: Arc<Mutex<Vec<Arrived>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| answer(request, seen.clone()));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Arrived>>>,
) -> Result<Response<Body>, Infallible> {
    let (head, mut body) = request.into_parts();
    let headers = head.headers.iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let mut arrived = Arrived { target: head.uri.to_string(), headers: headers.collect(), body_bytes: 0 };
    while let Some(Ok(frame)) = body.frame().await {
        arrived.body_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    seen.lock().expect("no test failed before").push(arrived.clone());
    let path = head.uri.path();
    if let Some(number) = path.strip_prefix("/slow/") {
        let millis = number.parse().ok().filter(|number: &u64| *number >= 1000).unwrap_or(30);
        // tidy: sleeps because it is a tool that takes its time.
        tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
    }
    let body = match path.strip_prefix("/large/").and_then(|bytes| bytes.parse::<u64>().ok()) {
        Some(bytes) => large(bytes),
        None if path == "/me" => whole(r#"{"id":"a1","login":"dana-account"}"#.to_owned()),
        None if path == "/large" => whole(format!("received {} bytes", arrived.body_bytes)),
        None => whole(format!("{arrived:?}")),
    };
    let mut answer = Response::new(body);
    if let Some(credential) = head.headers.get(http::header::AUTHORIZATION) {
        answer.headers_mut().insert("x-echo", credential.clone());
    }
    Ok(answer)
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed()
}

/// `bytes` bytes, in chunks that are made as they are read.
fn large(bytes: u64) -> Body {
    const CHUNK: u64 = 64 * 1024;
    Sized { left: bytes, chunk: Bytes::from(vec![b'n'; CHUNK as usize]) }.boxed()
}

struct Sized {
    left: u64,
    chunk: Bytes,
}

impl hyper::body::Body for Sized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return std::task::Poll::Ready(None);
        }
        let size = self.left.min(self.chunk.len() as u64);
        self.left -= size;
        let chunk = self.chunk.slice(..size as usize);
        std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(chunk))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.left)
    }
}
