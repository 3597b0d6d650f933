//! What goes over a connection: HTTP/1.1 in the few words that a token endpoint needs.

use std::fmt::Write as _;

/// Name and value of a header.
pub type Header = (String, String);

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ask {
    /// `GET` or `POST`.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
}

impl Ask {
    /// As it goes over the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        written(&format!("{} {} HTTP/1.1", self.method, self.path), &self.headers, &self.body)
    }

    /// Read from the wire; none where a part is missing.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (first, headers, body) = read(bytes)?;
        let mut words = first.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Self { method, path, headers, body })
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// A field of the form that the body is.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        let mut fields = form_urlencoded::parse(&self.body);
        fields.find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
    }
}

impl Reply {
    /// JSON under a status.
    #[must_use]
    pub fn json(status: u16, body: String) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.into_bytes() }
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        written(&format!("HTTP/1.1 {}", self.status), &self.headers, &self.body)
    }

    /// Read from the wire; none where a part is missing.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (first, headers, body) = read(bytes)?;
        let status = first.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, headers, body })
    }
}

fn written(first: &str, headers: &[Header], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{first}\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn read(bytes: &[u8]) -> Option<(String, Vec<Header>, Vec<u8>)> {
    let ends = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = bytes.split_at_checked(ends)?;
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let first = lines.next()?.to_owned();
    let parts =
        lines.map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())));
    let mut headers = parts.collect::<Option<Vec<_>>>()?;
    let length = headers.iter().position(|(name, _)| name == "content-length")?;
    let length: usize = headers.remove(length).1.parse().ok()?;
    let body = body.get(4..)?;
    (body.len() == length).then(|| (first, headers, body.to_vec()))
}
