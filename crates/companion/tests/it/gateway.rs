//! A gateway of the test's own: TLS 1.3, HTTP/2, and streams that do what their host is called.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nightlatch_domain::{
    call::SignedMandate,
    clock::Timestamp,
    companion::{LocalRefusals, PLAIN_HTTP_AUTHORITY, SignedWake, WakeChallenge},
    id::{ConnectionId, GrantId, InstallationId, PrincipalId, TaskId, TenantId, WakeId},
};
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme, SupportedProtocolVersion,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    sign::CertifiedKey,
    version::TLS13,
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub(crate) const CODE: &str = "one-time-canary-code";
/// The call that a `POST` makes here.
pub(crate) const CALL: &str = "call_01KBQ5W000000000000000000A";

/// A call as the gateway shows it, with what a mandate for it is for.
pub(crate) fn shown(of_task: u8, call: &str, request_sha256: &str) -> serde_json::Value {
    let named = serde_json::json!({
        "installation": InstallationId::new(NOW, [4; 10]), "tenant": TenantId::new(NOW, [5; 10]), "task": task(of_task),
        "grant": GrantId::new(NOW, [6; 10]), "connection": ConnectionId::new(NOW, [7; 10]), "call": call,
        "request_sha256": request_sha256, "not_after": null,
    });
    serde_json::json!({ "id": call, "state": "queued", "mandate": named })
}

pub(crate) fn task(number: u8) -> TaskId {
    TaskId::new(NOW, [number; 10])
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the gateway was shown, and how it is to behave.
pub(crate) struct Seen {
    /// Handshakes that came to their end.
    pub(crate) connections: usize,
    /// Authorities of tunnels.
    pub(crate) tunnels: Vec<String>,
    /// What came over plain HTTP, stream by stream.
    pub(crate) plain: Vec<Vec<u8>>,
    pub(crate) refusals: Vec<LocalRefusals>,
    /// Signatures that verify over the challenge that was given last.
    pub(crate) wakes: usize,
    /// Signatures that do not.
    pub(crate) bad_wakes: usize,
    pub(crate) asked_wakes: usize,
    pub(crate) enrolled: bool,
    /// Bytes that a flooding stream got rid of.
    pub(crate) flooded: usize,
    /// What a challenge says; a test bends it.
    pub(crate) challenge: WakeChallenge,
    /// What our own paths answer instead, if anything, and how often they did.
    pub(crate) refuses: Option<StatusCode>,
    pub(crate) refused: usize,
    /// What a question for a challenge is answered instead.
    pub(crate) challenge_refused: Option<StatusCode>,
    /// Whether challenges are never answered.
    pub(crate) stuck: bool,
    /// Durable calls: fields and body.
    pub(crate) calls: Vec<(Vec<(String, String)>, String)>,
    /// What a call is shown as, where a test says so.
    pub(crate) shown: Option<serde_json::Value>,
    /// Mandates that verify over what is shown, and others.
    pub(crate) mandates: (usize, usize),
}

/// What a gateway is by: it survives a restart.
#[derive(Clone)]
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: Arc<KeyPair>,
}

