//! What the operator's configuration says about the way out: `[[map]]` and `[[allow]]`.
//!
//! Both name an exact host. A map says that a real host name is answered elsewhere, optionally under a
//! root of its own; an allow says that a host may resolve to a private or loopback address. Nothing
//! else opens anything: no environment, no proxy variable, no row of the database. Both are said for the tools'
//! sake; what an agent may reach by itself, under open egress, they open only where they say so.

use crate::{
    address::{AddressClass, classify},
    destination::Destination,
    error::EgressError,
};
use nightlatch_domain::tool::Scheme;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::net::{IpAddr, SocketAddr};

/// The operator's word on the way out. The default opens nothing.
#[derive(Debug, Clone, Default)]
pub struct EgressConfig {
    /// Hosts that are answered elsewhere.
    pub maps: Vec<Map>,
    /// Hosts that may have a private or loopback address.
    pub allows: Vec<Allow>,
}

impl EgressConfig {
    /// The map of a host, if there is one.
    #[must_use]
    pub fn map_of(&self, host: &str) -> Option<&Map> {
        self.maps.iter().find(|map| map.host == host)
    }

    /// Whether `host` may have `address`, which is no public one.
    #[must_use]
    pub fn allows(&self, host: &str, address: IpAddr) -> bool {
        self.allows.iter().any(|allow| allow.host == host && allow.covers(address))
    }

    /// Whether `host` may have `address` even where an agent goes there by itself, without a tool.
    #[must_use]
    pub fn opens(&self, host: &str, address: IpAddr) -> bool {
        self.allows.iter().any(|allow| allow.open && allow.host == host && allow.covers(address))
    }
}

/// `[[map]]`: a host name that is answered at another address.
#[derive(Debug, Clone)]
pub struct Map {
    host: String,
    to: SocketAddr,
    root: Vec<CertificateDer<'static>>,
    open: bool,
}

impl Map {
    /// A map of `host` to `to`; `root` is a file of certificates (PEM, or one in DER) that are trusted
    /// for this host in place of the system's.
    ///
    /// # Errors
    /// [`EgressError::Config`] that names the host and says what to write.
    pub fn new(host: &str, to: SocketAddr, root: Option<&[u8]>) -> Result<Self, EgressError> {
        exact_host("map", host)?;
        if !classify(to.ip()).can_be_allowed() || to.port() == 0 {
            return Err(EgressError::Config(format!(
                "[[map]] `{host}`: `{to}` is no host's address and port"
            )));
        }
        let root = root
            .map(|bytes| certificates(&format!("[[map]] `{host}`: the root"), bytes))
            .transpose()?
            .unwrap_or_default();
        Ok(Self { host: host.to_owned(), to, root, open: false })
    }

    /// The same, also for agents that go there by themselves under open egress: without this, only a public
    /// address is theirs.
    #[must_use]
    pub const fn for_open_egress(mut self) -> Self {
        self.open = true;
        self
    }

    /// Whether agents that go there by themselves are meant as well.
    #[must_use]
    pub const fn is_for_open_egress(&self) -> bool {
        self.open
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it is answered.
    #[must_use]
    pub const fn to(&self) -> SocketAddr {
        self.to
    }

    /// The roots that are trusted for it; none where the system's are.
    #[must_use]
    pub fn root(&self) -> &[CertificateDer<'static>] {
        &self.root
    }
}

/// `[[allow]]`: a host that may have an address which is not public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    host: String,
    network: IpAddr,
    prefix_bits: u8,
    open: bool,
}

