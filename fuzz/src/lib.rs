//! A second reading of HTTP/1.1, by httparse, that the strict reader's is held against.

use nightlatch_gateway::fuzzing::{Framed, framed};

/// As many fields as the reader lets pass.
const FIELDS_MAX: usize = 128;

/// Fails where the pieces in which bytes come change what passes, or where what passes is read in another way by httparse.
pub fn agree(bytes: &[u8], piece: usize) {
    let whole = framed([bytes]);
    assert_eq!(framed(bytes.chunks(piece.max(1))), whole, "pieces of {piece}");
    let Framed { passed, is_asked, .. } = whole;
    let mut rest = bytes.get(..passed).expect("more passed than came");
    while !rest.is_empty() {
        rest = one(rest, is_asked);
    }
}

/// Reads one request off the front, as much of it as there is; gives what is behind it.
fn one(bytes: &[u8], is_asked: bool) -> &[u8] {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(head)) = request.parse(bytes) else { panic!("no whole head passed") };
    let rest = &bytes[head..];
    let is_there = |name: &str| request.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name));
    let value = |name: &str| {
        let mut named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        let value =
            named.next().map(|field| std::str::from_utf8(field.value).expect("a value that frames is text"));
        assert!(named.next().is_none(), "two of {name}");
        value
    };
    assert!(value("host").is_some() || request.version == Some(0), "no host");
    let (length, coding) = (value("content-length"), value("transfer-encoding"));
    assert!(length.is_none() || coding.is_none(), "a length beside a coding");
    if request.method == Some("CONNECT") || is_there("upgrade") {
        assert!(rest.is_empty() && is_asked, "something passed behind a request for another protocol");
        return rest;
    }
    match (length, coding) {
        (Some(length), _) => {
            &rest[length.parse::<usize>().map_or(rest.len(), |length| length.min(rest.len()))..]
        }
        (_, Some(coding)) => {
            assert!(coding.eq_ignore_ascii_case("chunked") && request.version == Some(1), "another coding");
            chunks(rest)
        }
        _ => rest,
    }
}

/// Reads chunks off the front, as many as there are.
fn chunks(mut rest: &[u8]) -> &[u8] {
    loop {
        match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((head, size))) => {
                rest = &rest[head..];
                // What is missing has not come, or was at fault: then nothing is behind it.
                let Some(behind) = usize::try_from(size).ok().and_then(|size| rest.get(size..)) else {
                    return &[];
                };
                if behind.len() < 2 {
                    return &[];
                }
                assert!(behind.starts_with(b"\r\n"), "a chunk that does not end");
                rest = &behind[2..];
                if size == 0 {
                    return rest;
                }
            }
            Ok(httparse::Status::Partial) => return &[],
            Err(_) => panic!("no size passed"),
        }
    }
}
