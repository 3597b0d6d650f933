//! The first head of a local connection: what the companion reads, and all that it reads.
//!
//! It decides between a tunnel (CONNECT) and plain HTTP by proxy (absolute-form), and looks for the one password;
//! what follows is the gateway's to read. Of a CONNECT only the authority goes further, in a frame of HTTP/2 that
//! we make, so nothing of a strange head can be read in two ways there. A head in absolute-form goes on byte for
//! byte; it is held to the same rules, so that both ends see one first head.
//!
//! A page in a browser can make this machine send requests to a port on loopback, but only in origin-form, which
//! is refused whole; and a CONNECT that carries what only browsers say is refused too.

use http::{HeaderName, Method};
use nightlatch_domain::companion::COMPANION_HOST;
use zeroize::Zeroizing;

/// The fields of a request to the companion that are for the gateway.
const HANDED_ON: [&str; 2] = ["idempotency-key", "prefer"];
/// A length of more digits is no length.
const LENGTH_MAX_DIGITS: usize = 9;

/// Which way a connection goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A tunnel to this `host:port`.
    Tunnel(String),
    /// A request over plain HTTP, which the gateway reads.
    PlainHttp,
    /// A request to the companion itself.
    Own(Own),
}

/// A request that is addressed to the companion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// How long its body is.
    pub(crate) length: usize,
    /// What of its fields is for the gateway.
    pub(crate) handed_on: Vec<(HeaderName, Vec<u8>)>,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) wanted: Wanted,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<Zeroizing<Vec<u8>>>,
    /// Where the head ends.
    pub(crate) length: usize,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadFault {
    /// It breaks a rule; where.
    Malformed(&'static str),
    /// It is meant for a server, and this is a proxy.
    OriginForm,
    /// A web page is behind it.
    CrossSite,
    /// It did not end in time or within its length.
    TooLarge,
}

/// Reads a head that is there whole; none where its end has not come.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Head>, HeadFault> {
    let Some(lines) = lines(bytes)? else { return Ok(None) };
    let length = lines.iter().map(|line| line.len() + 2).sum::<usize>() + 2;
    let (first, fields) = lines.split_first().ok_or(HeadFault::Malformed("request-line"))?;
    let fields = Fields::read(fields)?;
    let wanted = wanted(first, &fields)?;
    let authorization = fields.authorization.map(|value| Zeroizing::new(value.to_vec()));
    Ok(Some(Head { wanted, authorization, length }))
}

/// The lines of a head up to its empty one. RFC 9112 §2.2 lets a lone LF end a line; that is refused here, and
/// so is a lone CR.
fn lines(bytes: &[u8]) -> Result<Option<Vec<&[u8]>>, HeadFault> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    loop {
        let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)) else {
            return Ok(None);
        };
        let (line, after) = rest.split_at(end);
        match after {
            [b'\r'] => return Ok(None),
            [b'\r', b'\n', next @ ..] => rest = next,
            _ => return Err(HeadFault::Malformed("line")),
        }
        if line.is_empty() {
            return Ok(Some(lines));
        }
        lines.push(line);
    }
}

fn wanted(line: &[u8], fields: &Fields<'_>) -> Result<Wanted, HeadFault> {
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, words.next()) else {
        return Err(HeadFault::Malformed("request-line"));
    };
    let printed = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    if !method.iter().copied().all(is_token) || method.is_empty() || !printed(target) {
        return Err(HeadFault::Malformed("request-line"));
    }
    // Python before 3.12 asks for tunnels in HTTP/1.0.
    if !matches!(version, b"HTTP/1.1" | b"HTTP/1.0") {
        return Err(HeadFault::Malformed("version"));
    }
    if method == b"CONNECT" {
        return tunnel(target, fields);
    }
    let scheme = target.get(..7).unwrap_or_default();
    if scheme.eq_ignore_ascii_case(b"http://") {
        let path = own_path(target.get(7..).unwrap_or_default());
        return path.map_or(Ok(Wanted::PlainHttp), |path| own(method, path, fields).map(Wanted::Own));
    }
    // RFC 9112 §3.2: origin-form and asterisk-form are for servers.
    Err(if target.starts_with(b"/") || target == b"*" {
        HeadFault::OriginForm
    } else {
        HeadFault::Malformed("target")
    })
}

