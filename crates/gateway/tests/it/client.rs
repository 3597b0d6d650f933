//! An agent's side on raw sockets: it writes the bytes that a library would have tidied up.

use crate::door::Rewriting;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nightlatch_domain::clock::Timestamp;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    time_provider::TimeProvider,
};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// A key and its self-signed certificate.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pub(crate) spki_sha256: String,
    pub(crate) spki: Vec<u8>,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["agent".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self::certified(&certificate, &key)
    }

    /// A key with a certificate that somebody made for it.
    pub(crate) fn certified(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.subject_public_key_info());
        let spki_sha256 = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let spki = key.subject_public_key_info();
        Self { certificate: certificate.der().clone(), key: key.serialize_der(), spki_sha256, spki }
    }

    /// A signature of this key, ECDSA P-256 with SHA-256, ASN.1.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        use aws_lc_rs::{
            rand::SystemRandom,
            signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
        };
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.key).unwrap();
        key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// This certificate with another's key: what a thief of a certificate has.
    pub(crate) fn with_key_of(&self, other: &Self) -> Self {
        Self {
            certificate: self.certificate.clone(),
            key: other.key.clone(),
            spki_sha256: self.spki_sha256.clone(),
            spki: self.spki.clone(),
        }
    }
}

/// How to connect.
pub(crate) struct Dial<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) identity: Option<&'a Identity>,
    pub(crate) server_name: &'a str,
    pub(crate) alpn: &'a [&'a str],
    pub(crate) versions: &'static [&'static rustls::SupportedProtocolVersion],
}

impl Dial<'_> {
    pub(crate) async fn connect(&self) -> io::Result<Wire> {
        self.connect_with(Arc::new(self.config())).await
    }

    /// Connects with what an earlier connection may have been given.
    pub(crate) async fn connect_with(&self, config: Arc<ClientConfig>) -> io::Result<Wire> {
        let name = if self.server_name.is_empty() { "127.0.0.1" } else { self.server_name };
        let stream = TcpStream::connect(self.to).await?;
        Wire::over_tls(config, name, stream).await
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(nightlatch_egress::tls::provider());
        let builder = builder.with_protocol_versions(self.versions).unwrap();
        let any = Arc::new(AnyServer(nightlatch_egress::tls::provider()));
        let builder = builder.dangerous().with_custom_certificate_verifier(any);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Shown(certified(identity)))),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.enable_sni = !self.server_name.is_empty();
        config
    }
}

fn certified(identity: &Identity) -> rustls::sign::CertifiedKey {
    let der = PrivateKeyDer::try_from(identity.key.clone()).unwrap();
    let key = nightlatch_egress::tls::provider().key_provider.load_private_key(der).unwrap();
    rustls::sign::CertifiedKey::new(vec![identity.certificate.clone()], key)
}

/// Shows a certificate without asking whether the key belongs to it.
#[derive(Debug)]
struct Shown(rustls::sign::CertifiedKey);

impl rustls::client::ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::new(self.0.clone()))
    }
    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whatever bytes go over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection, or one tunnel inside of it.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
    alpn: Option<Vec<u8>>,
    is_whole_handshake: bool,
    /// The leaf that the other side showed.
    pub(crate) certificate: Option<CertificateDer<'static>>,
    /// How what a test writes for the `route` door is written for this one.
    pub(crate) rewriting: Option<Rewriting>,
    /// The connection around a tunnel.
    _around: Option<SendRequest<Empty<Bytes>>>,
}

/// An answer, with every byte that the agent could read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The body came to its announced end.
    pub(crate) whole: bool,
}

