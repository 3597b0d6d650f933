//! Request targets, by the form that the method asks for (RFC 9112 §3.2), and by the bytes that each form has.
//!
//! What a path means is the catalogue's one parse to say; here it is only made sure that what follows reads the
//! very bytes that came. The `http` crate cuts off a fragment and lets bytes above ASCII pass: neither comes that far.

use super::fault::Fault;

/// Refuses what is none of the three forms. `*` is a form of OPTIONS alone (§3.2.4) and asks about no path.
pub(super) fn check(target: &[u8], is_connect: bool) -> Result<(), Fault> {
    let is_sound = match target.first() {
        // §3.2.3: authority-form is for CONNECT, and CONNECT for nothing else.
        _ if is_connect => is_authority(target),
        Some(b'/') => is_path_and_query(target),
        _ => is_absolute(target),
    };
    match is_sound {
        true => Ok(()),
        false if target.contains(&b'\r') => Err(Fault::LineEnd),
        false => Err(Fault::Target),
    }
}

/// RFC 9112 §3.2.2, with the two schemes that are spoken here.
fn is_absolute(target: &[u8]) -> bool {
    let after = |scheme: &[u8]| {
        let (before, rest) = target.split_at_checked(scheme.len())?;
        before.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let Some(rest) = after(b"http://").or_else(|| after(b"https://")) else { return false };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let Some((authority, rest)) = rest.split_at_checked(end) else { return false };
    is_authority(authority) && (rest.is_empty() || (rest.first() == Some(&b'/') && is_path_and_query(rest)))
}

/// RFC 3986 §3.2 without user information, which RFC 9110 §4.2.4 keeps out of here: a host, and perhaps digits
/// behind a colon. Whether it is a host that there is, the doors ask.
fn is_authority(bytes: &[u8]) -> bool {
    let (host, port) = match bytes.iter().rposition(|byte| matches!(byte, b':' | b']')) {
        Some(at) if bytes.get(at) == Some(&b':') => (bytes.get(..at), bytes.get(at + 1..)),
        _ => (Some(bytes), None),
    };
    let (host, port) = (host.unwrap_or_default(), port.unwrap_or(b"0"));
    let is_host = match host {
        [b'[', inside @ .., b']'] => {
            !inside.is_empty()
                && inside.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }
        _ => {
            let is_name =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
            !host.is_empty() && host.iter().all(is_name)
        }
    };
    is_host && !port.is_empty() && port.iter().all(u8::is_ascii_digit)
}

fn is_path_and_query(bytes: &[u8]) -> bool {
    let in_path = |byte: &u8| PATH.get(usize::from(*byte)).copied().unwrap_or_default();
    let in_query = |byte: &u8| QUERY.get(usize::from(*byte)).copied().unwrap_or_default();
    match bytes.iter().position(|byte| !in_path(byte)) {
        None => true,
        Some(at) => bytes.get(at..).is_some_and(|rest| rest.starts_with(b"?") && rest.iter().all(in_query)),
    }
}

/// RFC 3986 §3.3: the characters of a path. Those that browsers leave bare in a query stand there only.
static PATH: [bool; 256] = table(b"/%-._~!$&'()*+,;=:@");
static QUERY: [bool; 256] = table(b"/%-._~!$&'()*+,;=:@?[]{}|^`");

/// Letters, digits, and these.
pub(super) const fn table(more: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, within bounds that it checks")]
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut place = 0;
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, within bounds that it checks")]
    while place < more.len() {
        table[more[place] as usize] = true;
        place += 1;
    }
    table
}
