//! A tool that records every byte it is sent, over TLS, and answers by script.

use crate::client::Stream;
use nightlatch_domain::ports::Boxed;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData as _,
};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// Every value of a field, in the order in which they arrived.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }
}

/// What is answered: pieces of bytes, a gate before each but the first, and perhaps a closed connection.
#[derive(Clone, Default)]
pub(crate) struct Reply {
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) gate: Option<Arc<Notify>>,
    pub(crate) closes: bool,
    /// Answer before the request's body was read.
    pub(crate) early: bool,
    /// What takes the connection over after the pieces, with what was read of it already.
    pub(crate) goes_on: Option<GoesOn>,
}

/// Speaks another protocol on a connection from here on.
pub(crate) type GoesOn = Arc<dyn Fn(Box<dyn Stream>, Vec<u8>) -> Boxed<'static, ()> + Send + Sync>;

impl Reply {
    pub(crate) fn of(text: impl Into<Vec<u8>>) -> Self {
        Self { pieces: vec![text.into()], ..Self::default() }
    }

    /// An ordinary answer with this body.
    pub(crate) fn ok(body: &str) -> Self {
        Self::with("200 OK", &[], body)
    }

    pub(crate) fn with(status: &str, fields: &[&str], body: &str) -> Self {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        Self::of(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{fields}\r\n{body}", body.len()))
    }
}

type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// The tool.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) root: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<Script>>,
    /// Held by each connection.
    open: Arc<()>,
}

impl Upstream {
    /// A server whose certificate says `certified`.
    pub(crate) async fn start(certified: &str) -> Self {
        Self::serving(Some(certified)).await
    }

    /// A server that speaks plain HTTP.
    pub(crate) async fn start_plain() -> Self {
        Self::serving(None).await
    }

    async fn serving(certified: Option<&str>) -> Self {
        let (config, root) = identity(certified.unwrap_or("nobody.test"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            root,
            seen: Arc::default(),
            script: Arc::new(Mutex::new(Arc::new(|_: &Seen| Reply::ok("{\"fine\":true}")))),
            open: Arc::default(),
        };
        let (seen, script) = (Arc::clone(&upstream.seen), Arc::clone(&upstream.script));
        let open = Arc::downgrade(&upstream.open);
        let acceptor = certified.map(|_| TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving =
                    Serving { seen: Arc::clone(&seen), script: Arc::clone(&script), _open: open.upgrade() };
                tokio::spawn(serving.run(acceptor.clone(), stream));
            }
        });
        upstream
    }

    pub(crate) fn answers(&self, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// Everything that arrived so far, and forgets it.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The same, and keeps it.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn identity(certified: &str) -> (ServerConfig, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    assert!(!key.subject_public_key_info().is_empty());
    let leaf =
        CertificateParams::new(vec![certified.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let builder = ServerConfig::builder_with_provider(nightlatch_egress::tls::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (builder.with_single_cert(vec![leaf.der().clone()], key).unwrap(), authority.pem())
}

struct Serving {
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<Script>>,
    _open: Option<Arc<()>>,
}

impl Serving {
    async fn run(self, acceptor: Option<TlsAcceptor>, stream: TcpStream) {
        match acceptor {
            None => self.answer(stream).await,
            Some(acceptor) => {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                self.answer(stream).await;
            }
        }
    }

    async fn answer(self, mut stream: impl Stream + 'static) {
        let mut unread = Vec::new();
        while let Some(head) = read_head(&mut stream, &mut unread).await {
            let place = {
                let mut seen = self.seen.lock().unwrap();
                seen.push(Seen { head: head.clone(), body: Vec::new() });
                seen.len() - 1
            };
            let script = Arc::clone(&self.script.lock().unwrap());
            let early = script(&Seen { head: head.clone(), body: Vec::new() }).early;
            let body = if early { Vec::new() } else { read_body(&mut stream, &mut unread, &head).await };
            if let Some(seen) = self.seen.lock().unwrap().get_mut(place) {
                seen.body.clone_from(&body);
            }
            let reply = script(&Seen { head, body });
            for (place, piece) in reply.pieces.iter().enumerate() {
                if let (Some(gate), true) = (&reply.gate, place > 0) {
                    gate.notified().await;
                }
                if stream.write_all(piece).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            if let Some(goes_on) = &reply.goes_on {
                return goes_on(Box::new(stream), unread).await;
            }
            if reply.closes {
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

async fn read_head(stream: &mut (impl AsyncReadExt + Unpin), unread: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = unread.split_off(end + 4);
            return String::from_utf8(std::mem::replace(unread, rest)).ok();
        }
        more(stream, unread).await?;
    }
}

async fn more(stream: &mut (impl AsyncReadExt + Unpin), unread: &mut Vec<u8>) -> Option<()> {
    let mut buffer = vec![0; 64 * 1024];
    match stream.read(&mut buffer).await {
        Ok(count) if count > 0 => {
            unread.extend_from_slice(&buffer[..count]);
            Some(())
        }
        _ => None,
    }
}

async fn read_body(stream: &mut (impl AsyncReadExt + Unpin), unread: &mut Vec<u8>, head: &str) -> Vec<u8> {
    let seen = Seen { head: head.to_owned(), body: Vec::new() };
    if seen.all("transfer-encoding") == ["chunked"] {
        while !unread.ends_with(b"0\r\n\r\n") {
            if more(stream, unread).await.is_none() {
                break;
            }
        }
        return std::mem::take(unread);
    }
    let length: usize = seen.all("content-length").first().map_or(0, |text| text.parse().unwrap());
    while unread.len() < length {
        if more(stream, unread).await.is_none() {
            break;
        }
    }
    let rest = unread.split_off(length.min(unread.len()));
    std::mem::replace(unread, rest)
}
