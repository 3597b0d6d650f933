//! Where a connection goes: scheme, host and port, read one way only.
//!
//! The system's resolver understands more than it should: `2130706433`, `0x7f.1` and `017700000001` are
//! all 127.0.0.1 to `inet_aton`. A host here is either a host name whose last label is no number
//! (WHATWG URL, "ends in a number"), or an address in the one form in which it prints; anything else is
//! refused, not repaired.

use crate::error::EgressError;
use http::Uri;
use nightlatch_domain::tool::{BoundHost, Scheme};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// RFC 1035 §2.3.4: a name is at most 253 characters as text, a label 63.
const NAME_MAX_BYTES: usize = 253;
const LABEL_MAX_BYTES: usize = 63;

/// A checked destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    scheme: Scheme,
    host: String,
    port: u16,
}

impl Destination {
    /// A destination from its parts. An IPv6 address stands without brackets.
    ///
    /// # Errors
    /// [`EgressError::BadHost`] where the host could be read in two ways.
    pub fn new(scheme: Scheme, host: &str, port: u16) -> Result<Self, EgressError> {
        if port != 0 && (literal(host).is_some() || is_plain_name(host)) {
            return Ok(Self { scheme, host: host.to_owned(), port });
        }
        Err(EgressError::BadHost(host.chars().take(64).collect()))
    }

    /// The destination of a URL, for example of a token endpoint.
    ///
    /// # Errors
    /// [`EgressError::BadUrl`] without an `http` or `https` scheme and a host, or with a user name;
    /// [`EgressError::BadHost`] as [`Destination::new`].
    pub fn of_url(url: &Uri) -> Result<Self, EgressError> {
        let bad = || EgressError::BadUrl(url.host().unwrap_or_default().chars().take(64).collect());
        let scheme = match url.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return Err(bad()),
        };
        let authority = url.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') {
            return Err(bad());
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        // `http` reads `host:` as no port and `host:70000` as an error at parse time.
        Self::new(scheme, bare, authority.port_u16().unwrap_or(scheme.default_port()))
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The host as an address, where it is one.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        literal(&self.host)
    }

    /// What stands in `Host` and `:authority`: the port only where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
        };
        write!(out, "{scheme}://{}", self.authority())
    }
}

impl TryFrom<&BoundHost> for Destination {
    type Error = EgressError;
    fn try_from(bound: &BoundHost) -> Result<Self, EgressError> {
        Self::new(bound.scheme, &bound.host, bound.port)
    }
}

/// An address in the one form in which it prints, and in no other notation.
fn literal(host: &str) -> Option<IpAddr> {
    // The library reads IPv4 in dotted decimal only (no octal, no leading zero), and IPv6 in many forms.
    let four = host.parse::<Ipv4Addr>().ok();
    let six = host.parse::<Ipv6Addr>().ok().filter(|six| six.to_string() == host);
    four.map(IpAddr::V4).or(six.map(IpAddr::V6))
}

/// A host name in lower case, without a trailing dot, whose last label is no number.
pub(crate) fn is_plain_name(host: &str) -> bool {
    let sound = |label: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        label.len() <= LABEL_MAX_BYTES
            && edge(label.bytes().next())
            && edge(label.bytes().last())
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= NAME_MAX_BYTES && host.split('.').all(sound) && !is_number(last)
}

/// Whether `inet_aton` would take the label for a number: decimal, octal or hexadecimal.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex || label.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::Destination;
    use nightlatch_domain::tool::Scheme;

    fn https(host: &str) -> bool {
        Destination::new(Scheme::Https, host, 443).is_ok()
    }

    #[test]
    fn plain_names_and_plain_addresses_are_destinations() {
        for good in [
            "api.github.com",
            "localhost",
            "a-b.c_d.example",
            "93.184.216.34",
            "2606:4700::1111",
            "::1",
            "x.0xg",
        ] {
            assert!(https(good), "{good}");
        }
    }

    #[test]
    fn an_address_in_any_other_notation_is_refused() {
        let odd = [
            "2130706433",
            "0x7f000001",
            "017700000001",
            "127.1",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.1.",
            "1.2.3.4.5",
            "256.1.1.1",
            "0x7f.0x0.0x0.0x1",
            "0x",
            "fe80::1%eth0",
            "fe80::1%25eth0",
            "[::1]",
            "0:0:0:0:0:0:0:1",
            "::FFFF:127.0.0.1",
            "::0001",
            "127。0。0。1",
            "①②⑦.0.0.1",
            "example.1",
            "example.0x1",
        ];
        for host in odd {
            assert!(!https(host), "{host}");
        }
    }

    #[test]
    fn a_name_that_could_be_read_two_ways_is_refused() {
        let long = "a".repeat(64);
        let odd = [
            "",
            ".",
            "a..b",
            ".a",
            "a.",
            "A.example",
            "a b",
            "a\tb",
            "a/b",
            "a\\b",
            "a@b",
            "a:80",
            "a%2eb",
            "a#b",
            "a?b",
            "-a.example",
            "a-.example",
            "bücher.example",
            "a\0.example",
            long.as_str(),
        ];
        for host in odd {
            assert!(!https(host), "{host:?}");
        }
        assert!(Destination::new(Scheme::Https, "a.example", 0).is_err());
    }

    #[test]
    fn a_url_gives_its_destination_or_none() {
        let read = |text: &str| text.parse().ok().and_then(|url| Destination::of_url(&url).ok());
        assert_eq!(
            read("https://a.example/token").map(|to| to.to_string()),
            Some("https://a.example".into())
        );
        assert_eq!(read("http://a.example:81/").map(|to| to.to_string()), Some("http://a.example:81".into()));
        assert_eq!(read("https://[::1]:444/").map(|to| to.authority()), Some("[::1]:444".into()));
        for bad in [
            "ftp://a.example/",
            "/token",
            "https://u@a.example/",
            "https://u:p@a.example/",
            "https://0x7f.1/",
            "https://A.example/",
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
