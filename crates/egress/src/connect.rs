//! The connector: every connection that leaves the process is made by [`Connector::connect`].
//!
//! The name is resolved for each connection anew, *every* address in the answer is judged, and one bad
//! address refuses the whole: an answer that mixes a public address with 127.0.0.1 is an attack or a
//! mistake, and either way no one should pick from it. What is dialled is one of the very addresses
//! that were judged, so a name that changes its mind in between (rebinding) gains nothing.
//!
//! What carries no credential goes where an agent says, so for it only public addresses are good, and of those
//! none of this machine's own: what listens here expects its neighbours, not agents. `[[map]]` and `[[allow]]`
//! were written for tools; they open something to agents only where they say that too.

use crate::{
    address::{AddressClass, classify},
    config::{EgressConfig, Map},
    destination::Destination,
    error::EgressError,
    lookups::{Asker, LookupLimits, Lookups},
    resolve::Resolve,
    stream::Stream,
    tls::{Alpn, Trust},
};
use nightlatch_domain::{
    clock::{Boot, Clock},
    id::{PrincipalId, TenantId},
    tool::Scheme,
};
use rustls::pki_types::ServerName;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// An answer with more addresses than this is cut: no honest host has them, and each may cost a dial.
const ADDRESSES_TRIED_MAX: usize = 8;
/// One address gets at most this long where others are left, so that a silent one hides no good one.
const DIAL_EACH_MAX: Duration = Duration::from_secs(5);

/// What was agreed to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    /// A credential of ours may go over it.
    Credential,
    /// Only what an agent has itself.
    Nothing,
}

impl Carries {
    const fn of(asker: Asker) -> Self {
        match asker {
            // A message carries none, but goes where the operator says, as a tool's call does.
            Asker::Keeper | Asker::Tool | Asker::Webhook => Self::Credential,
            Asker::Agent(..) => Self::Nothing,
        }
    }
}

/// A connection, ready for its first byte.
#[derive(Debug)]
pub struct Connected {
    /// The bytes.
    pub stream: Stream,
    /// What was negotiated; HTTP/1.1 where nothing was.
    pub protocol: Protocol,
    /// The address that was judged and dialled.
    pub peer: SocketAddr,
}

/// Makes connections.
pub struct Connector {
    config: EgressConfig,
    lookups: Lookups,
    pub(crate) clock: Arc<dyn Clock>,
    trust: Trust,
}

impl Connector {
    /// A connector under the operator's configuration.
    #[must_use]
    pub fn new(config: EgressConfig, resolver: Arc<dyn Resolve>, clock: Arc<dyn Clock>) -> Self {
        let lookups = Lookups::new(resolver, LookupLimits::default());
        Self { config, lookups, trust: Trust::new(Arc::clone(&clock)), clock }
    }

    /// Connects to a tool's destination, TLS included, before `deadline`.
    ///
    /// # Errors
    /// Any [`EgressError`] of which [`EgressError::nothing_was_sent`] holds.
    pub async fn connect(
        &self,
        to: &Destination,
        alpn: Alpn,
        deadline: Boot,
    ) -> Result<Connected, EgressError> {
        self.connect_for(Asker::Tool, to, alpn, deadline).await
    }

    /// The same, for whoever asks.
    pub(crate) async fn connect_for(
        &self,
        asker: Asker,
        to: &Destination,
        alpn: Alpn,
        deadline: Boot,
    ) -> Result<Connected, EgressError> {
        let left = deadline.since(self.clock.boot());
        let late = |_| EgressError::ConnectTimeout(to.host().to_owned());
        timeout(left, self.connect_unhurried(asker, to, alpn)).await.map_err(late)?
    }

    async fn connect_unhurried(
        &self,
        asker: Asker,
        to: &Destination,
        alpn: Alpn,
    ) -> Result<Connected, EgressError> {
        let map = self.config.map_of(to.host());
        let addresses = self.judged_addresses(asker, to, map).await?;
        let (socket, peer) = dial(to, &addresses).await?;
        if to.scheme() == Scheme::Http {
            return Ok(Connected { stream: Stream::Plain(socket), protocol: Protocol::Http1, peer });
        }
        let tls = self.secured(to, map, socket, alpn).await?;
        let protocol = match tls.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok(Connected { stream: Stream::Tls(tls), protocol, peer })
    }

    async fn secured(
        &self,
        to: &Destination,
        map: Option<&Map>,
        socket: TcpStream,
        alpn: Alpn,
    ) -> Result<Box<TlsStream<TcpStream>>, EgressError> {
        let config = self.trust.client(map, alpn)?;
        let failed = |reason: String| EgressError::Tls { host: to.host().to_owned(), reason };
        let name = ServerName::try_from(to.host().to_owned()).map_err(|error| failed(error.to_string()))?;
        let tls = TlsConnector::from(config).connect(name, socket).await;
        Ok(Box::new(tls.map_err(|error| failed(error.to_string()))?))
    }

