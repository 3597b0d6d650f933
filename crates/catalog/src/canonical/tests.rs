//! Proves that a target has one reading: what has two is refused, and what is accepted has one spelling.

use super::{TARGET_LIMIT_BYTES, TargetError, query_pairs, segments, target};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

fn refused(raw: &str) -> TargetError {
    target("GET", raw).expect_err(raw)
}

fn path(raw: &str) -> String {
    target("GET", raw).expect(raw).path
}

#[test]
fn dot_segments_are_refused_in_every_spelling() {
    for raw in [
        "/.",
        "/..",
        "/a/..",
        "/a/../b",
        "/a/./b",
        "/%2e%2e/b",
        "/%2E./b",
        "/.%2e",
        "/a/%2e",
        "/..?x=1",
        "/a/..;/b",
        "/..;x=y/b",
        "/.;/b",
        "/%2e%2e%3b/b",
        "/..%3Bx/b",
    ] {
        assert_eq!(refused(raw), TargetError::DotSegment, "{raw}");
    }
    assert_eq!(path("/a/..b/c..d/..."), "/a/..b/c..d/...");
}

#[test]
fn encoded_separators_and_backslashes_are_refused() {
    for raw in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", "/a\\b", "/..%2fb", "/?a=\\b"] {
        assert_eq!(refused(raw), TargetError::Separator, "{raw}");
    }
}

#[test]
fn empty_segments_inside_are_refused() {
    for raw in ["//", "//evil.example/x", "/a//b", "/a//", "/a/;/b", "/a/;x=1/b", "/a/%3b/b"] {
        assert_eq!(refused(raw), TargetError::EmptySegment, "{raw}");
    }
    assert_eq!(path("/a/"), "/a/");
}

#[test]
fn control_characters_are_refused_encoded_and_raw() {
    for byte in (0..=0x1f_u8).chain([0x7f]) {
        assert_eq!(refused(&format!("/a%{byte:02x}")), TargetError::Control);
        assert_eq!(refused(&format!("/a{}", char::from(byte))), TargetError::Character);
    }
    assert_eq!(refused("/a?b=%00"), TargetError::Control);
    assert_eq!(refused("/a?b=\n"), TargetError::Character);
}

#[test]
fn raw_bytes_beyond_ascii_and_undecodable_ones_are_refused() {
    assert_eq!(refused("/ä"), TargetError::Character);
    assert_eq!(refused("/a?b=ä"), TargetError::Character);
    assert_eq!(refused("/%ff"), TargetError::NotUtf8);
    // The overlong form of `/`, which careless decoders take for one.
    assert_eq!(refused("/%c0%af"), TargetError::NotUtf8);
    assert_eq!(path("/%c3%a4"), "/%C3%A4");
}

#[test]
fn an_escape_of_an_escape_is_refused() {
    for raw in ["/%252e%252e/b", "/a%252fb", "/a%255cb", "/%25%32%65"] {
        assert_eq!(refused(raw), TargetError::DoubleEncoded, "{raw}");
    }
    assert_eq!(path("/100%25"), "/100%25");
}

#[test]
fn malformed_escapes_are_refused() {
    for raw in ["/%", "/%2", "/%zz", "/a%+1", "/?a=%", "/?a=%g0"] {
        assert_eq!(refused(raw), TargetError::Escape, "{raw}");
    }
}

#[test]
fn only_the_origin_form_is_a_target() {
    for raw in ["", "a", "*", "http://example.com/", "example.com:443", "?a=1"] {
        assert_eq!(refused(raw), TargetError::NotOriginForm, "{raw}");
    }
    assert_eq!(refused("/a#b"), TargetError::Fragment);
    assert_eq!(refused("/a?b#c"), TargetError::Fragment);
}

#[test]
fn an_overlong_target_is_refused() {
    assert_eq!(refused(&format!("/{}", "a".repeat(TARGET_LIMIT_BYTES))), TargetError::TooLong);
    assert!(target("GET", &format!("/{}", "a".repeat(TARGET_LIMIT_BYTES - 1))).is_ok());
}

#[test]
fn a_method_is_one_word_of_capitals_and_never_an_echo_or_a_tunnel() {
    for method in ["GET", "HEAD", "POST", "PATCH", "M-SEARCH", "PROPFIND"] {
        assert!(target(method, "/").is_ok(), "{method}");
    }
    for method in ["", "get", "Get", "GET ", "G\tT", "-GET", "GÉT", "GET/1", &"A".repeat(33)] {
        assert_eq!(target(method, "/"), Err(TargetError::Method), "{method}");
    }
    for method in ["TRACE", "TRACK", "CONNECT"] {
        assert_eq!(target(method, "/"), Err(TargetError::MethodRefused), "{method}");
    }
}

#[test]
fn two_spellings_of_one_path_become_one() {
    assert_eq!(path("/%7eacme/%72epo"), "/~acme/repo");
    assert_eq!(path("/a%3ab"), "/a%3Ab");
    assert_eq!(path("/a%3Ab"), "/a%3Ab");
}

#[test]
fn the_query_is_kept_byte_for_byte() {
    let kept = target("GET", "/a?b=%2fc+d&%65=f[]&g=%0a").unwrap();
    assert_eq!(kept.query.as_deref(), Some("b=%2fc+d&%65=f[]&g=%0a"));
    assert_eq!(target("GET", "/a?").unwrap().query.as_deref(), Some(""));
    assert_eq!(target("GET", "/a").unwrap().query, None);
    assert_eq!(query_pairs("a=b+c&%64=e"), [("a".into(), "b c".into()), ("d".into(), "e".into())]);
}

#[test]
fn segments_are_decoded() {
    assert_eq!(segments("/a%3Ab/c"), ["a:b", "c"]);
    assert_eq!(segments("/a/"), ["a", ""]);
    assert_eq!(segments("/"), [""]);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(method in ".{0,12}", raw in ".{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = target(&method, &raw);
        let _ = target("GET", &format!("/{}", String::from_utf8_lossy(&bytes)));
    }

    #[test]
    fn what_is_accepted_is_a_fixed_point(raw in "/[a-zA-Z0-9%./;:@~_+=?&-]{0,40}") {
        if let Ok(first) = target("GET", &raw) {
            let sent = first.query.as_ref().map_or(first.path.clone(), |query| format!("{}?{query}", first.path));
            prop_assert_eq!(target("GET", &sent), Ok(first));
        }
    }

    #[test]
    fn what_is_accepted_has_no_second_reading(raw in "/(\\.|%2e|%2E|%2f|%5c|/|a|;|%3b|%25|%252e|%61){0,8}") {
        if let Ok(read) = target("GET", &raw) {
            // A server that decodes first and resolves dots then sees the same segments.
            let decoded = percent_encoding::percent_decode_str(&read.path).decode_utf8().unwrap().into_owned();
            prop_assert_eq!(decoded.split('/').count(), read.path.split('/').count());
            let names = decoded.split('/').map(|part| part.split(';').next().unwrap_or_default());
            prop_assert!(names.clone().all(|name| name != "." && name != ".."));
            prop_assert!(!decoded.contains('\\') && !decoded.contains("//"));
        }
    }

    #[test]
    fn encoding_what_needs_none_changes_nothing(name in "[a-zA-Z0-9_~-]{1,12}", upper in any::<bool>()) {
        let escape = |byte: u8| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
        let encoded: String = name.bytes().map(escape).collect();
        prop_assert_eq!(path(&format!("/{encoded}")), format!("/{name}"));
    }
}
