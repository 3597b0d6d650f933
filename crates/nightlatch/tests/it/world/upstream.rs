//! A recorder in front of a real upstream: it answers a public host name over TLS, remembers every head as it
//! arrived, and hands the request on to the real server, which speaks plain HTTP on this machine.
//!
//! Some of those servers let anybody in, so what proves that the right credential came is the head, not a 200. And it
//! repeats the credential in each answer, as debug endpoints and error pages do: what must not reach the program is
//! really on its way to it.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Method and path, without the query.
    pub(crate) fn asked(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().unwrap_or_default())
    }
}

/// What stands behind it, and what is different there from the public service.
pub(crate) struct Behind {
    server: Option<String>,
    renamed: Vec<(&'static str, &'static str)>,
    answered: Vec<(&'static str, &'static str, Bytes)>,
}

impl Behind {
    /// A server of this machine, `http://host:port`.
    pub(crate) fn server(base: &str) -> Self {
        let server = base.trim_start_matches("http://").to_owned();
        Self { server: Some(server), ..Self::nothing() }
    }

    /// No server: only what is [`Self::answering`]; anything else is 404.
    pub(crate) fn nothing() -> Self {
        Self { server: None, renamed: Vec::new(), answered: Vec::new() }
    }

    /// A path that the real server knows under another name.
    pub(crate) fn renaming(mut self, public: &'static str, own: &'static str) -> Self {
        self.renamed.push((public, own));
        self
    }

    /// A path that it does not know at all, and what the public service answers.
    pub(crate) fn answering(
        mut self,
        path: &'static str,
        kind: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        self.answered.push((path, kind, body.into()));
        self
    }
}

/// The recorder. It serves as long as the test's process lives.
pub(crate) struct Upstream {
    host: String,
    address: SocketAddr,
    root: std::path::PathBuf,
    _folder: TempDir,
    seen: Arc<Mutex<Vec<Head>>>,
}

impl Upstream {
    /// Answers `host`, under a root of its own that the operator's `[[map]]` names.
    pub(crate) fn start(host: &str, behind: Behind) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root.pem");
        let acceptor = certified(host, &root);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let line = Arc::new(Line { behind, seen: seen.clone() });
        // A thread of its own: the test's waits for programs and would not answer meanwhile.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(serve(listener, acceptor, line));
        });
        Self { host: host.to_owned(), address, root, _folder: folder, seen }
    }

    /// The operator's configuration that reaches it.
    pub(crate) fn config(&self) -> String {
        let (host, to, root) = (&self.host, self.address, self.root.display());
        format!("[[map]]\nhost = \"{host}\"\nto = \"{to}\"\nroot = \"{root}\"\n")
    }

    pub(crate) fn seen(&self) -> Vec<Head> {
        self.seen.lock().expect("no test failed before").clone()
    }

    /// Begins anew: what came before was no program's call.
    pub(crate) fn forget(&self) {
        self.seen.lock().expect("no test failed before").clear();
    }

    pub(crate) fn count(&self) -> usize {
        self.seen().len()
    }

    /// What arrived, in order: method and path.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.seen().iter().map(Head::asked).collect()
    }

    /// Fails unless something arrived, each time with exactly this in its place, and never with what an agent holds.
    pub(crate) fn assert_only(&self, authorization: &str, reference: &str) {
        let seen = self.seen();
        assert!(!seen.is_empty(), "nothing reached {}", self.host);
        for head in seen {
            assert_eq!(head.values("authorization"), [authorization], "{}", head.asked());
            assert_eq!(head.values("host"), [self.host.as_str()], "{}", head.asked());
            assert!(!format!("{head:?}").contains(reference), "{}: the reference went along", head.asked());
            assert!(head.values("proxy-authorization").is_empty(), "{}: the local password", head.asked());
        }
    }
}

/// A certificate for `host` under a fresh root, which is left in `root`.
fn certified(host: &str, root: &std::path::Path) -> TlsAcceptor {
    let issuer_key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("a CA");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&issuer_key).expect("a CA");
    std::fs::write(root, authority.pem()).expect("the root");
    let issuer = rcgen::Issuer::new(params, issuer_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).expect("a name");
    // A name other than the root's: OpenSSL takes a certificate that names itself as its issuer for self-signed.
    params.distinguished_name.push(rcgen::DnType::CommonName, host);
    let leaf = params.signed_by(&key, &issuer).expect("a leaf");
    let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], der)
        .expect("a certificate");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