fn tunnel(target: &[u8], fields: &Fields<'_>) -> Result<Wanted, HeadFault> {
    // RFC 9110 §9.3.6: CONNECT has no content; what is announced as such could be taken for the tunnel's bytes.
    if fields.has_content {
        return Err(HeadFault::Malformed("content-length"));
    }
    if fields.from_page {
        return Err(HeadFault::CrossSite);
    }
    authority(target).map(Wanted::Tunnel).ok_or(HeadFault::Malformed("target"))
}

/// The path of a target on the companion's own host; none on any other.
fn own_path(target: &[u8]) -> Option<&str> {
    let target = std::str::from_utf8(target).ok()?;
    let (authority, path) = target.find('/').map_or((target, "/"), |at| target.split_at(at));
    let host = authority.strip_suffix(":80").unwrap_or(authority);
    host.eq_ignore_ascii_case(COMPANION_HOST).then_some(path)
}

/// A request to the companion: what is read of it is read in one way, since it is made anew for the gateway.
fn own(method: &[u8], path: &str, fields: &Fields<'_>) -> Result<Own, HeadFault> {
    if fields.from_page {
        return Err(HeadFault::CrossSite);
    }
    if fields.only("transfer-encoding")?.is_some() {
        return Err(HeadFault::Malformed("transfer-encoding"));
    }
    if fields.only("host")?.is_some_and(|host| own_path(host) != Some("/")) {
        return Err(HeadFault::Malformed("host"));
    }
    let digits = |value: &&[u8]| {
        !value.is_empty() && value.len() <= LENGTH_MAX_DIGITS && value.iter().all(u8::is_ascii_digit)
    };
    let length = match fields.only("content-length")? {
        None => 0,
        Some(value) => {
            let text = Some(value).filter(digits).and_then(|value| std::str::from_utf8(value).ok());
            text.and_then(|text| text.parse().ok()).ok_or(HeadFault::Malformed("content-length"))?
        }
    };
    let mut handed_on = Vec::new();
    for name in HANDED_ON {
        let value = fields.only(name)?;
        handed_on.extend(value.map(|value| (HeaderName::from_static(name), value.to_vec())));
    }
    let method = Method::from_bytes(method).map_err(|_| HeadFault::Malformed("request-line"))?;
    Ok(Own { method, path: path.to_owned(), length, handed_on })
}

/// RFC 9112 §3.2.3: authority-form is a host and a port, and nothing before or after.
fn authority(target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    let (host, port) = target.rsplit_once(':')?;
    let digits = !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let in_range = port.parse::<u16>().is_ok_and(|port| port > 0);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let sound = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.len() <= 253 && host.bytes().all(plain),
    };
    (digits && in_range && sound).then(|| target.to_owned())
}

/// What is looked for among the field lines.
#[derive(Default)]
struct Fields<'a> {
    authorization: Option<&'a [u8]>,
    has_host: bool,
    has_content: bool,
    from_page: bool,
    all: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Fields<'a> {
    fn read(lines: &[&'a [u8]]) -> Result<Self, HeadFault> {
        let mut fields = Self::default();
        for line in lines {
            let (name, value) = field(line)?;
            fields.note(name, value)?;
            fields.all.push((name, value));
        }
        Ok(fields)
    }

    /// The one value of a field, if it is there; twice is a fault.
    fn only(&self, name: &'static str) -> Result<Option<&'a [u8]>, HeadFault> {
        let mut values = self.all.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()));
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(HeadFault::Malformed(name)),
            (one, None) => Ok(one.map(|(_, value)| *value)),
        }
    }

    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), HeadFault> {
        match name.to_ascii_lowercase().as_slice() {
            b"proxy-authorization" if self.authorization.replace(value).is_some() => {
                return Err(HeadFault::Malformed("proxy-authorization"));
            }
            b"host" if std::mem::replace(&mut self.has_host, true) => {
                return Err(HeadFault::Malformed("host"));
            }
            b"content-length" | b"transfer-encoding" => self.has_content = true,
            b"origin" | b"sec-fetch-site" => self.from_page = true,
            _ => {}
        }
        Ok(())
    }
}

/// Name and value of a field line (RFC 9112 §5): no folding, no space before the colon, no control character.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), HeadFault> {
    let malformed = HeadFault::Malformed("field");
    let colon = line.iter().position(|byte| *byte == b':').ok_or(malformed)?;
    let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
    let sound = !name.is_empty()
        && name.iter().copied().all(is_token)
        && value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if sound { Ok((name, value.trim_ascii())) } else { Err(malformed) }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
