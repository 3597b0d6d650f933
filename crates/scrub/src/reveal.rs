//! A new secret in an answer, known by its shape.
//!
//! A tool may show or make a secret that nobody here has ever held. Nothing can be masked of what is the tool's own
//! answer, but it can be noticed: how many, never which. The list is closed and short: what vendors put in front
//! of their secrets so that they are found, JWTs, private keys, and the fields in which OAuth hands out tokens
//! (RFC 6749 §5.1, RFC 7591 §3.2.1). A secret without such a mark is not noticed.
//!
//! A shape is looked at where one of a few fixed beginnings stands, which costs about as much as a copy; whoever
//! asks bounds how much of a body is looked at.

use crate::forms::escapes::escape;
use aho_corasick::{AhoCorasick, Input, MatchKind};
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// A beginning, and what must follow it.
struct Shape {
    begins: &'static str,
    then: Then,
}

/// What follows.
#[derive(Clone, Copy)]
enum Then {
    /// At least so many letters, digits, `-` and `_`.
    Token(usize),
    /// Exactly so many capitals and digits.
    Capitals(usize),
    /// The rest of a JWT (RFC 7519 §3).
    Jwt,
    /// The rest of a line that opens a private key (RFC 7468 §10, §13).
    Pem,
    /// A text of JSON that is the field's value.
    Field,
}

const fn shape(begins: &'static str, then: Then) -> Shape {
    Shape { begins, then }
}

/// The closed list.
const SHAPES: [Shape; 33] = [
    // https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github
    shape("ghp_", Then::Token(36)),
    shape("gho_", Then::Token(36)),
    shape("ghu_", Then::Token(36)),
    shape("ghs_", Then::Token(36)),
    shape("ghr_", Then::Token(36)),
    shape("github_pat_", Then::Token(22)),
    // https://docs.gitlab.com/security/tokens/#token-prefixes
    shape("glpat-", Then::Token(20)),
    shape("gldt-", Then::Token(20)),
    shape("glrt-", Then::Token(20)),
    shape("glptt-", Then::Token(20)),
    shape("gloas-", Then::Token(20)),
    // https://docs.slack.dev/authentication/tokens
    shape("xoxb-", Then::Token(20)),
    shape("xoxp-", Then::Token(20)),
    shape("xoxa-", Then::Token(20)),
    shape("xoxe-", Then::Token(20)),
    shape("xoxe.xox", Then::Token(20)),
    shape("xapp-", Then::Token(20)),
    // OpenAI, Anthropic and others; https://docs.stripe.com/keys
    shape("sk-", Then::Token(20)),
    shape("sk_live_", Then::Token(16)),
    shape("sk_test_", Then::Token(16)),
    shape("rk_live_", Then::Token(16)),
    shape("whsec_", Then::Token(20)),
    // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
    shape("AKIA", Then::Capitals(16)),
    shape("ASIA", Then::Capitals(16)),
    // https://cloud.google.com/docs/authentication/api-keys; OAuth access tokens and client secrets of Google
    shape("AIza", Then::Token(35)),
    shape("ya29.", Then::Token(20)),
    shape("GOCSPX-", Then::Token(20)),
    shape("lin_api_", Then::Token(20)),
    shape("eyJ", Then::Jwt),
    shape("-----BEGIN ", Then::Pem),
    shape("\"access_token\"", Then::Field),
    shape("\"refresh_token\"", Then::Field),
    shape("\"client_secret\"", Then::Field),
];

/// The shortest text that holds a shape: an id of AWS.
const SHORTEST: usize = 20;
/// The longest beginning, and one byte before it.
const CONTEXT: usize = 17;
/// How long a shape is waited for that is not yet whole. A JWT of this length is one.
const SHAPE_MAX: usize = 4096;
/// The shortest part of a JWT, and its shortest signature.
const JWT_PART_MIN: usize = 10;
const JWT_SIGNATURE_MIN: usize = 16;
/// The shortest value of a field that is a secret.
const VALUE_MIN: usize = 8;

