//! A secret that is shorter than a window, in the forms that windows are found in. Mixed spellings are not among
//! them.

use crate::forms::base64;
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// The secret as base64 in each alignment (what it alone decides), hexadecimal, percent-encoded, escaped for JSON,
/// and as UTF-16.
pub(super) fn forms(secret: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut forms = Vec::new();
    for alignment in 0..3 {
        forms.extend(base64::ALPHABETS.map(|alphabet| coded(secret, alignment, alphabet)));
    }
    for (before, is_upper) in
        [("", false), ("", true), ("%", false), ("%", true), ("\\u00", false), ("\\u00", true)]
    {
        forms.push(spelled(secret, before, is_upper));
    }
    forms.push(secret.iter().flat_map(|byte| [*byte, 0]).collect::<Vec<_>>().into());
    forms.push(secret.iter().flat_map(|byte| [0, *byte]).collect::<Vec<_>>().into());
    forms
}

fn coded(secret: &[u8], alignment: usize, alphabet: &[u8; 64]) -> Zeroizing<Vec<u8>> {
    let padded = Zeroizing::new([vec![0; alignment].as_slice(), secret].concat());
    let text = base64::encode(&padded, alphabet);
    let (from, to) = ((8 * alignment).div_ceil(6), 8 * padded.len() / 6);
    text.get(from..to).unwrap_or_default().to_vec().into()
}

fn spelled(secret: &[u8], before: &str, is_upper: bool) -> Zeroizing<Vec<u8>> {
    // Room for the longest, so that nothing is left behind by a text that grows.
    let mut text = String::with_capacity(secret.len() * 6);
    for byte in secret {
        text.push_str(before);
        // A text has no way to fail.
        let _ = if is_upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
    }
    text.into_bytes().into()
}