impl Answer {
    /// An answer over HTTP/2, its head written as HTTP/1.1 has it.
    pub(crate) async fn of(answer: http::Response<hyper::body::Incoming>) -> Self {
        let (head, body) = answer.into_parts();
        let fields = head.headers.iter();
        let fields: String =
            fields.map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
        let status = head.status.as_u16();
        let gathered = http_body_util::BodyExt::collect(body).await;
        let whole = gathered.is_ok();
        let body = gathered.map(|gathered| gathered.to_bytes().to_vec()).unwrap_or_default();
        Self { status, head: format!("HTTP/2.0 {status}\r\n{fields}\r\n"), body, whole }
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .next()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON in {self:?}"))
    }

    /// The kebab-case word at the end of the problem's type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.field("content-type").as_deref(), Some("application/problem+json"), "{self:?}");
        self.json()["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }
}

impl Wire {
    /// A connection that speaks TLS over these bytes.
    async fn over_tls(
        config: Arc<ClientConfig>,
        name: &str,
        stream: impl Stream + 'static,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let session = stream.get_ref().1;
        let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
        let kind = session.handshake_kind();
        let is_whole_handshake = kind.is_some_and(|kind| kind != rustls::HandshakeKind::Resumed);
        let certificate = session.peer_certificates().and_then(<[_]>::first).cloned();
        let certificate = certificate.map(CertificateDer::into_owned);
        let (stream, unread) = (Box::new(stream), Vec::new());
        let (rewriting, _around) = (None, None);
        Ok(Self { stream, unread, alpn, is_whole_handshake, certificate, rewriting, _around })
    }