struct Line {
    behind: Behind,
    seen: Arc<Mutex<Vec<Head>>>,
}

async fn serve(listener: std::net::TcpListener, acceptor: TlsAcceptor, line: Arc<Line>) {
    listener.set_nonblocking(true).expect("a listener");
    let listener = TcpListener::from_std(listener).expect("a listener");
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, line) = (acceptor.clone(), line.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let line = line.clone();
                async move { line.answer(request).await }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

impl Line {
    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> hyper::Result<Response<BoxBody<Bytes, hyper::Error>>> {
        let headers = request.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let head = Head {
            method: request.method().to_string(),
            target: request.uri().to_string(),
            headers: headers.collect(),
        };
        self.seen.lock().expect("no test failed before").push(head);
        let credential = request.headers().get(AUTHORIZATION).cloned();
        let mut answer = self.answer_to(request).await?;
        if let Some(credential) = credential {
            answer.headers_mut().insert("x-echo", credential);
        }
        Ok(answer)
    }

    async fn answer_to(
        &self,
        request: Request<Incoming>,
    ) -> hyper::Result<Response<BoxBody<Bytes, hyper::Error>>> {
        let path = request.uri().path();
        let known = self.behind.answered.iter().find(|(known, _, _)| *known == path);
        match (known, &self.behind.server) {
            (Some((_, kind, body)), _) => Ok(fixed(200, kind, body.clone())),
            (None, Some(server)) => Ok(self.hand_on(server, request).await?.map(BodyExt::boxed)),
            (None, None) => Ok(fixed(404, "text/plain", Bytes::new())),
        }
    }

    async fn hand_on(
        &self,
        server: &str,
        mut request: Request<Incoming>,
    ) -> hyper::Result<Response<Incoming>> {
        let path = request.uri().path();
        let own = self.behind.renamed.iter().find(|(public, _)| *public == path).map_or(path, |(_, own)| own);
        let target = request.uri().query().map_or(own.to_owned(), |query| format!("{own}?{query}"));
        *request.uri_mut() = target.parse().expect("a target");
        let stream = TcpStream::connect(server).await.expect("the real server listens");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        let agents = hyper::upgrade::on(&mut request);
        let mut answer = sender.send_request(request).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            tokio::spawn(join(agents, hyper::upgrade::on(&mut answer)));
        }
        Ok(answer)
    }
}

/// Hands on, both ways, what follows a switch of protocols.
async fn join(ours: OnUpgrade, servers: OnUpgrade) {
    let (Ok(ours), Ok(servers)) = tokio::join!(ours, servers) else { return };
    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut TokioIo::new(servers)).await;
}

fn fixed(status: u16, kind: &str, body: Bytes) -> Response<BoxBody<Bytes, hyper::Error>> {
    let body = Full::new(body).map_err(|never| match never {}).boxed();
    let answer = Response::builder().status(status).header("content-type", kind).body(body);
    answer.expect("an answer")
}

#[tokio::test]
async fn a_recorder_hands_on_what_it_records() {
    let behind = Behind::server(&super::parts::parts().emulate.github).renaming("/me", "/user").answering(
        "/fixed",
        "text/plain",
        "fixed",
    );
    let upstream = Upstream::start("api.upstream.test", behind);
    let to = format!("api.upstream.test:443:{}", upstream.address);
    let ask = |path: &str| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--connect-to", &to, "-H", "authorization: Bearer right"]);
        curl.arg("--cacert").arg(&upstream.root).arg(format!("https://api.upstream.test{path}"));
        let output = curl.arg("--show-error").output().expect("curl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let me = ask("/me?q=1");
    assert!(me.contains("\"login\":\"dana\""), "{me}");
    assert_eq!(ask("/fixed"), "fixed");
    upstream.assert_only("Bearer right", "nlr_none");
    assert_eq!(upstream.asked(), ["GET /me", "GET /fixed"]);
    assert_eq!(upstream.seen()[0].target, "/me?q=1");
}
