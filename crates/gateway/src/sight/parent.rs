//! `traceparent` (W3C Trace Context): what a caller says that its call is a part of.
//!
//! It is an agent's word. It chooses neither the id of our trace nor whether there is one; it is only noted which
//! span of the agent's own a call belongs to. What stands in `tracestate` and `baggage` is text, and is not read.

use http::{HeaderMap, HeaderName};

const FIELD: HeaderName = HeaderName::from_static("traceparent");
/// Version, trace, span and flags, with their hyphens (§3.2.2).
const LENGTH: usize = 55;

/// A span of somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The trace that it is in.
    pub trace: [u8; 16],
    /// The span.
    pub span: [u8; 8],
}

impl Parent {
    /// The one that these fields name, if there is one and it is well written.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(FIELD).iter();
        let value = values.next()?;
        // §3.2: two of them are as good as none.
        values.next().is_none().then(|| Self::read(value.as_bytes()))?
    }

    fn read(text: &[u8]) -> Option<Self> {
        let version: [u8; 1] = hexadecimal(text.get(..2)?)?;
        // §3.2.2.1: 255 is forbidden; §3.3: a later version may have more after what this one has.
        let is_whole = match version {
            [0] => text.len() == LENGTH,
            [255] => false,
            _ => text.get(LENGTH).is_none_or(|next| *next == b'-'),
        };
        let hyphens = [2, 35, 52].iter().all(|place| text.get(*place) == Some(&b'-'));
        let (trace, span) = (hexadecimal(text.get(3..35)?)?, hexadecimal(text.get(36..52)?)?);
        let _flags: [u8; 1] = hexadecimal(text.get(53..LENGTH)?)?;
        // §3.2.2.3, §3.2.2.4: all zeros name nothing.
        let names = trace != [0; 16] && span != [0; 8];
        (is_whole && hyphens && names).then_some(Self { trace, span })
    }
}

/// Bytes from lower-case hexadecimal, which is the only form.
fn hexadecimal<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, _) = text.as_chunks::<2>();
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    (text.len() == 2 * N).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{FIELD, Parent};
    use http::{HeaderMap, HeaderValue};

    /// §3.2.4.
    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(values: &[&str]) -> Option<Parent> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FIELD, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Parent::of(&headers)
    }

    #[test]
    fn a_well_written_parent_is_read_and_so_is_one_of_a_later_version() {
        let parent = of(&[GOOD]).unwrap();
        assert_eq!(parent.trace[..3], [0x4b, 0xf9, 0x2f]);
        assert_eq!(parent.span, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        assert_eq!(of(&[&GOOD.replacen("00-", "cc-", 1)]), Some(parent));
        assert_eq!(of(&[&format!("{}-more", GOOD.replacen("00-", "01-", 1))]), Some(parent));
    }

    #[test]
    fn what_is_not_well_written_is_nobodys_span() {
        let (zero_trace, zero_span) = (
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
        );
        let upper = GOOD.replace("4bf9", "4BF9");
        let odd = [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &format!("{}x", GOOD.replacen("00-", "01-", 1)),
            &GOOD.replacen("00-", "ff-", 1),
            &zero_trace,
            &zero_span,
            &upper,
            &GOOD.replace("-01", "-0g"),
            &GOOD.replacen('-', "_", 1),
            &GOOD.replace("-00f0", "_00f0"),
            "00-nlr_92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-\u{e9}bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ];
        for text in odd {
            assert_eq!(of(&[text]), None, "{text}");
        }
        assert_eq!(of(&[GOOD, GOOD]), None);
        assert_eq!(of(&[]), None);
    }
}