    /// The tunnel that a 200 to CONNECT opened, over HTTP/1.1.
    pub(crate) async fn tunnelled(mut self, authority: &str) -> Result<Self, Box<Answer>> {
        self.write(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        let head = self.head().await.unwrap_or_default();
        if head.starts_with("HTTP/1.1 200") {
            assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
            return Ok(self);
        }
        Err(Box::new(self.rest_of(head).await))
    }

    /// The same over HTTP/2: one stream of a connection.
    pub(crate) async fn tunnelled_in_stream(self, authority: &str) -> Result<Self, Box<Answer>> {
        let mut around = self.http2::<Empty<Bytes>>().await;
        let request = http::Request::connect(authority).body(Empty::new()).unwrap();
        let answer = around.send_request(request).await.unwrap();
        if answer.status() != 200 {
            return Err(Box::new(Answer::of(answer).await));
        }
        let stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        Ok(Self {
            stream: Box::new(stream),
            unread: Vec::new(),
            alpn: None,
            is_whole_handshake: false,
            certificate: None,
            rewriting: None,
            _around: Some(around),
        })
    }

    /// TLS inside of a tunnel, to whoever answers there under `name`.
    pub(crate) async fn secured(self, config: ClientConfig, name: &str) -> io::Result<Self> {
        let around = self._around;
        let secured = Self::over_tls(Arc::new(config), name, self.stream).await?;
        Ok(Self { _around: around, ..secured })
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = self.written(bytes);
        // A peer that has closed already answers by its silence.
        let _ = self.stream.write_all(&bytes).await;
        let _ = self.stream.flush().await;
    }

    /// What is sent where a test writes this.
    pub(crate) fn written(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        match &self.rewriting {
            Some(rewriting) => rewriting.apply(bytes.as_ref()),
            None => bytes.as_ref().to_vec(),
        }
    }

    /// Whether the handshake was a whole one, with signatures.
    pub(crate) fn was_whole_handshake(&self) -> bool {
        self.is_whole_handshake
    }

    /// Reads one answer; status 0 where the connection was closed without one.
    pub(crate) async fn answer(&mut self) -> Answer {
        match self.head().await {
            Some(head) => self.rest_of(head).await,
            None => Answer::default(),
        }
    }

    async fn rest_of(&mut self, head: String) -> Answer {
        if head.is_empty() {
            return Answer::default();
        }
        let mut answer = Answer { status: head[9..12].parse().unwrap(), head, ..Answer::default() };
        if answer.status == 100 {
            return answer;
        }
        let chunked = answer.field("transfer-encoding").is_some();
        let length: Option<usize> = answer.field("content-length").map(|text| text.parse().unwrap());
        answer.whole = match length {
            Some(length) => self.exactly(length, &mut answer.body).await,
            None if chunked => self.chunks(&mut answer.body).await,
            None => true,
        };
        answer
    }

    /// Reads the head of an answer only.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.unread.split_off(end + 4);
                return Some(String::from_utf8(std::mem::replace(&mut self.unread, rest)).unwrap());
            }
            self.more().await?;
        }
    }

    /// Reads one chunk of a chunked body; none at its end or where it broke off.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let end = loop {
            if let Some(end) = self.unread.windows(2).position(|window| window == b"\r\n") {
                break end;
            }
            self.more().await?;
        };
        let line = String::from_utf8(self.unread[..end].to_vec()).unwrap();
        let length = usize::from_str_radix(&line, 16).unwrap();
        while self.unread.len() < end + 2 + length + 2 {
            self.more().await?;
        }
        let rest = self.unread.split_off(end + 2 + length + 2);
        let data = std::mem::replace(&mut self.unread, rest)[end + 2..end + 2 + length].to_vec();
        Some(data)
    }

    async fn chunks(&mut self, into: &mut Vec<u8>) -> bool {
        loop {
            match self.chunk().await {
                Some(data) if data.is_empty() => return true,
                Some(data) => into.extend_from_slice(&data),
                None => return false,
            }
        }
    }

    async fn exactly(&mut self, length: usize, into: &mut Vec<u8>) -> bool {
        while self.unread.len() < length {
            if self.more().await.is_none() {
                into.append(&mut self.unread);
                return false;
            }
        }
        let rest = self.unread.split_off(length);
        *into = std::mem::replace(&mut self.unread, rest);
        true
    }

    async fn more(&mut self) -> Option<()> {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer).await {
            Ok(count) if count > 0 => {
                self.unread.extend_from_slice(&buffer[..count]);
                Some(())
            }
            _ => None,
        }
    }

    /// So many bytes; none where the other side closes before.
    pub(crate) async fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            self.more().await?;
        }
        let rest = self.unread.split_off(count);
        Some(std::mem::replace(&mut self.unread, rest))
    }

    /// How much can be read before the other side closes.
    pub(crate) async fn drain(&mut self) -> usize {
        let mut read = 0;
        while self.more().await.is_some() {
            read += std::mem::take(&mut self.unread).len();
        }
        read
    }

    /// Whether the other side closes without a further byte, and soon: an idle connection ends by itself
    /// after half a minute.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let ended = tokio::time::timeout(Duration::from_secs(5), self.more()).await;
        matches!(ended, Ok(None)) && self.unread.is_empty()
    }

    /// The bytes alone.
    pub(crate) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    /// This connection as HTTP/2.
    pub(crate) async fn http2<B>(self) -> SendRequest<B>
    where
        B: hyper::body::Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        assert_eq!(self.alpn.as_deref(), Some(&b"h2"[..]));
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(self.stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// The time of a test's world, for whoever verifies a certificate in it.
#[derive(Debug)]
struct TimeOf(Timestamp);

impl TimeProvider for TimeOf {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.since(Timestamp::from_millis(0))))
    }
}

/// TLS inside of a tunnel that trusts these authorities and no others, at the time of a test's world.
pub(crate) fn trusting(pem: &str, alpn: &[&str], at: Timestamp) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let builder =
        ClientConfig::builder_with_details(nightlatch_egress::tls::provider(), Arc::new(TimeOf(at)));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// TLS inside of a tunnel that takes whatever it is shown: an attacker's.
pub(crate) fn careless(alpn: &[&str], with_name: bool) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(nightlatch_egress::tls::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let any = Arc::new(AnyServer(nightlatch_egress::tls::provider()));
    let mut config = builder.dangerous().with_custom_certificate_verifier(any).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.enable_sni = with_name;
    config
}

/// No body.
pub(crate) fn empty() -> Empty<Bytes> {
    Empty::new()
}
