//! TLS towards agents: any self-signed client certificate may be *presented*, and only its key counts.
//!
//! There is no chain to check: an agent is admitted by the SHA-256 of its public key, which was enrolled.
//! So what the handshake must prove is that the peer holds that key, and this is exactly what the two
//! signature checks do; a verifier that skipped them would admit whoever has seen a certificate (they are
//! public). Sessions are not resumed: a resumed one carries the certificate over without a signature, and
//! a wake wants a proof that is fresh.

use crate::error::GatewayError;
use aws_lc_rs::digest::{SHA256, digest};
use nightlatch_domain::principal::Binding;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::{TLS12, TLS13},
};
use std::{fmt::Write as _, sync::Arc};
use webpki::EndEntityCert;

/// The server's configuration: TLS 1.2 and 1.3, h2 and http/1.1, client certificates optional.
///
/// # Errors
/// [`GatewayError::Tls`] where key and certificate do not belong together.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, GatewayError> {
    let provider = nightlatch_egress::tls::provider();
    let presented = Arc::new(Presented { provider: Arc::clone(&provider) });
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(tls_error)?;
    let mut config =
        builder.with_client_cert_verifier(presented).with_single_cert(chain, key).map_err(tls_error)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn tls_error(error: Error) -> GatewayError {
    GatewayError::Tls(error.to_string())
}

/// The binding that a presented certificate stands for: SHA-256 of its SPKI (RFC 5280 §4.1.2.7), in DER.
#[must_use]
pub fn binding_of(certificate: &CertificateDer<'_>) -> Option<Binding> {
    Some(Binding::Key { spki_sha256: sha256_hex(&public_key_of(certificate)?) })
}

/// The public key of a certificate (SPKI, DER).
pub(crate) fn public_key_of(certificate: &CertificateDer<'_>) -> Option<Arc<[u8]>> {
    Some(EndEntityCert::try_from(certificate).ok()?.subject_public_key_info().to_vec().into())
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Takes any certificate that can be read; the handshake's signature is verified with its key.
#[derive(Debug)]
struct Presented {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Presented {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        EndEntityCert::try_from(end_entity).map_err(|_| rustls::CertificateError::BadEncoding)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
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
    use super::{binding_of, sha256_hex};
    use nightlatch_domain::principal::Binding;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    #[test]
    fn a_binding_is_the_hash_of_the_public_key_and_of_nothing_else() {
        let key = KeyPair::generate().unwrap();
        let of = |name: &str| {
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            binding_of(params.self_signed(&key).unwrap().der()).unwrap()
        };
        assert_eq!(of("a.example"), of("b.example"));
        assert_eq!(of("a.example"), Binding::Key { spki_sha256: sha256_hex(&key.subject_public_key_info()) });
    }

    #[test]
    fn what_is_no_certificate_binds_nobody() {
        assert_eq!(binding_of(&vec![0x30, 0x03, 0x02, 0x01, 0x01].into()), None);
        assert_eq!(binding_of(&Vec::new().into()), None);
    }
}
