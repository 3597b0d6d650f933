//! Whom the load asks: where, over what, and with which bytes.

use crate::{Fault, line};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use serde_json::Value;
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

/// Room for what a body is read with.
const BUFFER_BYTES: usize = 256 * 1024;

/// What stands where a request has its own number.
const NUMBER: &str = "{n}";

/// Bytes both ways, over whatever.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Whom to ask. Read from JSON:
/// `{"name", "to": "tcp:…"|"unix:…", "request": head and body, "status"?: "200", "connections", "identity"?: folder,
/// "tunnel"?: "host:port", "http2"?: true}`; with an identity it speaks TLS with the agent's certificate, with a tunnel
/// it speaks TLS inside of a CONNECT too. `{n}` in a request is a number that no other request of the target has.
pub(crate) struct Target {
    to: String,
    request: String,
    /// What is in the place of `{n}` next, where there is such a place.
    number: Option<AtomicU64>,
    /// The status of a good answer.
    status: String,
    tls: Option<Arc<ClientConfig>>,
    tunnel: Option<(String, Arc<ClientConfig>)>,
    is_http2: bool,
    pub(crate) connections: usize,
}

/// A connection that asks one thing after another.
pub(crate) enum Caller {
    One {
        stream: Box<dyn Duplex>,
        unread: Vec<u8>,
    },
    /// A stream of an HTTP/2 connection that others share.
    Shared(SendRequest<Empty<Bytes>>),
}

impl Target {
    pub(crate) fn read(value: &Value) -> Result<Self, Fault> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let missing = |name: &str| format!("a target needs `{name}`");
        let is_http2 = value.get("http2").and_then(Value::as_bool).unwrap_or_default();
        let identity = text("identity");
        let request = text("request").ok_or_else(|| missing("request"))?.to_owned();
        let inner: &[u8] = if is_http2 { b"h2" } else { b"http/1.1" };
        let tunnel = text("tunnel").map(|to| Ok::<_, Fault>((to.to_owned(), client_config(None, inner)?)));
        Ok(Self {
            to: text("to").ok_or_else(|| missing("to"))?.to_owned(),
            number: request.contains(NUMBER).then(AtomicU64::default),
            request,
            status: text("status").unwrap_or("200").to_owned(),
            tls: identity.map(|folder| client_config(Some(folder), b"http/1.1")).transpose()?,
            tunnel: tunnel.transpose()?,
            is_http2,
            connections: value.get("connections").and_then(Value::as_u64).unwrap_or(1).try_into()?,
        })
    }

    /// All its connections.
    pub(crate) async fn open(&self) -> Result<Vec<Caller>, Fault> {
        let mut callers = Vec::new();
        while callers.len() < self.connections {
            callers.push(match callers.first() {
                Some(Caller::Shared(sender)) => Caller::Shared(sender.clone()),
                _ => self.connect().await?,
            });
        }
        Ok(callers)
    }

    /// One connection.
    pub(crate) async fn connect(&self) -> Result<Caller, Fault> {
        let stream = self.inside(self.outside().await?).await?;
        if !self.is_http2 {
            return Ok(Caller::One { stream, unread: Vec::with_capacity(BUFFER_BYTES) });
        }
        let io = TokioIo::new(stream);
        let (sender, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(driver);
        Ok(Caller::Shared(sender))
    }

    /// The connection to the proxy itself.
    pub(crate) async fn outside(&self) -> Result<Box<dyn Duplex>, Fault> {
        let (kind, place) = self.to.split_once(':').ok_or("`to` is tcp:… or unix:…")?;
        if kind == "unix" {
            return Ok(Box::new(UnixStream::connect(place).await?));
        }
        let stream = TcpStream::connect(place).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => {
                let name = ServerName::try_from("localhost")?;
                Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
            }
        }
    }

    async fn inside(&self, mut stream: Box<dyn Duplex>) -> Result<Box<dyn Duplex>, Fault> {
        let Some((to, tls)) = &self.tunnel else { return Ok(stream) };
        stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\n").as_bytes()).await?;
        let mut unread = Vec::new();
        let answer = line::head(&mut stream, &mut unread).await?;
        if answer.target != "200" || !unread.is_empty() {
            return Err(format!("CONNECT {to}: {}", answer.target).into());
        }
        let name = ServerName::try_from(to.split(':').next().unwrap_or_default().to_owned())?;
        Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
    }

    /// Asks once; the bytes of the answer's body.
    pub(crate) async fn ask(&self, caller: &mut Caller) -> Result<usize, Fault> {
        match caller {
            Caller::One { stream, unread } => {
                stream.write_all(self.next().as_bytes()).await?;
                stream.flush().await?;
                let head = line::head(stream, unread).await?;
                let bytes = line::body(stream, unread, &head).await?;
                self.good(&head.target).map(|()| bytes)
            }
            Caller::Shared(sender) => {
                sender.ready().await?;
                let answer = sender.send_request(self.as_http2()?).await?;
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                self.good(status.as_str()).map(|()| body.len())
            }
        }
    }

    /// The bytes of the next request.
    fn next(&self) -> Cow<'_, str> {
        match &self.number {
            None => Cow::Borrowed(&self.request),
            Some(number) => {
                let number = number.fetch_add(1, Ordering::Relaxed).to_string();
                Cow::Owned(self.request.replace(NUMBER, &number))
            }
        }
    }

    fn good(&self, status: &str) -> Result<(), Fault> {
        if status == self.status {
            Ok(())
        } else {
            Err(format!("answered {status}, not {}", self.status).into())
        }
    }

    /// The same request in HTTP/2: target and fields, `host` as the authority.
    fn as_http2(&self) -> Result<Request<Empty<Bytes>>, Fault> {
        let text = self.next();
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let authority = self.tunnel.as_ref().map(|(to, _)| to.trim_end_matches(":443")).unwrap_or_default();
        let request = Request::builder().method(method).uri(format!("https://{authority}{path}"));
        let fields = lines.filter_map(|line| line.split_once(": "));
        let fields = fields.filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
        Ok(fields.fold(request, |request, (name, value)| request.header(name, value)).body(Empty::new())?)
    }
}

/// A certificate of the agent's own, and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_config(folder: Option<&str>, alpn: &[u8]) -> Result<Arc<ClientConfig>, Fault> {
    let read = |folder: &str| -> Result<Identity, Fault> {
        let chain =
            CertificateDer::pem_file_iter(format!("{folder}/agent.pem"))?.collect::<Result<_, _>>()?;
        Ok((chain, PrivateKeyDer::from_pem_file(format!("{folder}/agent.key"))?))
    };
    Ok(Arc::new(config_of(folder.map(read).transpose()?, alpn)?))
}

/// What speaks TLS as this agent, or as nobody.
pub(crate) fn config_of(identity: Option<Identity>, alpn: &[u8]) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

/// Takes any certificate: who the server is makes no difference to what it costs.
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
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
