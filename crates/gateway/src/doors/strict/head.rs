//! A request's head: a request line, fields, an empty line.
//!
//! Each line is judged once, when it is whole, whatever pieces it came in. The head is never stored here: the
//! bytes stay with whoever read them, and this keeps two positions and what the lines have said.

use super::{
    Bounds,
    fault::Fault,
    fields::{Fields, is_token},
    target,
};
use memchr::memchr;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// The next head.
    None,
    Sized(u64),
    Chunked,
    /// Nothing of HTTP/1.1, if the answer is yes.
    OtherProtocol,
}

/// A head, as far as it was read.
#[derive(Debug)]
pub(super) struct Head {
    /// Where the line begins that is not whole yet.
    line_at: usize,
    /// Up to where its end was looked for.
    looked_to: usize,
    count: usize,
    opening: Option<Opening>,
    fields: Fields,
}

/// What the request line said.
#[derive(Debug, Clone, Copy)]
struct Opening {
    is_connect: bool,
    is_http_11: bool,
}

impl Head {
    pub(super) const fn new() -> Self {
        Self { line_at: 0, looked_to: 0, count: 0, opening: None, fields: Fields::new() }
    }

    /// Reads on in a head that begins where `bytes` do; gives its length and what follows once it is whole.
    pub(super) fn read(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Option<(usize, Content)>, Fault> {
        let within = bytes.get(..bounds.head_max_bytes).unwrap_or(bytes);
        loop {
            let Some(found) = within.get(self.looked_to..).and_then(|rest| memchr(b'\n', rest)) else {
                self.looked_to = within.len();
                return if within.len() == bounds.head_max_bytes {
                    Err(Fault::HeadTooLong)
                } else {
                    Ok(None)
                };
            };
            let end = self.looked_to + found;
            let line = within.get(self.line_at..end).and_then(|line| line.strip_suffix(b"\r"));
            let content = self.line(line.ok_or(Fault::LineEnd)?, bounds)?;
            (self.line_at, self.looked_to) = (end + 1, end + 1);
            if let Some(content) = content {
                return Ok(Some((end + 1, content)));
            }
        }
    }

    /// Judges one line; gives what follows the head if it was the last.
    fn line(&mut self, line: &[u8], bounds: Bounds) -> Result<Option<Content>, Fault> {
        let Some(opening) = self.opening else {
            self.opening = Some(opening(line)?);
            return Ok(None);
        };
        if line.is_empty() {
            return content(opening, &self.fields).map(Some);
        }
        self.count += 1;
        if self.count > bounds.fields_max {
            return Err(Fault::TooManyFields);
        }
        self.fields.note(line)?;
        Ok(None)
    }
}

/// RFC 9112 §3: `method SP request-target SP HTTP-version`. An empty line before it is not skipped.
fn opening(line: &[u8]) -> Result<Opening, Fault> {
    let (method, rest) = cut(line)?;
    let (target, version) = cut(rest)?;
    if !is_token(method) {
        return Err(if has_stray_end(method) { Fault::LineEnd } else { Fault::Method });
    }
    let is_http_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(of_version(version)),
    };
    let is_connect = method == b"CONNECT";
    target::check(target, is_connect)?;
    Ok(Opening { is_connect, is_http_11 })
}

/// What stands before the first space, and what behind it; neither is empty.
fn cut(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let (before, behind) =
        memchr(b' ', line).and_then(|at| line.split_at_checked(at)).ok_or(Fault::RequestLine)?;
    match behind.get(1..) {
        Some(behind) if !before.is_empty() && !behind.is_empty() => Ok((before, behind)),
        _ => Err(Fault::RequestLine),
    }
}

fn has_stray_end(bytes: &[u8]) -> bool {
    memchr(b'\r', bytes).is_some()
}

/// A version that is another one, or none.
fn of_version(version: &[u8]) -> Fault {
    match version {
        _ if has_stray_end(version) => Fault::LineEnd,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Fault::Version
        }
        _ => Fault::RequestLine,
    }
}

/// What follows, by the one rule that is left of RFC 9112 §6.3 where nothing is repaired.
fn content(opening: Opening, fields: &Fields) -> Result<Content, Fault> {
    // RFC 9112 §3.2: Host comes with every request of HTTP/1.1.
    if opening.is_http_11 && !fields.has_host {
        return Err(Fault::Host);
    }
    // RFC 9112 §6.1: HTTP/1.0 knows no codings; and a length beside one is how requests are smuggled.
    if fields.is_chunked && (!opening.is_http_11 || fields.length.is_some()) {
        return Err(Fault::TransferEncoding);
    }
    if opening.is_connect || fields.has_upgrade {
        return other_protocol(opening, fields);
    }
    Ok(match fields.length {
        _ if fields.is_chunked => Content::Chunked,
        Some(length) if length > 0 => Content::Sized(length),
        _ => Content::None,
    })
}

/// RFC 9110 §9.3.6: CONNECT has no content, and what is announced as such could be taken for the tunnel's
/// bytes. An `Upgrade` with content is legal, and nobody agrees on where the new protocol begins.
fn other_protocol(opening: Opening, fields: &Fields) -> Result<Content, Fault> {
    let has_content = fields.is_chunked || fields.length.is_some_and(|length| length > 0);
    match (opening.is_connect, fields.length) {
        (true, _) if fields.is_chunked => Err(Fault::TransferEncoding),
        (true, Some(_)) => Err(Fault::ContentLength),
        (false, _) if has_content => Err(Fault::Upgrade),
        _ => Ok(Content::OtherProtocol),
    }
}