static BEGINNINGS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let begins = SHAPES.iter().map(|shape| shape.begins);
    AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(begins).ok()
});

/// Looks for new secrets in a body on its way, after it was scrubbed.
pub struct Detector {
    /// How much more is looked at.
    left: usize,
    /// What may be the beginning of a shape.
    tail: Zeroizing<Vec<u8>>,
    /// How much of the tail was looked at for beginnings already.
    looked: usize,
    found: u64,
}

impl Detector {
    /// Looks at the first so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { left: bytes_max, tail: Zeroizing::default(), looked: 0, found: 0 }
    }

    /// The next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let piece = piece.get(..self.left).unwrap_or(piece);
        if piece.is_empty() {
            return;
        }
        self.left -= piece.len();
        // Most bodies are one piece, and that needs no copy.
        if self.tail.is_empty() {
            return self.look(piece, false);
        }
        let text = Zeroizing::new([self.tail.as_slice(), piece].concat());
        self.look(&text, false);
    }

    /// The end of the body.
    pub fn finish(&mut self) {
        let text = std::mem::take(&mut self.tail);
        self.look(&text, true);
    }

    /// How many were noticed.
    #[must_use]
    pub const fn found(&self) -> u64 {
        self.found
    }

    fn look(&mut self, text: &[u8], is_over: bool) {
        let Some(beginnings) = &*BEGINNINGS else { return };
        let (mut at, mut kept) = (self.looked.min(text.len()), text.len());
        while let Some(begun) = beginnings.find(Input::new(text).range(at..)) {
            at = begun.end();
            match verdict(text, begun.start(), begun.end(), begun.pattern().as_usize()) {
                Verdict::No => {}
                Verdict::Yes => self.found += 1,
                Verdict::More if is_over || text.len() - begun.start() > SHAPE_MAX => {}
                Verdict::More => {
                    (at, kept) = (begun.start(), begun.start());
                    break;
                }
            }
        }
        let from = kept.min(text.len().saturating_sub(CONTEXT)).max(at.saturating_sub(1).min(kept));
        self.looked = at.max(from) - from;
        self.tail = text.get(from..).unwrap_or_default().to_vec().into();
    }
}

/// How many new secrets stand in one value of a head: as it stands, or with its escapes undone, since an address
/// holds percent-encoded whatever it holds (RFC 3986 §2.1).
#[must_use]
pub fn in_value(value: &[u8]) -> u64 {
    if value.len() < SHORTEST {
        return 0;
    }
    let found = count(value);
    if !value.iter().any(|byte| matches!(byte, b'%' | b'\\')) {
        return found;
    }
    found.max(count(&unescaped(value)))
}

/// Those of a text that is whole.
fn count(text: &[u8]) -> u64 {
    let Some(beginnings) = &*BEGINNINGS else { return 0 };
    let (mut at, mut found) = (0, 0);
    while let Some(begun) = beginnings.find(Input::new(text).range(at..)) {
        at = begun.end();
        let verdict = verdict(text, begun.start(), begun.end(), begun.pattern().as_usize());
        found += u64::from(matches!(verdict, Verdict::Yes));
    }
    found
}

fn unescaped(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let (mut plain, mut rest) = (Zeroizing::new(Vec::with_capacity(text.len())), text);
    while let [byte, ..] = rest {
        let (byte, len) = escape(rest).map_or((*byte, 1), |token| (token.byte, token.len));
        plain.push(byte);
        rest = rest.get(len..).unwrap_or_default();
    }
    plain
}

/// Whether a beginning is one.
enum Verdict {
    Yes,
    No,
    /// The text ends too early to tell.
    More,
}