impl Identity {
    pub(crate) fn fresh() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["gateway.test".to_owned()]).unwrap();
        Self { certificate: params.self_signed(&key).unwrap().der().clone(), key: Arc::new(key) }
    }

    pub(crate) fn hash(&self) -> Vec<u8> {
        digest(&SHA256, &self.key.subject_public_key_info()).as_ref().to_vec()
    }

    /// As the command line takes it.
    pub(crate) fn pin(&self) -> String {
        format!("sha256//{}", STANDARD.encode(self.hash()))
    }

    fn certified(&self, key: &KeyPair) -> CertifiedKey {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        CertifiedKey::new(vec![self.certificate.clone()], key)
    }
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) identity: Identity,
    pub(crate) seen: Arc<Mutex<Seen>>,
    work: JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_again("127.0.0.1:0".parse().unwrap(), Identity::fresh()).await
    }

    /// One that shows `identity`'s certificate and signs with `key`.
    pub(crate) async fn start_with(
        at: SocketAddr,
        identity: Identity,
        key: &KeyPair,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let challenge = WakeChallenge {
            task: task(1),
            wake: WakeId::new(NOW, [2; 10]),
            nonce: "0a".repeat(32),
            gateway_key_sha256: hex(&identity.hash()),
            replica_key_sha256: "0b".repeat(32),
            expires_at: NOW,
        };
        let seen = Arc::new(Mutex::new(Seen {
            connections: 0,
            tunnels: Vec::new(),
            plain: Vec::new(),
            refusals: Vec::new(),
            wakes: 0,
            bad_wakes: 0,
            asked_wakes: 0,
            enrolled: false,
            flooded: 0,
            challenge,
            refuses: None,
            refused: 0,
            challenge_refused: None,
            stuck: false,
            calls: Vec::new(),
            shown: None,
            mandates: (0, 0),
        }));
        let tls = TlsAcceptor::from(Arc::new(server_config(identity.certified(key), versions)));
        let work = tokio::spawn(serve(listener, tls, Arc::clone(&seen)));
        Self { address, identity, seen, work }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Ends it, its connections with it, and starts one by the same key at the same place.
    pub(crate) async fn restarted(self) -> Self {
        let (address, identity) = self.stopped().await;
        Self::start_again(address, identity).await
    }

    /// One by the same key at the same place.
    pub(crate) async fn start_again(address: SocketAddr, identity: Identity) -> Self {
        Self::start_old(address, identity, &[&TLS13]).await
    }

    /// The same, which speaks these versions of TLS.
    pub(crate) async fn start_old(
        address: SocketAddr,
        identity: Identity,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let key = Arc::clone(&identity.key);
        Self::start_with(address, identity, &key, versions).await
    }

    pub(crate) async fn stopped(mut self) -> (SocketAddr, Identity) {
        self.work.abort();
        let _ = (&mut self.work).await;
        (self.address, self.identity.clone())
    }
}

fn server_config(key: CertifiedKey, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(Arc::new(AnyClient))
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// What is proved is not this test's matter, but that a certificate comes.
#[derive(Debug)]
struct AnyClient;

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, seen: Arc<Mutex<Seen>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(connection(stream, tls.clone(), Arc::clone(&seen)));
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, seen: Arc<Mutex<Seen>>) {
    let Ok(stream) = tls.accept(stream).await else { return };
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let certificate = webpki::EndEntityCert::try_from(&certificate).unwrap();
    let spki = Arc::new(certificate.subject_public_key_info().as_ref().to_vec());
    seen.lock().unwrap().connections += 1;
    let service = service_fn(move |request| {
        let (seen, spki) = (Arc::clone(&seen), Arc::clone(&spki));
        async move { Ok::<_, Infallible>(answer(request, &spki, seen).await) }
    });
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn said(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status).header("content-type", kind);
    answer
        .header("nightlatch-call", "call_1")
        .header("x-secret-of-the-gateway", "1")
        .body(Full::new(body.into()))
        .unwrap()
}

fn is_stuck(seen: &Mutex<Seen>, path: &str) -> bool {
    let mut seen = seen.lock().unwrap();
    let stuck = seen.stuck && path == "/v1/wake";
    seen.asked_wakes += usize::from(stuck);
    stuck
}

fn refusal(seen: &Mutex<Seen>) -> Option<StatusCode> {
    let mut seen = seen.lock().unwrap();
    seen.refused += usize::from(seen.refuses.is_some());
    seen.refuses
}

