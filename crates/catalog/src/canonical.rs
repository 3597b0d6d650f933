//! The one parse of a request target.
//!
//! Two programs that read one path in two ways are the oldest hole in a proxy: policy sees `/public`, the
//! server serves `/admin`. So there is one parse, and it refuses whatever any common server is known to
//! read otherwise: dot segments in every spelling, encoded separators, backslashes, empty segments, double
//! encoding, control characters, path parameters that hide a dot segment. Nothing is repaired. What is
//! left has one spelling only (RFC 3986 §6.2.2: capital hex digits, unreserved characters not encoded), and
//! that spelling is both what operations are matched against and what is sent.
//!
//! The query is checked and kept byte for byte: its decoding differs from server to server, so a manifest
//! matches on named values of it only where there is a single reading ([`crate::manifest`]).

use nightlatch_domain::exchange::Target;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The longest request target that is read. RFC 9110 §4.1 asks for at least 8000 octets; twice that serves
/// the longest queries of known APIs, and a caller cannot make us normalise more.
pub const TARGET_LIMIT_BYTES: usize = 16 * 1024;

/// The longest method name.
const METHOD_LIMIT_BYTES: usize = 32;

/// Why a method or target is refused. Holds nothing of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TargetError {
    /// The method is no token of capital letters.
    #[error("the method must be one word of capital letters, for example `GET`")]
    Method,
    /// TRACE and its kin echo what was sent, the credential included; CONNECT has no path.
    #[error("the methods `TRACE`, `TRACK` and `CONNECT` are refused: send an ordinary request")]
    MethodRefused,
    /// Not `/path?query`.
    #[error("the target must be a path that begins with `/` (RFC 9112 §3.2.1)")]
    NotOriginForm,
    /// Longer than [`TARGET_LIMIT_BYTES`].
    #[error("the target is longer than {TARGET_LIMIT_BYTES} bytes: send the parameters in the body")]
    TooLong,
    /// A byte that may not stand in a target as it is.
    #[error("the target holds a character that must be percent-encoded (RFC 3986 §3.3)")]
    Character,
    /// `#` never leaves a client.
    #[error("the target holds a fragment (`#`): leave it out")]
    Fragment,
    /// `%` without two hexadecimal digits.
    #[error("the target holds a `%` without two hexadecimal digits after it: write `%25` for a percent sign")]
    Escape,
    /// An escape that stands for a control character.
    #[error("the target holds an encoded control character: leave it out")]
    Control,
    /// `\`, `%5c` or `%2f` in the path.
    #[error(
        "the path holds an encoded separator or a backslash, which servers read in two ways: leave it out"
    )]
    Separator,
    /// `%25` and two hexadecimal digits: an escape of an escape.
    #[error("the path is percent-encoded twice: encode it once")]
    DoubleEncoded,
    /// Escapes that are no UTF-8 once decoded.
    #[error("the path is no UTF-8 once it is decoded: encode it as UTF-8")]
    NotUtf8,
    /// `.` or `..`, in whatever spelling.
    #[error("the path holds a dot segment: write the path without `.` and `..`")]
    DotSegment,
    /// `//` inside the path.
    #[error("the path holds an empty segment (`//`): write single slashes")]
    EmptySegment,
}

/// Reads a method and a request target in origin form (RFC 9112 §3.2.1).
///
/// # Errors
/// [`TargetError`] for whatever could be read in two ways. Nothing is repaired.
pub fn target(method: &str, raw_target: &str) -> Result<Target, TargetError> {
    check_method(method)?;
    if raw_target.len() > TARGET_LIMIT_BYTES {
        return Err(TargetError::TooLong);
    }
    if raw_target.contains('#') {
        return Err(TargetError::Fragment);
    }
    let (path, query) =
        raw_target.split_once('?').map_or((raw_target, None), |(path, rest)| (path, Some(rest)));
    let path = canonical_path(path)?;
    query.map(check_query).transpose()?;
    Ok(Target { method: method.to_owned(), path, query: query.map(str::to_owned), upgrade: None })
}

/// The segments of a canonical path, decoded. The last one is empty where the path ends with `/`.
#[must_use]
pub fn segments(path: &str) -> Vec<Cow<'_, str>> {
    let inside = path.strip_prefix('/').unwrap_or(path);
    inside.split('/').map(|segment| percent_decode_str(segment).decode_utf8_lossy()).collect()
}