fn verdict(text: &[u8], start: usize, end: usize, which: usize) -> Verdict {
    let Some(shape) = SHAPES.get(which) else { return Verdict::No };
    let before = start.checked_sub(1).and_then(|before| text.get(before));
    let rest = text.get(end..).unwrap_or_default();
    let is_inside = before.is_some_and(|byte| is_token(byte) || *byte == b'.');
    match shape.then {
        Then::Token(_) | Then::Capitals(_) | Then::Jwt if is_inside => Verdict::No,
        Then::Token(min) => at_least(run(rest, is_token), min, rest),
        Then::Capitals(count) => {
            let capitals = run(rest, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            if capitals > count { Verdict::No } else { at_least(capitals, count, rest) }
        }
        Then::Jwt => jwt(text.get(start..).unwrap_or_default()),
        Then::Pem => pem(rest),
        Then::Field => field(rest),
    }
}

const fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(*byte, b'-' | b'_')
}

fn run(text: &[u8], is_of: impl Fn(&u8) -> bool) -> usize {
    text.iter().take_while(|byte| is_of(byte)).count()
}

fn at_least(count: usize, min: usize, rest: &[u8]) -> Verdict {
    match count >= min {
        true => Verdict::Yes,
        false if count == rest.len() => Verdict::More,
        false => Verdict::No,
    }
}

fn jwt(text: &[u8]) -> Verdict {
    let mut rest = text;
    for _ in 0..2 {
        let part = run(rest, is_token);
        match rest.get(part..) {
            Some([]) | None => return Verdict::More,
            Some([b'.', after @ ..]) if part >= JWT_PART_MIN => rest = after,
            Some(_) => return Verdict::No,
        }
    }
    at_least(run(rest, is_token), JWT_SIGNATURE_MIN, rest)
}

fn pem(rest: &[u8]) -> Verdict {
    let label = run(rest, |byte| byte.is_ascii_uppercase() || *byte == b' ');
    match rest.get(..label) {
        Some(label) if label.ends_with(b"PRIVATE KEY") => Verdict::Yes,
        _ if label == rest.len() => Verdict::More,
        _ => Verdict::No,
    }
}

/// A reference of ours is no secret, and what was masked is none any more.
fn field(rest: &[u8]) -> Verdict {
    let is_space = |byte: &u8| byte.is_ascii_whitespace();
    let behind = |text: &[u8], wanted: u8| -> Option<usize> {
        let space = run(text, is_space);
        (text.get(space) == Some(&wanted)).then_some(space + 1)
    };
    let ends_here = |text: &[u8]| run(text, is_space) == text.len();
    let Some(colon) = behind(rest, b':') else {
        return if ends_here(rest) { Verdict::More } else { Verdict::No };
    };
    let rest = rest.get(colon..).unwrap_or_default();
    let Some(quote) = behind(rest, b'"') else {
        return if ends_here(rest) { Verdict::More } else { Verdict::No };
    };
    let value = rest.get(quote..).unwrap_or_default();
    let len = run(value, |byte| *byte != b'"');
    match value.get(..len.min(VALUE_MIN)) {
        Some(start) if start.len() == VALUE_MIN => {
            match start.starts_with(b"nlr_") || start.starts_with(b"****") {
                true => Verdict::No,
                false => Verdict::Yes,
            }
        }
        _ if len == value.len() => Verdict::More,
        _ => Verdict::No,
    }
}

#[cfg(test)]
mod tests {
    //! Each shape is noticed in any cut, once; what only looks like one is not.

    use super::{Detector, SHORTEST, in_value};
    use proptest::prelude::{any, proptest};

    fn found(pieces: &[&[u8]]) -> u64 {
        let mut detector = Detector::new(usize::MAX);
        pieces.iter().for_each(|piece| detector.push(piece));
        detector.finish();
        detector.found()
    }

    fn of(text: &str) -> u64 {
        found(&[text.as_bytes()])
    }

