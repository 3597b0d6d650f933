//! The `proxy` door on the whole program: curl as it is, with nothing but a proxy's address and an authority to
//! trust, and two hundred callers at the instant of a token's expiry.

use crate::world::{
    connect::{Granted, text},
    install::Install,
    provider::Kind,
    recorder::Recorder,
};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::json;
use std::{
    process::{Command, Output},
    sync::Arc,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Barrier,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

const KEY: &str = "canary-key-through-the-proxy-41d7";

/// An installation with a recording tool, an agent with a grant of it, and what curl needs as files.
struct Curled {
    install: Install,
    recorder: Recorder,
    granted: Granted,
    pin: String,
}

impl Curled {
    async fn new() -> Self {
        let recorder = Recorder::start("api.canary.test");
        let install = Install::started(&recorder.config()).await;
        install.write("tool.toml", &recorder.manifest("canary"));
        let file = install.data().join("tool.toml");
        install.json(&["tool", "add", file.to_str().expect("a path")]);
        install.json_with(&["connect", "canary", "--key"], KEY, &[]);
        let granted = install.granted("worker", "canary:read@acme/*").await;
        let enrol = install.json(&["agent", "enrol", "worker", "--task", &granted.task]);
        let pin = text(&enrol, "gateway_pin");
        let curled = Self { install, recorder, granted, pin };
        std::fs::write(curled.file("agent.pem"), &curled.granted.agent.certificate_pem).expect("a file");
        std::fs::write(curled.file("agent.key"), &curled.granted.agent.key_pem).expect("a file");
        curled.write_trust();
        curled
    }

    fn file(&self, name: &str) -> String {
        self.install.root().join(name).to_str().expect("a path").to_owned()
    }

    /// Writes what the gateway gives this agent to trust.
    fn write_trust(&self) {
        let url = format!("https://{}/v1/trust", self.install.gateway());
        let key = ["--cert", &self.file("agent.pem"), "--key", &self.file("agent.key")];
        let output = self.shown(
            Command::new("curl").args(["-sS", "--insecure", "--pinnedpubkey", &self.pin]).args(key).arg(&url),
        );
        assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(self.file("trust.pem"), &output.stdout).expect("a file");
    }

    /// curl that knows a proxy, a certificate to show it, and an authority to trust; nothing of us.
    fn curl(&self, arguments: &[&str]) -> Output {
        let proxy = format!("https://{}", self.install.gateway());
        self.shown(
            Command::new("curl")
                .args(["-sS", "--proxy", &proxy, "--proxy-insecure", "--proxy-pinnedpubkey", &self.pin])
                .args(["--proxy-cert", &self.file("agent.pem"), "--proxy-key", &self.file("agent.key")])
                .args(["--cacert", &self.file("trust.pem"), "--write-out", "\n%{http_version} %{http_code}"])
                .args(arguments),
        )
    }

    fn shown(&self, command: &mut Command) -> Output {
        let output = command.output().expect("curl is installed: run `cargo xtask test`");
        self.install.oracle.note("what an agent saw", &output.stdout);
        self.install.oracle.note("what an agent saw", &output.stderr);
        output
    }

    fn bearer(&self) -> String {
        format!("authorization: Bearer {}", self.granted.reference)
    }
}

/// The body, and protocol and status in one text.
fn answered(output: &Output) -> (String, String) {
    assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = printed.rsplit_once('\n').expect("a status");
    (status.to_owned(), body.to_owned())
}

#[tokio::test]
async fn curl_behind_the_proxy_reaches_the_tool_with_the_exact_credential() {
    let mut curled = Curled::new().await;
    let (bearer, url) = (curled.bearer(), "https://api.canary.test/repos/acme/site?page=2");
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let (status, body) = answered(&curled.curl(&[flag, "-H", &bearer, url]));
        assert_eq!(status, format!("{version} 200"), "{body}");
        let arrived = curled.recorder.last();
        assert_eq!(arrived.target, "/repos/acme/site?page=2");
        assert_eq!(arrived.values("authorization"), [format!("Bearer {KEY}")]);
        assert_eq!(arrived.values("host"), ["api.canary.test"]);
    }
    let before = curled.recorder.count();
    // The tool's own challenge where nothing came; a refusal inside of the tunnel where it is not granted.
    let (status, body) = answered(&curled.curl(&["--http1.1", url]));
    assert_eq!(status, "1.1 401", "{body}");
    let (status, body) = answered(&curled.curl(&["-H", &bearer, "https://api.canary.test/repos/other/site"]));
    assert_eq!((status.as_str(), body.contains("policy-denied")), ("2 403", true), "{body}");
    // A host that no tool has: refused before there is a tunnel.
    let refused = curled.curl(&["-H", &bearer, "https://elsewhere.test/"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("403"), "{said}");
    assert_eq!(curled.recorder.count(), before);

    // What the agent trusts is good after a restart.
    curled.install.kill();
    curled.install.up().await;
    let (status, body) = answered(&curled.curl(&["-H", &bearer, url]));
    assert_eq!(status, "2 200", "{body}");
}

#[tokio::test]
async fn curl_is_shown_no_certificate_for_a_tool_that_its_task_was_not_granted() {
    let curled = Curled::new().await;
    let (bearer, url) = (curled.bearer(), "https://api.openai.com/v1/models");
    let refused = curled.curl(&["-H", &bearer, url]);
    // 60: the certificate cannot be verified; 35, through a proxy over TLS: the handshake was ended.
    assert!(matches!(refused.status.code(), Some(35 | 60)), "{}", String::from_utf8_lossy(&refused.stderr));
    // It is for want of trust: who asks for none is told no in the tunnel.
    let (status, body) = answered(&curled.curl(&["--insecure", "-H", &bearer, url]));
    assert_eq!((status.as_str(), body.contains("destination-denied")), ("2 403", true), "{body}");
}

/// TLS to the gateway with the agent's certificate; which protocol, ALPN says.
async fn connect(
    install: &Install,
    granted: &Granted,
    alpn: &[u8],
) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = CertificateDer::from_pem_slice(granted.agent.certificate_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(granted.agent.key_pem.as_bytes());
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(install.data().join("keys/gateway/tls.pem")).expect("its certificate");
    roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("a root");
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's own versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate.expect("a certificate")], key.expect("a key"))
        .expect("a client certificate");
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(install.gateway()).await.expect("the gateway listens");
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS")
}

/// HTTP/1.1 over a stream, to a proxy.
async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> http1::SendRequest<Full<Bytes>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    sender
}

