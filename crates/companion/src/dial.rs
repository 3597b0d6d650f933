//! How the gateway is reached: the one socket that the companion opens.
//!
//! It is the operator's address and nobody else's, so no class of addresses is refused here: a gateway beside a
//! container has a private one. Who may answer there is a matter of the key.

use crate::error::CompanionError;
use nightlatch_domain::ports::Boxed;
use std::io;
use tokio::net::TcpStream;

/// Opens the way to the gateway.
pub trait Dial: Send + Sync {
    /// A connected stream; its caller bounds the wait.
    fn dial(&self) -> Boxed<'_, io::Result<TcpStream>>;
}

/// Where the gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// Reads `HOST:PORT`; an IPv6 address stands in brackets. A URL's `https://` in front is let pass, since
    /// `agent enrol` prints one.
    ///
    /// # Errors
    /// [`CompanionError::Address`].
    pub fn parse(text: &str) -> Result<Self, CompanionError> {
        let wrong = || CompanionError::Address { address: text.to_owned() };
        let bare = text.strip_prefix("https://").unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let (host, port) = bare.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let sound = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(plain),
        };
        if sound { Ok(Self { host: host.to_owned(), port }) } else { Err(wrong()) }
    }

    /// The host, an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// `host:port`, as it stands in a request.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Dial for Address {
    fn dial(&self) -> Boxed<'_, io::Result<TcpStream>> {
        Box::pin(async {
            let stream = TcpStream::connect((self.host(), self.port)).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, host, authority) in [
            ("127.0.0.1:8443", "127.0.0.1", "127.0.0.1:8443"),
            ("https://127.0.0.1:8443/", "127.0.0.1", "127.0.0.1:8443"),
            ("[::1]:1", "::1", "[::1]:1"),
            ("nightlatch.internal:65535", "nightlatch.internal", "nightlatch.internal:65535"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host(), address.authority().as_str()), (host, authority));
        }
        for wrong in
            ["", ":1", "a", "a:", "a:0", "a:65536", "a/b:1", "u@a:1", "::1:1", "http://a:1", "a:1/x", "[a]:1"]
        {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