    /// Put together here, so that nobody who searches this file for secrets finds one.
    fn secrets() -> Vec<String> {
        let tail = "0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R";
        let mut secrets: Vec<String> = [
            "ghp_",
            "gho_",
            "ghs_",
            "github_pat_",
            "glpat-",
            "xoxb-",
            "xoxp-",
            "sk-",
            "sk-ant-",
            "sk_live_",
            "AIza",
            "ya29.",
            "GOCSPX-",
        ]
        .iter()
        .map(|begins| format!("{begins}{tail}"))
        .collect();
        secrets.push(format!("AKIA{}", "ABCDEFGH01234567"));
        secrets.push(format!("eyJ{tail}.eyJ{tail}.{tail}"));
        secrets.push(format!("-----BEGIN RSA {} KEY-----\n{tail}", "PRIVATE"));
        secrets.push("{\"access_token\" : \"abcdefgh1\"}".to_owned());
        secrets.push("{\"refresh_token\":\"abcdefgh1\"}".to_owned());
        secrets.push("{\"client_secret\":\n\"abcdefgh1\"}".to_owned());
        secrets
    }

    #[test]
    fn each_shape_is_noticed_once() {
        for secret in secrets() {
            for text in [secret.clone(), format!("a {secret} b"), format!("{{\"key\":\"{secret}\"}}")] {
                assert_eq!(of(&text), 1, "{text}");
            }
        }
        assert_eq!(of(&secrets().join(" ")), secrets().len() as u64);
    }

    #[test]
    fn what_only_looks_like_one_is_not_noticed() {
        for text in [
            "ghp_short",
            "task-0123456789012345678901234567890",
            "risk_live_0123456789abcdef0123",
            "AKIAABCDEFGH012345678",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0In0.",
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----",
            "{\"access_token\":\"nlr_0123456789\"}",
            "{\"access_token\":\"**************\"}",
            "{\"access_token\":null,\"expires_in\":3600}",
            "{\"access_token_url\":\"https://x.example/\"}",
        ] {
            assert_eq!(of(text), 0, "{text}");
        }
    }

    #[test]
    fn a_value_shows_what_it_holds_plain_or_escaped() {
        let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        for secret in secrets() {
            let delimited =
                secret.replace('_', "%5f").replace('"', "%22").replace(' ', "%20").replace(':', "%3A");
            let forms = [secret.clone(), percent(&secret), delimited, secret.replace('_', "\\u005f")];
            for form in forms {
                // What stands before it is a delimiter only once it is decoded.
                for text in
                    [form.clone(), format!("https://x.example/?key={form}&x=1"), format!("/?a=b%26{form}")]
                {
                    assert_eq!(in_value(text.as_bytes()), 1, "{text}");
                }
            }
            assert!(secret.len() >= SHORTEST);
        }
        let both = format!("/?a={}&b={}", secrets()[0], percent(&secrets()[1]));
        assert_eq!(in_value(both.as_bytes()), 2);
        let shortest = format!("AKIA{}", "ABCDEFGH01234567");
        assert_eq!((shortest.len(), in_value(shortest.as_bytes())), (SHORTEST, 1));
        for none in ["", "ghp%5Fshort", "/?q=task%2D01234567890123456789", "https://x.example/%zz%", "100%"] {
            assert_eq!(in_value(none.as_bytes()), 0, "{none}");
        }
    }

    #[test]
    fn only_so_much_is_looked_at() {
        let secret = &secrets()[0];
        for (most, times) in [(secret.len() + 2, 1), (secret.len() - 1, 0)] {
            let mut detector = Detector::new(most);
            detector.push(format!("{secret} {secret}").as_bytes());
            detector.finish();
            assert_eq!(detector.found(), times);
        }
    }

    proptest! {
        #[test]
        fn every_cut_finds_the_same(
            order in proptest::collection::vec(0usize..19, 0..5), between in "[ ,a-z_\"-]{0,20}", cuts in proptest::collection::vec(any::<usize>(), 0..9),
        ) {
            let secrets = secrets();
            let text: String = order.iter().map(|which| format!("{between} {} {between}", secrets[*which])).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            assert_eq!(found(&pieces), of(&text));
        }
    }
}
