//! Field lines: each is sound by itself, and those that frame the message are read here and nowhere else.

use super::fault::Fault;

/// The longest length, in digits: every number of so many fits 64 bits, with room above it.
const LENGTH_MAX_DIGITS: usize = 18;

/// What the fields that frame a message have said.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) has_host: bool,
    pub(super) length: Option<u64>,
    pub(super) is_chunked: bool,
    pub(super) has_upgrade: bool,
}

impl Fields {
    pub(super) const fn new() -> Self {
        Self { has_host: false, length: None, is_chunked: false, has_upgrade: false }
    }

    /// Judges a line without its end.
    pub(super) fn note(&mut self, line: &[u8]) -> Result<(), Fault> {
        let colon = line.iter().position(|byte| !is_token_byte(*byte)).ok_or(Fault::FieldName)?;
        let (name, rest) = line.split_at_checked(colon).ok_or(Fault::FieldName)?;
        let value = match rest.split_first() {
            Some((b':', value)) if !name.is_empty() => value,
            _ => return Err(of_name(line, rest)),
        };
        if !is_value(value) {
            return Err(if value.contains(&b'\r') { Fault::LineEnd } else { Fault::FieldValue });
        }
        // By length first: nearly every name ends here.
        match name.len() {
            4 if is(name, b"host")? => self.host(value),
            7 if is(name, b"upgrade")? => {
                self.has_upgrade = true;
                Ok(())
            }
            14 if is(name, b"content-length")? => self.length(value),
            17 if is(name, b"transfer-encoding")? => self.coding(value),
            _ => Ok(()),
        }
    }

    /// RFC 9112 §3.2: more than one, or an invalid one, is refused. Which hosts there are is the doors' affair.
    fn host(&mut self, value: &[u8]) -> Result<(), Fault> {
        let value = bare(value).ok_or(Fault::Host)?;
        let is_sound = !value.is_empty() && value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',');
        if self.has_host || !is_sound {
            return Err(Fault::Host);
        }
        self.has_host = true;
        Ok(())
    }

    /// RFC 9110 §8.6: `1*DIGIT`. A second one is refused even where it is equal, and so is a list of one number.
    fn length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let digits = bare(value).ok_or(Fault::ContentLength)?;
        let is_plain = matches!(digits, [b'0'] | [b'1'..=b'9', ..])
            && digits.len() <= LENGTH_MAX_DIGITS
            && digits.iter().all(u8::is_ascii_digit);
        if self.length.is_some() || !is_plain {
            return Err(Fault::ContentLength);
        }
        self.length = Some(digits.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    /// RFC 9112 §6.1: what is coded otherwise than by chunks, or twice, is not read here.
    fn coding(&mut self, value: &[u8]) -> Result<(), Fault> {
        let is_plain = bare(value).is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        if self.is_chunked || !is_plain {
            return Err(Fault::TransferEncoding);
        }
        self.is_chunked = true;
        Ok(())
    }
}

/// A value that frames the message, without the one space that may stand before it. RFC 9110 §5.5 allows more
/// white space, and what is hidden behind it is read by some and not by others.
fn bare(value: &[u8]) -> Option<&[u8]> {
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    (!is_blank(value.first()) && !is_blank(value.last())).then_some(value)
}

/// Whether a name of the same length is this one, which is in small letters. A twin that programs behind a CGI
/// would take for it (`Content_Length`) is a fault.
fn is(name: &[u8], known: &[u8]) -> Result<bool, Fault> {
    if name.eq_ignore_ascii_case(known) {
        return Ok(true);
    }
    let fold = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    if name.iter().map(fold).eq(known.iter().copied()) { Err(Fault::FieldName) } else { Ok(false) }
}

/// What is wrong with a line whose name does not end at a colon.
fn of_name(line: &[u8], rest: &[u8]) -> Fault {
    match (line.first(), rest.first()) {
        (Some(b' ' | b'\t'), _) => Fault::Folded,
        (_, Some(b'\r')) => Fault::LineEnd,
        _ => Fault::FieldName,
    }
}

/// RFC 9110 §5.5: visible characters, spaces, tabs, and bytes of no stated meaning above ASCII. Written without
/// a branch, so that many bytes are looked at at once.
fn is_value(value: &[u8]) -> bool {
    value.iter().fold(true, |sound, byte| sound & ((*byte >= 0x20) | (*byte == b'\t')) & (*byte != 0x7f))
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or_default()
}

/// RFC 9110 §5.6.2, `tchar`.
static TOKEN: [bool; 256] = super::target::table(b"!#$%&'*+-.^_`|~");