/// One call in absolute form.
async fn ask(
    line: &mut http1::SendRequest<Full<Bytes>>,
    granted: &Granted,
    kind: Kind,
) -> (StatusCode, Bytes) {
    let request = Request::builder()
        .method(Method::GET)
        .uri(format!("{}{}", kind.resource(), kind.me()))
        .header("host", kind.resource().trim_start_matches("http://"))
        .header("authorization", format!("Bearer {}", granted.reference))
        .body(Full::default())
        .expect("a request");
    let answer = line.send_request(request).await.expect("an answer");
    let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
    let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
    granted.agent.note(headers.as_bytes());
    granted.agent.note(&body);
    (status, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_at_expiry_through_the_proxy_refresh_once() {
    let kind = Kind::Oidc;
    let install = Install::with_provider(kind, "refresh_timer = \"off\"").await;
    let registration = install.register(kind, "crowd-proxy", 30).await;
    let mut browser = registration.browser();
    install.connect(&registration, &mut browser, &[]).await.json();
    let granted = install.granted("worker", &format!("{}:read", kind.tool())).await;
    let mut line = http1(connect(&install, &granted, b"http/1.1").await).await;
    assert_eq!(ask(&mut line, &granted, kind).await.0, StatusCode::OK);
    registration.until_the_token_died().await;
    let before = registration.counters().await;

    let stream = connect(&install, &granted, b"h2").await;
    let handshake = http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (tunnels, connection) = handshake.expect("HTTP/2");
    tokio::spawn(connection);
    let (granted, barrier) = (Arc::new(granted), Arc::new(Barrier::new(200)));
    let mut calls = JoinSet::new();
    for number in 0..200 {
        // Half of them on connections of their own, half as streams of one, as a companion has them.
        let mut line = match number % 2 {
            0 => http1(connect(&install, &granted, b"http/1.1").await).await,
            _ => {
                let tunnel =
                    Request::connect("plain-http.invalid:80").body(Full::default()).expect("a request");
                let answer = tunnels.clone().send_request(tunnel).await.expect("an answer");
                assert_eq!(answer.status(), StatusCode::OK);
                let upgraded = hyper::upgrade::on(answer).await.expect("a tunnel");
                http1(TokioIo::new(upgraded)).await
            }
        };
        let (granted, barrier) = (Arc::clone(&granted), Arc::clone(&barrier));
        calls.spawn(async move {
            barrier.wait().await;
            ask(&mut line, &granted, kind).await
        });
    }
    for (status, body) in calls.join_all().await {
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((status, &body["login"]), (StatusCode::OK, &json!(registration.username)), "{body}");
    }
    let after = registration.counters().await;
    assert_eq!(after.refreshes_ok - before.refreshes_ok, 1, "{after:?}");
    assert_eq!(after.token_requests - before.token_requests, 1, "{after:?}");
    assert_eq!(
        (after.reuse_detected, after.families_revoked, after.refreshes_failed),
        (0, 0, 0),
        "{after:?}"
    );

    // An SDK in the agent that refreshes on its own is answered by us: the provider hears nothing of it.
    let (_, token, _) = kind.endpoints();
    let body = format!("grant_type=refresh_token&refresh_token={}", granted.reference);
    let mut line = http1(connect(&install, &granted, b"http/1.1").await).await;
    let request = Request::post(&token)
        .header("host", token.trim_start_matches("http://").split('/').next().expect("a host"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::from(body))
        .expect("a request");
    let answer = line.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let told = answer.into_body().collect().await.expect("a body").to_bytes();
    let told: serde_json::Value = serde_json::from_slice(&told).expect("JSON");
    assert_eq!(
        (&told["access_token"], &told["refresh_token"]),
        (&json!(granted.reference), &json!(granted.reference))
    );
    assert_eq!(registration.counters().await.token_requests, after.token_requests);
}