/// The names and values of a query, decoded as HTML forms are (`+` is a space).
#[must_use]
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn check_method(method: &str) -> Result<(), TargetError> {
    // RFC 9110 §9.1: methods are case-sensitive; every registered one is in capitals.
    let sound = method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if method.is_empty() || method.len() > METHOD_LIMIT_BYTES || method.starts_with('-') || !sound {
        return Err(TargetError::Method);
    }
    if matches!(method, "TRACE" | "TRACK" | "CONNECT") {
        return Err(TargetError::MethodRefused);
    }
    Ok(())
}

fn canonical_path(raw: &str) -> Result<String, TargetError> {
    let inside = raw.strip_prefix('/').ok_or(TargetError::NotOriginForm)?;
    let mut path = String::with_capacity(raw.len());
    let mut rest = inside.split('/').peekable();
    while let Some(raw_segment) = rest.next() {
        let segment = canonical_segment(raw_segment)?;
        if segment.is_empty() && rest.peek().is_some() {
            return Err(TargetError::EmptySegment);
        }
        refuse_dots(&segment)?;
        path.push('/');
        path.push_str(&segment);
    }
    Ok(path)
}

/// One spelling for one segment (RFC 3986 §6.2.2.1, §6.2.2.2).
fn canonical_segment(raw: &str) -> Result<String, TargetError> {
    let mut out = String::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => push_escape(&mut out, escaped(&mut bytes)?)?,
            b'\\' => return Err(TargetError::Separator),
            _ if is_path_character(byte) => out.push(char::from(byte)),
            _ => return Err(TargetError::Character),
        }
    }
    percent_decode_str(&out).decode_utf8().map_err(|_| TargetError::NotUtf8)?;
    if is_encoded_twice(&out) { Err(TargetError::DoubleEncoded) } else { Ok(out) }
}

fn escaped(bytes: &mut std::str::Bytes<'_>) -> Result<u8, TargetError> {
    let mut digit = || {
        let byte = bytes.next().ok_or(TargetError::Escape)?;
        char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(TargetError::Escape)
    };
    Ok(digit()? << 4 | digit()?)
}

fn push_escape(out: &mut String, byte: u8) -> Result<(), TargetError> {
    match byte {
        b'/' | b'\\' => return Err(TargetError::Separator),
        0..=0x1f | 0x7f => return Err(TargetError::Control),
        _ if is_unreserved(byte) => out.push(char::from(byte)),
        _ => out.push_str(&format!("%{byte:02X}")),
    }
    Ok(())
}

/// Whether a second decoding would find an escape: some servers decode twice.
fn is_encoded_twice(segment: &str) -> bool {
    segment.split("%25").skip(1).any(|rest| {
        let mut digits = rest.bytes();
        digits.next().is_some_and(|byte| byte.is_ascii_hexdigit())
            && digits.next().is_some_and(|byte| byte.is_ascii_hexdigit())
    })
}

/// `.`, `..`, and both with path parameters behind them, which some servers cut off before they resolve
/// dots; so is what is nothing but parameters, which leaves an empty segment there.
fn refuse_dots(segment: &str) -> Result<(), TargetError> {
    let decoded = percent_decode_str(segment).decode_utf8_lossy();
    match decoded.split_once(';').map_or((decoded.as_ref(), false), |(name, _)| (name, true)) {
        ("." | "..", _) => Err(TargetError::DotSegment),
        ("", true) => Err(TargetError::EmptySegment),
        _ => Ok(()),
    }
}

/// The query is data: an encoded `/` or line break is ordinary there. NUL is not, anywhere.
fn check_query(query: &str) -> Result<(), TargetError> {
    let mut bytes = query.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' if escaped(&mut bytes)? == 0 => return Err(TargetError::Control),
            b'%' => {}
            b'\\' => return Err(TargetError::Separator),
            _ if is_query_character(byte) => {}
            _ => return Err(TargetError::Character),
        }
    }
    Ok(())
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §3.3, `pchar` without its escapes.
const fn is_path_character(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

/// RFC 3986 §3.4, and the characters that the URL standard of browsers leaves bare in a query.
const fn is_query_character(byte: u8) -> bool {
    is_path_character(byte) || matches!(byte, b'/' | b'?' | b'[' | b']' | b'{' | b'}' | b'|' | b'^' | b'`')
}

#[cfg(test)]
mod tests;
