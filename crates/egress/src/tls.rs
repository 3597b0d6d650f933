//! TLS to the outside: the one place of the cryptographic provider, and the client configurations.
//!
//! TLS 1.2 and 1.3, the server's name always checked, no early data (RFC 8446 §8: it can be replayed)
//! and no session resumption: a ticket that one grant's connection was given would let another grant's
//! connection be recognised, and a handshake costs 130 µs.

use crate::{
    config::{Map, certificates},
    error::EgressError,
};
use nightlatch_domain::clock::Clock;
use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    time_provider::TimeProvider,
    version::{TLS12, TLS13},
};
use rustls_platform_verifier::Verifier;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// The provider of every TLS configuration in the program, servers' included.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// Which protocols a connection may speak (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/2 where the server can, else HTTP/1.1.
    Http2OrHttp1,
    /// HTTP/1.1 only.
    Http1,
}

impl Alpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http2OrHttp1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
        }
    }
}

/// The injected clock as rustls wants it, so that certificates are judged by the same time as all else.
struct WallTime(Arc<dyn Clock>);

impl fmt::Debug for WallTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("WallTime")
    }
}

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        let secs = u64::try_from(self.0.now().secs()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(secs)))
    }
}

/// Makes client configurations. Roots are read when the first connection needs them, and the system's are
/// read again by the next one where there were none, so that installing them needs no restart.
pub(crate) struct Trust {
    clock: Arc<dyn Clock>,
    /// By the mapped host whose own roots they are; the system's under none.
    verifiers: Mutex<HashMap<Option<String>, Arc<dyn ServerCertVerifier>>>,
}

impl Trust {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, verifiers: Mutex::new(HashMap::new()) }
    }

    /// The configuration for one connection to a host, under the map's own roots where it has some.
    pub(crate) fn client(&self, map: Option<&Map>, alpn: Alpn) -> Result<Arc<ClientConfig>, EgressError> {
        let own = map.filter(|map| !map.root().is_empty());
        let mut config = under(self.verifier(own)?, Arc::clone(&self.clock))?;
        config.alpn_protocols = alpn.protocols();
        Ok(Arc::new(config))
    }

    fn verifier(&self, own: Option<&Map>) -> Result<Arc<dyn ServerCertVerifier>, EgressError> {
        let mut kept = self.verifiers.lock().unwrap_or_else(PoisonError::into_inner);
        let place = own.map(|map| map.host().to_owned());
        if let Some(verifier) = kept.get(&place) {
            return Ok(Arc::clone(verifier));
        }
        let fresh: Arc<dyn ServerCertVerifier> = match own {
            Some(map) => own_roots(&format!("[[map]] `{}`: the root", map.host()), map.root())?,
            None => Arc::new(Verifier::new(provider()).map_err(|_| EgressError::NoRoots)?),
        };
        kept.insert(place, Arc::clone(&fresh));
        Ok(fresh)
    }
}

/// The configuration for the one server that is no tool's and no provider's: the database, where it is on another machine.
/// `roots` is a file of certificates (PEM, or one in DER), and nobody else vouches for it; `what` says which file.
///
/// # Errors
/// [`EgressError::Config`].
pub fn vouched_for(what: &str, roots: &[u8], clock: Arc<dyn Clock>) -> Result<ClientConfig, EgressError> {
    under(own_roots(what, &certificates(what, roots)?)?, clock)
}

fn under(verifier: Arc<dyn ServerCertVerifier>, clock: Arc<dyn Clock>) -> Result<ClientConfig, EgressError> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(WallTime(clock)))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| EgressError::Config(format!("the TLS provider lacks a protocol version: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

fn own_roots(
    what: &str,
    roots: &[CertificateDer<'static>],
) -> Result<Arc<dyn ServerCertVerifier>, EgressError> {
    let bad = |reason: String| EgressError::Config(format!("{what} cannot be used: {reason}"));
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|error| bad(error.to_string()))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider()).build();
    Ok(verifier.map_err(|error| bad(error.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::{Alpn, Trust};
    use crate::config::Map;
    use nightlatch_domain::clock::{Boot, Clock, Timestamp};
    use std::sync::Arc;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(0)
        }
        fn boot(&self) -> Boot {
            Boot::from_millis(0)
        }
    }

    #[test]
    fn no_session_is_kept_and_no_early_data_sent() {
        let key = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let root = key.cert.pem();
        let map = Map::new("a.example", "127.0.0.1:1".parse().unwrap(), Some(root.as_bytes())).unwrap();
        let config = Trust::new(Arc::new(Still)).client(Some(&map), Alpn::Http1).unwrap();
        assert!(!config.enable_early_data);
        assert!(format!("{:?}", config.resumption).contains("NoClientSessionStorage"));
    }
}