    /// What [`Connector::connect_bare`] gives, and TLS over it where the destination speaks that: for a request
    /// that an agent makes on its own account where we stand for the host. HTTP/1.1.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect_open(
        &self,
        agent: (TenantId, PrincipalId),
        to: &Destination,
        deadline: Boot,
    ) -> Result<Stream, EgressError> {
        let socket = self.connect_bare(agent, to, deadline).await?;
        if to.scheme() == Scheme::Http {
            return Ok(Stream::Plain(socket));
        }
        let left = deadline.since(self.clock.boot());
        let late = |_| EgressError::ConnectTimeout(to.host().to_owned());
        let secured = self.secured(to, self.config.map_of(to.host()), socket, Alpn::Http1);
        Ok(Stream::Tls(timeout(left, secured).await.map_err(late)??))
    }

    /// Connects `agent` without TLS, before `deadline`, for what carries no credential of ours: a tunnel in which the
    /// agent speaks TLS itself, or plain HTTP of its own. Only public addresses that are not this machine's are
    /// good, and what the operator opened to agents; the rule that plain HTTP stays on this machine, which
    /// protects credentials, has nothing to protect here.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect_bare(
        &self,
        (tenant, agent): (TenantId, PrincipalId),
        to: &Destination,
        deadline: Boot,
    ) -> Result<TcpStream, EgressError> {
        let left = deadline.since(self.clock.boot());
        let late = |_| EgressError::ConnectTimeout(to.host().to_owned());
        let unhurried = async {
            let map = self.config.map_of(to.host());
            let addresses = self.judged_addresses(Asker::Agent(tenant, agent), to, map).await?;
            self.dial_elsewhere(to, map, &addresses).await
        };
        timeout(left, unhurried).await.map_err(late)?
    }

    /// Dials, unless one of the addresses is this machine's own.
    async fn dial_elsewhere(
        &self,
        to: &Destination,
        map: Option<&Map>,
        addresses: &[SocketAddr],
    ) -> Result<TcpStream, EgressError> {
        let is_named = |address| self.is_named(to, map, address, Carries::Nothing);
        if let Some(own) = addresses.iter().find(|peer| !is_named(peer.ip()) && is_own(**peer)) {
            return Err(EgressError::OwnAddress { host: to.host().to_owned(), address: own.ip() });
        }
        Ok(dial(to, addresses).await?.0)
    }

    /// The addresses that may be dialled: those of the map, of the literal, or of the resolver.
    async fn judged_addresses(
        &self,
        asker: Asker,
        to: &Destination,
        map: Option<&Map>,
    ) -> Result<Vec<SocketAddr>, EgressError> {
        let carries = Carries::of(asker);
        if let Some(map) = map {
            let judged = self.judge(to, Some(map), map.to().ip(), carries)?;
            return Ok(vec![SocketAddr::new(judged, map.to().port())]);
        }
        let found = match to.literal() {
            Some(literal) => vec![literal],
            None => self.lookups.resolve(asker, to.host()).await?,
        };
        let judge = |address| Ok(SocketAddr::new(self.judge(to, None, address, carries)?, to.port()));
        found.into_iter().map(judge).collect()
    }

    /// Whether the operator named this address for that destination, and for what is to be carried there.
    fn is_named(&self, to: &Destination, map: Option<&Map>, address: IpAddr, carries: Carries) -> bool {
        match carries {
            Carries::Credential => map.is_some() || self.config.allows(to.host(), address),
            Carries::Nothing => {
                map.is_some_and(Map::is_for_open_egress) || self.config.opens(to.host(), address)
            }
        }
    }

    /// Whether one address may be dialled for a destination; `map` is what led to it.
    fn judge(
        &self,
        to: &Destination,
        map: Option<&Map>,
        address: IpAddr,
        carries: Carries,
    ) -> Result<IpAddr, EgressError> {
        let class = classify(address);
        let named = self.is_named(to, map, address, carries);
        let is_exposed = carries == Carries::Credential && to.scheme() == Scheme::Http;
        if is_exposed && !(class == AddressClass::Loopback && named) {
            return Err(EgressError::PlainHttp(to.host().to_owned()));
        }
        if class == AddressClass::Public || named {
            return Ok(address);
        }
        Err(EgressError::Forbidden { host: to.host().to_owned(), address, class })
    }
}

/// Whether an address is this machine's: that only the kernel knows, and it chooses the same address for both
/// ends of such a connection (RFC 6724 §5, rule 1). It is asked with a datagram socket that sends nothing, so
/// that not even a handshake reaches what listens here.
fn is_own(peer: SocketAddr) -> bool {
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let chosen = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(peer)?;
        socket.local_addr()
    });
    // Where no way leads there, the dial says so.
    chosen.is_ok_and(|local| local.ip() == peer.ip())
}

/// Dials the judged addresses in turn.
async fn dial(to: &Destination, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), EgressError> {
    let mut kind = io::ErrorKind::NotFound;
    for address in addresses.iter().take(ADDRESSES_TRIED_MAX) {
        match dial_one(*address, addresses.len() > 1).await {
            Ok(socket) => return Ok((socket, *address)),
            Err(error) => kind = error.kind(),
        }
    }
    Err(EgressError::Unreachable { host: to.host().to_owned(), kind })
}

async fn dial_one(address: SocketAddr, others: bool) -> io::Result<TcpStream> {
    let dialling = TcpStream::connect(address);
    let socket = if others {
        timeout(DIAL_EACH_MAX, dialling).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
    } else {
        dialling.await?
    };
    socket.set_nodelay(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
