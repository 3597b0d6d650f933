//! A small outside world: a clock, a name server, an authority, servers that count who came.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use nightlatch_domain::{
    clock::{Boot, Clock, Timestamp},
    id::{PrincipalId, TenantId},
    tool::Scheme,
};
use nightlatch_egress::{Connector, Destination, EgressConfig, Map, Resolve, SendBody, tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub(crate) const HOST: &str = "tool.example";
/// 2026-11-21T23:00:00Z: the certificates of these tests are good for the year 2026.
const NOW_MILLIS: i64 = 1_795_302_000_000;

/// A clock that moves when it is told to.
#[derive(Default)]
pub(crate) struct Hand(AtomicU64);

impl Hand {
    pub(crate) fn forward(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// A boot time `millis` from now.
    pub(crate) fn after(&self, millis: u64) -> Boot {
        self.boot().plus(Duration::from_millis(millis))
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOW_MILLIS).plus(Duration::from_millis(self.0.load(Ordering::SeqCst)))
    }
    fn boot(&self) -> Boot {
        Boot::from_millis(1_000_000 + self.0.load(Ordering::SeqCst))
    }
}

/// A name server that gives each answer once, and the last one for ever.
pub(crate) struct Names {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    pub(crate) asked: AtomicUsize,
}

impl Names {
    pub(crate) fn saying(answers: &[&[&str]]) -> Arc<Self> {
        let read = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
        Arc::new(Self { answers: Mutex::new(answers.iter().map(read).collect()), asked: AtomicUsize::new(0) })
    }
}

impl Resolve for Names {
    fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Ok(answer.unwrap_or_default())
    }
}

/// A name server that never answers.
pub(crate) struct Silent;

impl Resolve for Silent {
    fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        loop {
            std::thread::park();
        }
    }
}

/// An agent of the one tenant.
pub(crate) fn agent(number: u8) -> (TenantId, PrincipalId) {
    let at = Timestamp::from_millis(NOW_MILLIS);
    (TenantId::new(at, [1; 10]), PrincipalId::new(at, [number; 10]))
}

pub(crate) fn https(host: &str, port: u16) -> Destination {
    Destination::new(Scheme::Https, host, port).unwrap()
}

pub(crate) fn http(host: &str, port: u16) -> Destination {
    Destination::new(Scheme::Http, host, port).unwrap()
}

pub(crate) fn connector(config: EgressConfig, names: Arc<dyn Resolve>) -> (Arc<Connector>, Arc<Hand>) {
    let hand = Arc::new(Hand::default());
    (Arc::new(Connector::new(config, names, Arc::clone(&hand) as Arc<dyn Clock>)), hand)
}

/// A connector for which [`HOST`] is answered at `to`, under `root` where one is given.
pub(crate) fn mapped(to: SocketAddr, root: Option<&Authority>) -> (Arc<Connector>, Arc<Hand>) {
    let pem = root.map(Authority::pem);
    let map = Map::new(HOST, to, pem.as_deref().map(str::as_bytes)).unwrap();
    connector(EgressConfig { maps: vec![map], allows: Vec::new() }, Names::saying(&[]))
}

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's TLS for `name`, good for one year.
    pub(crate) fn server(&self, name: &str, year: i32, alpn: &[&str]) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf(name, year).signed_by(&key, &self.0).unwrap();
        server_config(certificate.der().clone(), &key, alpn)
    }
}

fn leaf(name: &str, year: i32) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(year, 1, 1);
    params.not_after = date_time_ymd(year + 1, 1, 1);
    params
}

pub(crate) fn self_signed(name: &str) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let certificate = leaf(name, 2026).self_signed(&key).unwrap();
    server_config(certificate.der().clone(), &key, &["http/1.1"])
}

fn server_config(certificate: CertificateDer<'static>, key: &KeyPair, alpn: &[&str]) -> ServerConfig {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// A listener and how many came to it.
pub(crate) struct Server {
    pub(crate) at: SocketAddr,
    pub(crate) came: Arc<AtomicUsize>,
}

impl Server {
    /// Serves each connection with `serve`, which is told how many came before it.
    pub(crate) async fn start<F, W>(serve: F) -> Self
    where
        F: Fn(usize, TcpStream) -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0".parse().unwrap(), serve).await
    }

    pub(crate) async fn start_at<F, W>(at: SocketAddr, serve: F) -> Self
    where
        F: Fn(usize, TcpStream) -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(at).await.unwrap();
        let (at, came) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let before = counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(before, socket));
            }
        });
        Self { at, came }
    }

    /// Answers every request of every connection with `200` and `ok`, over TLS where it is given.
    pub(crate) async fn plain_ok() -> Self {
        Self::start(|_, mut socket| async move {
            while !read_request(&mut socket).await.is_empty() {
                socket.write_all(OK).await.unwrap();
            }
        })
        .await
    }

    pub(crate) fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Reads one request without a body; empty at the end of the connection.
pub(crate) async fn read_request(from: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") && from.read_buf(&mut text).await.is_ok_and(|count| count > 0) {}
    String::from_utf8(text).unwrap()
}

pub(crate) fn empty() -> SendBody {
    Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn full(text: &'static str) -> SendBody {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

/// Polls until `holds`; fails after ten seconds.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    let poll = async {
        while !holds() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), poll).await.expect("it held within ten seconds");
}