impl Allow {
    /// Allows `host` the address `address`, or a network as `10.1.0.0/16`.
    ///
    /// # Errors
    /// [`EgressError::Config`] that names the host and says what to write.
    pub fn new(host: &str, address: &str) -> Result<Self, EgressError> {
        exact_host("allow", host)?;
        let bad = || {
            EgressError::Config(format!(
                "[[allow]] `{host}`: `{address}` is no address of a host; write one as `127.0.0.1` or a network as `10.1.0.0/16`"
            ))
        };
        let (ip, bits) = address.split_once('/').map_or((address, None), |(ip, bits)| (ip, Some(bits)));
        let network: IpAddr = ip.parse().map_err(|_| bad())?;
        let whole = if network.is_ipv4() { 32 } else { 128 };
        let prefix_bits = bits.map_or(Ok(whole), str::parse).map_err(|_| bad())?;
        let sound = (1..=whole).contains(&prefix_bits) && classify(network).can_be_allowed();
        if !sound {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), network, prefix_bits, open: false })
    }

    /// The same, also for agents that go there by themselves under open egress.
    #[must_use]
    pub fn for_open_egress(mut self) -> Self {
        self.open = true;
        self
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether `address` is meant. A metadata service is only meant where it is named itself: it lies
    /// inside networks that people allow without thinking of it.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        match classify(address) {
            AddressClass::Metadata => self.network == address && self.is_single(),
            class => class.can_be_allowed() && self.contains(address),
        }
    }

    fn is_single(&self) -> bool {
        self.prefix_bits == if self.network.is_ipv4() { 32 } else { 128 }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let bits = u32::from(self.prefix_bits);
        match (self.network, address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => (net.to_bits() ^ ip.to_bits()).leading_zeros() >= bits,
            (IpAddr::V6(net), IpAddr::V6(ip)) => (net.to_bits() ^ ip.to_bits()).leading_zeros() >= bits,
            _ => false,
        }
    }
}

fn exact_host(table: &str, host: &str) -> Result<(), EgressError> {
    Destination::new(Scheme::Https, host, 443).map(|_| ()).map_err(|_| {
        EgressError::Config(format!(
            "[[{table}]] `{host}` is no exact host: write a lower-case name, without a port or `*`"
        ))
    })
}

/// The certificates of a file; `what` says whose.
pub(crate) fn certificates(what: &str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, EgressError> {
    let pem: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match pem {
        Ok(list) if !list.is_empty() => Ok(list),
        // DER: a certificate is a SEQUENCE (X.690 §8.9).
        _ if bytes.first() == Some(&0x30) => Ok(vec![CertificateDer::from(bytes.to_vec())]),
        _ => Err(EgressError::Config(format!("{what} holds no certificate; give a PEM or DER file"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Allow, EgressConfig, Map};

    fn config(host: &str, address: &str) -> EgressConfig {
        EgressConfig { allows: vec![Allow::new(host, address).unwrap()], ..EgressConfig::default() }
    }

    #[test]
    fn an_allow_is_good_for_its_host_and_network_only() {
        let one = config("a.example", "10.1.0.0/16");
        assert!(one.allows("a.example", "10.1.255.1".parse().unwrap()));
        assert!(!one.allows("a.example", "10.2.0.1".parse().unwrap()));
        assert!(!one.allows("b.example", "10.1.0.1".parse().unwrap()));
        assert!(!one.allows("a.example", "::ffff:10.1.0.1".parse().unwrap()));
    }

    #[test]
    fn a_network_never_opens_a_metadata_service() {
        let metadata = "169.254.169.254".parse().unwrap();
        assert!(!config("a.example", "169.254.0.0/16").allows("a.example", metadata));
        assert!(config("a.example", "169.254.169.254").allows("a.example", metadata));
    }

    #[test]
    fn what_is_no_single_hosts_address_cannot_be_allowed() {
        for address in [
            "0.0.0.0",
            "0.0.0.0/0",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
            "10.0.0.0/33",
            "10.0.0.1/0",
            "x",
            "010.0.0.1",
        ] {
            assert!(Allow::new("a.example", address).is_err(), "{address}");
        }
        assert!(!config("a.example", "10.0.0.0/1").allows("a.example", "0.0.0.0".parse().unwrap()));
    }

    #[test]
    fn a_map_names_one_exact_host() {
        let to = "127.0.0.1:9".parse().unwrap();
        for host in ["*.example", "A.example", "a.example:443", "0x7f.1", ""] {
            assert!(Map::new(host, to, None).is_err(), "{host}");
        }
        assert!(Map::new("a.example", to, Some(b"no certificate")).is_err());
        assert!(Map::new("a.example", to, None).is_ok());
    }
}
