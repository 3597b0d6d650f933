//! The gateway's key by its hash, and TLS that takes no other.
//!
//! There is no authority to ask: what was handed over at enrolment is the SHA-256 of the gateway's public key,
//! and whoever proves that key *is* the gateway. So the verifier looks at two things and nothing else. The hash
//! of the certificate's public key says which key is claimed; the handshake's signature, checked with that very
//! key, says that the peer holds it. A verifier that left out the second would believe whoever has seen the
//! certificate, which is public. Names and dates of the certificate say nothing and are not read.
//!
//! TLS 1.3 only (RFC 8446): its `CertificateVerify` covers the whole handshake. No session is resumed, since a
//! resumed one is not signed; no early data is sent, since it can be replayed (§8).

use crate::{error::CompanionError, identity::Identity};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use std::{
    fmt::{self, Write as _},
    str::FromStr,
    sync::Arc,
};
use webpki::EndEntityCert;

/// SHA-256 of the gateway's public key (SPKI, DER; RFC 5280 §4.1.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayKey([u8; 32]);

impl GatewayKey {
    /// The hash in hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

impl FromStr for GatewayKey {
    type Err = CompanionError;

    /// Reads `sha256//BASE64`, as `nightlatch agent enrol` prints it and curl's `--pinnedpubkey` takes it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hash = text.strip_prefix("sha256//").and_then(|hash| STANDARD.decode(hash).ok());
        let hash = hash.and_then(|hash| hash.try_into().ok());
        hash.map(Self).ok_or_else(|| CompanionError::GatewayKey { key: text.to_owned() })
    }
}

impl fmt::Display for GatewayKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256//{}", STANDARD.encode(self.0))
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    // SHA-256 has 32 bytes: the iterators end together.
    hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// Hexadecimal, in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// TLS towards the gateway with this key, as the agent that holds `identity`.
///
/// # Errors
/// [`CompanionError::NoKey`] where key and certificate do not belong together.
pub(crate) fn client_config(key: GatewayKey, identity: &Identity) -> Result<ClientConfig, CompanionError> {
    let provider = nightlatch_egress::tls::provider();
    let no_key = |error: Error| CompanionError::NoKey(error.to_string());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(no_key)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { key, provider }))
        .with_client_auth_cert(vec![identity.certificate().clone()], identity.private_key())
        .map_err(no_key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// Takes the one key, from whoever proves to hold it.
#[derive(Debug)]
struct Pinned {
    key: GatewayKey,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = EndEntityCert::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if sha256(&certificate.subject_public_key_info()) == self.key.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // TLS 1.2 is not offered.
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::{GatewayKey, client_config};
    use crate::identity::Identity;

    #[test]
    fn the_hash_is_read_as_it_is_printed() {
        let printed = format!("sha256//{}=", "A".repeat(43));
        let key: GatewayKey = printed.parse().unwrap();
        assert_eq!(key.to_string(), printed);
        assert_eq!(key.hex(), "00".repeat(32));
        for wrong in
            ["", "sha256//", "sha256//AAAA", &"A".repeat(44), &printed[..50], &format!("{printed};x")]
        {
            assert!(wrong.parse::<GatewayKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_session_is_resumed_and_no_early_data_sent() {
        let key = GatewayKey([0; 32]);
        let config = client_config(key, &Identity::generate().unwrap()).unwrap();
        assert!(!config.enable_early_data);
        assert!(format!("{:?}", config.resumption).contains("NoClientSessionStorage"));
        assert_eq!(config.alpn_protocols, [b"h2"]);
    }
}
