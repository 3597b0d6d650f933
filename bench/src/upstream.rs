//! The upstream: 1 KiB for any path, N bytes for `/bytes/N`, and an account for `/me`; over HTTP/1.1, plain and TLS.
//!
//! It is as bare as can be: what it costs is on the same core as what is measured.

use crate::{Fault, line, runtime, until_told};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{path::Path, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// The small answer.
const SMALL_BYTES: usize = 1024;
/// A large one is written in pieces of this.
const PIECE_BYTES: usize = 64 * 1024;

pub(crate) fn serve(folder: &Path) -> Result<(), Fault> {
    let tls = TlsAcceptor::from(Arc::new(server_config(folder)?));
    let runtime = runtime()?;
    runtime.block_on(async {
        let (plain, secure) =
            (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        println!(
            "{}",
            serde_json::json!({ "http": plain.local_addr()?.to_string(), "https": secure.local_addr()?.to_string() })
        );
        tokio::spawn(accept(plain, None));
        tokio::spawn(accept(secure, Some(tls)));
        Ok::<_, Fault>(tokio::task::spawn_blocking(until_told).await?)
    })
}

pub(crate) fn server_config(folder: &Path) -> Result<ServerConfig, Fault> {
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Where it fails, an answer only comes later.
        let _ = stream.set_nodelay(true);
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => answer(stream).await,
                Some(tls) => answer(tls.accept(stream).await?).await,
            }
        });
    }
}

/// Answers until the other side is gone.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let small = whole(&vec![b'x'; SMALL_BYTES]);
    let account = whole(br#"{"id":"1","login":"bench"}"#);
    let mut unread = Vec::with_capacity(PIECE_BYTES);
    loop {
        let head = line::head(&mut stream, &mut unread).await?;
        line::skip(&mut stream, &mut unread, head.length).await?;
        match head.target.as_str() {
            "/me" => stream.write_all(&account).await?,
            target => match target.strip_prefix("/bytes/").and_then(|bytes| bytes.parse().ok()) {
                Some(bytes) => large(&mut stream, bytes).await?,
                None => stream.write_all(&small).await?,
            },
        }
        stream.flush().await?;
    }
}

fn whole(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn large(stream: &mut (impl AsyncWrite + Unpin), bytes: usize) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let piece = vec![b'x'; PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let next = left.min(PIECE_BYTES);
        stream.write_all(piece.get(..next).unwrap_or_default()).await?;
        left -= next;
    }
    Ok(())
}
