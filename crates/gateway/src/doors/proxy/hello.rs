//! The first bytes inside of a tunnel: a TLS ClientHello, or nothing that is carried.
//!
//! They are read before anybody answers, and kept, because they say which host is meant: a tunnel to one host
//! in which TLS asks for another is a request that was led astray, or leads.

use rustls::server::{Accepted, Acceptor};
use std::io::Cursor;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A ClientHello with post-quantum shares has 2 KiB; this bounds what somebody can make us hold.
const HELLO_MAX_BYTES: usize = 16 * 1024;
/// RFC 8446 §5.1: the type of a record that begins a handshake.
const HANDSHAKE: u8 = 22;

/// A ClientHello, and the bytes that it was read from.
pub(super) struct Hello {
    pub(super) accepted: Accepted,
    pub(super) bytes: Vec<u8>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoHello {
    /// The other side left.
    Gone,
    /// What came is something else.
    NotTls,
}

impl Hello {
    /// The server name that it asks for.
    pub(super) fn server_name(&self) -> Option<String> {
        self.accepted.client_hello().server_name().map(str::to_owned)
    }
}

/// Reads a ClientHello.
///
/// # Errors
/// [`NoHello`].
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, NoHello> {
    let (mut acceptor, mut bytes) = (Acceptor::default(), Vec::new());
    let mut piece = vec![0; 4096];
    loop {
        let count = stream.read(&mut piece).await.map_err(|_| NoHello::Gone)?;
        let new = piece.get(..count).filter(|new| !new.is_empty()).ok_or(NoHello::Gone)?;
        bytes.extend_from_slice(new);
        if bytes.first() != Some(&HANDSHAKE) || bytes.len() > HELLO_MAX_BYTES {
            return Err(NoHello::NotTls);
        }
        let mut unread = Cursor::new(new);
        while unread.position() < new.len() as u64 {
            acceptor.read_tls(&mut unread).map_err(|_| NoHello::NotTls)?;
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(Hello { accepted, bytes }),
                Ok(None) => {}
                Err(_) => return Err(NoHello::NotTls),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HELLO_MAX_BYTES, NoHello, read};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};
    use std::sync::Arc;

    fn hello(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(nightlatch_egress::tls::provider());
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[tokio::test]
    async fn a_hello_is_read_with_its_name_and_kept_byte_for_byte() {
        let bytes = hello("api.acme.test");
        let read = read(&mut bytes.as_slice()).await.ok().unwrap();
        assert_eq!(read.server_name().as_deref(), Some("api.acme.test"));
        assert_eq!(read.bytes, bytes);
    }

    #[tokio::test]
    async fn an_address_is_no_server_name() {
        let bytes = hello("127.0.0.1");
        assert_eq!(read(&mut bytes.as_slice()).await.ok().unwrap().server_name(), None);
    }

    #[tokio::test]
    async fn what_is_not_tls_is_told_at_its_first_byte_and_never_gathered() {
        let endless = [vec![22, 3, 1, 0x3f, 0xff], vec![0; HELLO_MAX_BYTES]].concat();
        for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-x\r\n", b"\0", b"\x16\x03", &endless] {
            let said = read(&mut &*other).await.err().unwrap();
            let expected = if other.len() == 2 { NoHello::Gone } else { NoHello::NotTls };
            assert_eq!(said, expected, "{:?}", other.first());
        }
        assert_eq!(read(&mut &b""[..]).await.err().unwrap(), NoHello::Gone);
    }
}