async fn answer(request: Request<Incoming>, spki: &[u8], seen: Arc<Mutex<Seen>>) -> Response<Full<Bytes>> {
    if request.method() == Method::CONNECT {
        return tunnel(request, seen);
    }
    if let Some(status) = refusal(&seen) {
        let problem = r#"{"type":"https://nightlatch.dev/problems/not-admitted","detail":"no."}"#;
        return said(status, "application/problem+json", problem);
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    if is_stuck(&seen, head.uri.path()) {
        std::future::pending::<()>().await;
    }
    let mut seen = seen.lock().unwrap();
    match (head.method.as_str(), head.uri.path()) {
        ("POST", "/v1/enrol") if body == format!("{{\"code\":\"{CODE}\"}}") => {
            seen.enrolled = true;
            let agent = PrincipalId::new(NOW, [3; 10]);
            let body = serde_json::json!({ "agent": agent, "task": task(1) }).to_string();
            said(StatusCode::OK, "application/json", body)
        }
        ("GET", "/v1/trust") => said(StatusCode::OK, "application/x-pem-file", "PEM"),
        ("GET", "/v1/wake") => {
            seen.asked_wakes += 1;
            if let Some(status) = seen.challenge_refused {
                return said(status, "text/plain", "");
            }
            said(StatusCode::OK, "application/json", serde_json::to_vec(&seen.challenge).unwrap())
        }
        ("POST", "/v1/wake") => {
            let signed: SignedWake = serde_json::from_slice(&body).unwrap();
            let signature = URL_SAFE_NO_PAD.decode(&signed.signature).unwrap();
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, spki);
            let challenge = &seen.challenge;
            let text = format!(
                "nightlatch wake v1\n{}\n{}\n{}\n{}\n{}",
                challenge.task,
                challenge.wake,
                challenge.nonce,
                challenge.replica_key_sha256,
                challenge.expires_at.millis()
            );
            let good = signed.wake == challenge.wake && key.verify(text.as_bytes(), &signature).is_ok();
            if good {
                seen.wakes += 1
            } else {
                seen.bad_wakes += 1
            }
            said(StatusCode::NO_CONTENT, "text/plain", "")
        }
        ("POST", "/v1/calls") => {
            let fields = head.headers.iter();
            let fields = fields.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
            seen.calls.push((fields.collect(), String::from_utf8(body.to_vec()).unwrap()));
            let mut answer = said(StatusCode::ACCEPTED, "application/json", "{}");
            answer.headers_mut().insert("location", format!("/v1/calls/{CALL}").parse().unwrap());
            answer
        }
        ("GET", path) if path == format!("/v1/calls/{CALL}") => {
            let shown = seen.shown.clone().unwrap_or_default();
            said(StatusCode::OK, "application/json", shown.to_string())
        }
        ("PUT", path) if path == format!("/v1/calls/{CALL}/mandate") => {
            let signed: SignedMandate = serde_json::from_slice(&body).unwrap();
            let named = seen.shown.clone().unwrap()["mandate"].clone();
            let parts = ["installation", "tenant", "task", "grant", "connection", "call", "request_sha256"];
            let parts = parts.map(|part| named[part].as_str().unwrap().to_owned()).join("\n");
            let text = format!("nightlatch mandate v1\n{parts}\n{}", signed.not_after.millis());
            let signature = URL_SAFE_NO_PAD.decode(&signed.signature).unwrap();
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, spki);
            match key.verify(text.as_bytes(), &signature) {
                Ok(()) => seen.mandates.0 += 1,
                Err(_) => seen.mandates.1 += 1,
            }
            said(StatusCode::NO_CONTENT, "text/plain", "")
        }
        ("POST", "/v1/refusals") => {
            seen.refusals.push(serde_json::from_slice(&body).unwrap());
            said(StatusCode::NO_CONTENT, "text/plain", "")
        }
        _ => said(StatusCode::NOT_FOUND, "text/plain", "no such path"),
    }
}

fn tunnel(request: Request<Incoming>, seen: Arc<Mutex<Seen>>) -> Response<Full<Bytes>> {
    let authority = request.uri().authority().unwrap().to_string();
    seen.lock().unwrap().tunnels.push(authority.clone());
    if authority == "refused.test:443" {
        return said(StatusCode::FORBIDDEN, "application/problem+json", r#"{"type":"x/egress-denied"}"#);
    }
    tokio::spawn(async move {
        let stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        // A program that leaves early is no fault of the gateway.
        let _ = behave(&authority, stream, seen).await;
    });
    Response::new(Full::default())
}

async fn behave(
    authority: &str,
    mut stream: TokioIo<Upgraded>,
    seen: Arc<Mutex<Seen>>,
) -> std::io::Result<()> {
    match authority {
        "echo.test:443" => {
            let mut buffer = vec![0; 4096];
            loop {
                let read = stream.read(&mut buffer).await?;
                if read == 0 {
                    return stream.shutdown().await;
                }
                stream.write_all(&buffer[..read]).await?;
            }
        }
        // Says how much came once the other side is done.
        "count.test:443" => {
            let mut whole = Vec::new();
            stream.read_to_end(&mut whole).await?;
            stream.write_all(whole.len().to_string().as_bytes()).await?;
            stream.shutdown().await
        }
        // Is done at once, and goes on reading.
        "first.test:443" => {
            stream.write_all(b"done").await?;
            stream.shutdown().await?;
            let mut whole = Vec::new();
            stream.read_to_end(&mut whole).await?;
            seen.lock().unwrap().plain.push(whole);
            Ok(())
        }
        "flood.test:443" => loop {
            stream.write_all(&[0; 4096]).await?;
            seen.lock().unwrap().flooded += 4096;
        },
        "still.test:443" => std::future::pending().await,
        PLAIN_HTTP_AUTHORITY => {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            seen.lock().unwrap().plain.push(head);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
            stream.shutdown().await
        }
        other => panic!("no such host: {other}"),
    }
}
