//! An agent: a key of its own, enrolled for one task, and calls over mutual TLS. It holds references, and
//! the oracle is told of every byte that it is shown.

use super::{canary::Oracle, http::Answer, install::Install};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// An agent's side of mutual TLS, for one task.
pub(crate) struct Agent {
    gateway: String,
    tls: Arc<ClientConfig>,
    /// The certificate and key in PEM, for curl.
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    oracle: Arc<Oracle>,
}

impl Agent {
    /// An agent with a fresh key that nobody knows yet.
    pub(crate) fn stranger(install: &Install) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["agent.test".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        Self {
            gateway: install.gateway(),
            tls: Arc::new(client_config(certificate.der().clone(), der)),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            oracle: Arc::clone(&install.oracle),
        }
    }

    /// An agent whose key is enrolled with a one-time code.
    pub(crate) async fn enrolled(install: &Install, code: &str) -> Self {
        let agent = Self::stranger(install);
        let body = serde_json::json!({ "code": code }).to_string();
        let answer =
            agent.call(Method::POST, "/v1/enrol", &[("content-type", "application/json")], body).await;
        assert!(answer.status.is_success(), "enrol: {} {}", answer.status, answer.text());
        agent
    }

    /// The same agent at another gateway.
    pub(crate) fn at(&self, gateway: &str) -> Self {
        Self {
            gateway: gateway.to_owned(),
            tls: Arc::clone(&self.tls),
            certificate_pem: self.certificate_pem.clone(),
            key_pem: self.key_pem.clone(),
            oracle: Arc::clone(&self.oracle),
        }
    }

    /// A signature of its key, ECDSA P-256 with SHA-256, ASN.1.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        use aws_lc_rs::{
            rand::SystemRandom,
            signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
        };
        let der = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_der()).expect("a key");
        key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
    }

    /// A GET with a reference as bearer token.
    pub(crate) async fn get(&self, path: &str, reference: &str) -> Answer {
        self.call(Method::GET, path, &[("authorization", &format!("Bearer {reference}"))], "").await
    }

    /// One call on a connection of its own.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut line = self.connect().await;
        self.call_on(&mut line, method, path, headers, body).await
    }

    /// One call on a connection of its own, where the gateway may die at any moment: none where no whole answer came.
    pub(crate) async fn try_call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        let stream = TcpStream::connect(&self.gateway).await.ok()?;
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", self.gateway.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let answer = Answer { status: head.status, headers: head.headers, body };
        self.note(&answer.seen());
        Some(answer)
    }

    /// A kept HTTP/1.1 connection.
    pub(crate) async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = self.raw().await;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        sender
    }

    /// The bare TLS stream, for what a library would tidy up.
    pub(crate) async fn raw(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(&self.gateway).await.expect("the gateway listens");
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        TlsConnector::from(self.tls.clone()).connect(name, stream).await.expect("TLS")
    }

    /// One call on a kept connection.
    pub(crate) async fn call_on(
        &self,
        line: &mut SendRequest<Full<Bytes>>,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", self.gateway.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let response = line.send_request(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let answer = Answer { status: head.status, headers: head.headers, body };
        self.note(&answer.seen());
        answer
    }

    /// Notes what it was shown some other way.
    pub(crate) fn note(&self, bytes: &[u8]) {
        self.oracle.note("what an agent saw", bytes);
    }
}

fn client_config(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider's own versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_client_auth_cert(vec![certificate], key)
        .expect("a client certificate");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Takes any certificate: what the gateway's key is worth is shown with curl's `--pinnedpubkey`.
#[derive(Debug)]
struct AnyServer(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
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
