//! Proves of the reader, over heads and bodies that are nearly right: that the pieces it comes in change nothing, that
//! what it lets pass a second reader takes for the same one request, and that it never fails but by saying so.

use super::{Bounds, Fault, Gate, Reader, Strict};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestCaseError};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

const BOUNDS: Bounds = Bounds { head_max_bytes: 512, fields_max: 6 };

/// What came of a stream: the bytes that passed, and what stopped it.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    passed: Vec<u8>,
    fault: Option<Fault>,
    is_asked: bool,
}

/// Reads these pieces as a stream does: what did not pass is given again.
fn read(pieces: &[&[u8]]) -> Came {
    let (mut reader, mut waiting, mut passed) = (Reader::new(BOUNDS), Vec::new(), Vec::new());
    for piece in pieces {
        waiting.extend_from_slice(piece);
        let count = reader.read(&waiting);
        passed.extend(waiting.drain(..count));
    }
    Came { passed, fault: reader.fault(), is_asked: reader.is_asked() }
}

/// Cuts bytes at these places, each taken from what is left.
fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for cut in cuts {
        let (piece, behind) = rest.split_at(cut % (rest.len() + 1));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

fn any_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(texts).prop_map(str::to_owned)
}

/// Mostly a line's end.
fn line_end() -> impl Strategy<Value = String> {
    prop_oneof![40 => Just("\r\n".to_owned()), 1 => any_of(&["\n", "\r", "\r\r\n", "\n\n", " \r\n", ""])]
}

fn request_line() -> impl Strategy<Value = String> {
    let method = prop_oneof![12 => any_of(&["GET", "POST", "M-SEARCH"]), 1 => any_of(&["CONNECT", "G(T", "", "g\u{e9}t"])];
    let target = prop_oneof![
        12 => any_of(&["/", "/a/b?c=d", "/%7e;x", "http://a.test/x", "HTTPS://[::1]:8/", "/a?[]{}|^`"]),
        2 => any_of(&["a.test:443", "*", "/a#b", "/\u{e9}", "/a b", "http://u@a.test/", "/`", "//x", "http://a:b:c/", "/\"", "", "http:///x", "/a\\b", "[::1]:8"]),
    ];
    let version = prop_oneof![12 => any_of(&["HTTP/1.1", "HTTP/1.0"]), 1 => any_of(&["HTTP/1.2", "http/1.1", "HTTP/1.1 ", "HTTP/11"])];
    let space = || prop_oneof![30 => Just(" ".to_owned()), 1 => any_of(&["  ", "\t", ""])];
    (method, space(), target, space(), version).prop_map(|(a, b, c, d, e)| [a, b, c, d, e].concat())
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => any_of(&["Host: a.test", "X-A: b", "accept:*/*", "X-B:", "X-C:  d\te  ", "X-D: \u{e9}"]),
        6 => any_of(&["Content-Length: 3", "Content-Length: 0", "Transfer-Encoding: chunked", "transfer-encoding:Chunked"]),
        2 => any_of(&[
            "Content-Length: 03", "Content-Length:\t3", "Content-Length: 3,3", "Content_Length: 3", "Transfer-Encoding: x",
            "Transfer-Encoding: chunked ", "Host: a b", "Host:", "X-A : b", " X-A: b", "\tb", ": b", "X-A", "X-A: b\0", "X-A: b\u{b}",
            "X-A: b\rc", "X(: b", "Upgrade: websocket", "Connection: close",
        ]),
    ]
}

fn head() -> impl Strategy<Value = String> {
    let lines = vec((field(), line_end()), 0..8);
    (request_line(), line_end(), lines, line_end()).prop_map(|(line, end, lines, last)| {
        let lines: String = lines.into_iter().map(|(field, end)| field + &end).collect();
        format!("{line}{end}{lines}{last}")
    })
}

fn body() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any_of(&["", "abc", "3\r\nabc\r\n0\r\n\r\n", "1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\n"]),
        1 => any_of(&[
            "3;x\r\nabc\r\n0\r\n\r\n", "03\r\nabc\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "0\r\nX: y\r\n\r\n",
            "ffffffffffffffff\r\n", "fffffffffffffff\r\na", "\r\n", "3\r\nabc\n0\r\n\r\n", "0\r\n\n",
        ]),
    ]
}

/// ISO 8859-1, so that every byte can be written.
fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|byte| u8::try_from(u32::from(byte)).unwrap()).collect()
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    vec((head(), body()), 1..4).prop_map(|requests| {
        bytes_of(&requests.into_iter().map(|(head, body)| head + &body).collect::<String>())
    })
}

/// Whether httparse, and what hyper makes of its words, takes these bytes for one whole head; gives its framing.
fn second_reading(head: &[u8]) -> Result<(Option<u64>, bool), TestCaseError> {
    let mut fields = [httparse::EMPTY_HEADER; 8];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(head).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(parsed, httparse::Status::Complete(head.len()));
    prop_assert!(Method::from_bytes(request.method.unwrap().as_bytes()).is_ok());
    let target = request.path.unwrap();
    let uri: Uri = target.parse().map_err(|_| TestCaseError::fail(format!("no target: {target}")))?;
    // Nothing is cut off.
    prop_assert!(uri.to_string().len() + 1 >= target.len(), "{} of {}", uri, target);
    let (mut length, mut is_chunked) = (None, false);
    for field in request.headers.iter() {
        prop_assert!(HeaderName::from_bytes(field.name.as_bytes()).is_ok());
        prop_assert!(HeaderValue::from_bytes(field.value).is_ok());
        if field.name.eq_ignore_ascii_case("content-length") {
            prop_assert_eq!(length, None);
            length = Some(std::str::from_utf8(field.value).unwrap().parse().unwrap());
        }
        is_chunked |= field.name.eq_ignore_ascii_case("transfer-encoding");
    }
    prop_assert!(!(is_chunked && length.is_some()));
    Ok((length, is_chunked))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_verdict_and_the_same_bytes(bytes in stream(), cuts in vec(0_usize..64, 0..12)) {
        let whole = read(&[&bytes]);
        prop_assert_eq!(read(&pieces(&bytes, &cuts)), whole);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(read(&single), read(&[&bytes]));
        // Whatever passes is what came, from its beginning.
        prop_assert!(bytes.starts_with(&read(&[&bytes]).passed));
    }

    #[test]
    fn what_passes_a_second_reader_takes_for_the_same_request(head in head()) {
        let head = bytes_of(&head);
        let came = read(&[&head]);
        if came.passed.is_empty() {
            return Ok(());
        }
        // A second head may have begun where an empty line stands inside of what was drawn.
        let (length, is_chunked) = second_reading(&came.passed)?;
        let mut reader = Reader::new(BOUNDS);
        prop_assert_eq!(reader.read(&came.passed), came.passed.len());
        if let Some(length) = length.filter(|length| *length > 0) {
            let length = usize::try_from(length).unwrap();
            // So many bytes pass, whatever they are, and then a head begins.
            prop_assert_eq!(reader.read(&vec![b'\n'; length]), length);
            prop_assert_eq!((reader.read(b"\n"), reader.fault()), (0, Some(Fault::LineEnd)));
        } else if is_chunked {
            prop_assert_eq!(reader.read(b"1\r\n\n\r\n0\r\n\r\n"), 11);
            prop_assert_eq!((reader.read(b"\n"), reader.fault()), (0, Some(Fault::LineEnd)));
        }
    }

    #[test]
    fn any_bytes_are_read_without_failing(bytes in vec(any::<u8>(), 0..2048), cuts in vec(0_usize..256, 0..8)) {
        prop_assert_eq!(read(&pieces(&bytes, &cuts)), read(&[&bytes]));
    }

    #[test]
    fn the_stream_gives_what_the_reader_lets_pass(bytes in stream(), cuts in vec(0_usize..64, 0..6), room in 1_usize..40) {
        let expected = read(&[&bytes]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (given, ended) = runtime.block_on(tokio::task::unconstrained(given(&pieces(&bytes, &cuts), room)));
        match expected.fault {
            // What stands for the fault comes last.
            Some(fault) if !fault.is_of_body() => {
                prop_assert_eq!(given.strip_suffix(b"REFUSED * HTTP/1.1\r\n\r\n"), Some(&expected.passed[..]));
                prop_assert!(ended.is_none());
            }
            Some(_) => prop_assert_eq!((given, ended), (expected.passed, Some(false))),
            None => prop_assert_eq!((given, ended), (expected.passed, Some(true))),
        }
    }
}

/// Reads all that comes, with so much room at a time; whether it ended well, if it ended.
async fn given(pieces: &[&[u8]], room: usize) -> (Vec<u8>, Option<bool>) {
    let (mut writer, stream) = duplex(1 << 16);
    for piece in pieces {
        writer.write_all(piece).await.unwrap();
    }
    writer.shutdown().await.unwrap();
    let mut strict = Strict::new(stream, BOUNDS, Arc::default());
    let (mut all, mut buffer) = (Vec::new(), vec![0; room]);
    loop {
        let read = std::pin::pin!(strict.read(&mut buffer));
        match at_once(read).await {
            Some(Ok(0)) => return (all, Some(true)),
            Some(Ok(count)) => all.extend_from_slice(&buffer[..count]),
            Some(Err(_)) => return (all, Some(false)),
            None => return (all, None),
        }
    }
}

/// What a future comes to at once.
async fn at_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn a_chunk_is_a_plain_size_and_so_many_bytes_and_nothing_stands_behind_the_last() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let said = |body: &str| {
        let came = read(&[head.as_bytes(), body.as_bytes()]);
        (came.passed.len() - head.len(), came.fault)
    };
    assert_eq!(said("3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"), (28, None));
    for (body, passed, fault) in [
        ("3;a\r\n", 1, Fault::Chunk),
        ("3 \r\n", 1, Fault::Chunk),
        ("03\r\n", 1, Fault::Chunk),
        ("00\r\n", 1, Fault::Chunk),
        ("\r\n", 0, Fault::Chunk),
        ("3\n", 1, Fault::Chunk),
        ("3\r\r\n", 2, Fault::Chunk),
        ("1\r\naa", 4, Fault::Chunk),
        ("1\r\na\n", 4, Fault::Chunk),
        ("1234567890abcdef\r\n", 15, Fault::Chunk),
        ("0\r\n\n", 3, Fault::Chunk),
        ("0\r\n\r\r", 4, Fault::Chunk),
        ("0\r\nX-Sum: 1\r\n\r\n", 3, Fault::Trailers),
    ] {
        assert_eq!(said(body), (passed, Some(fault)), "{body:?}");
    }
}

#[test]
fn what_stands_for_a_fault_comes_through_from_nobody() {
    for stand_in in ["REFUSED * HTTP/1.1\r\n\r\n", "REFUSED * HTTP/1.1\r\nHost: a.test\r\n\r\n"] {
        assert_eq!(read(&[stand_in.as_bytes()]).fault, Some(Fault::Target));
    }
    let (gate, asked) = (Gate::default(), |uri: &str| Request::builder().uri(uri).body(()).unwrap());
    // Before any fault there is nothing that a request could stand for.
    assert_eq!(gate.fault_of(&asked("*")), None);
    gate.fault.set(Fault::Host).unwrap();
    assert_eq!((gate.fault_of(&asked("*")), gate.fault_of(&asked("/*"))), (Some(Fault::Host), None));
}

#[tokio::test]
async fn behind_a_request_for_another_protocol_nothing_passes_before_the_answer_and_everything_after_it() {
    for (head, status) in [
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", 200),
        ("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 101),
    ] {
        let (mut writer, stream) = duplex(1024);
        let gate = Arc::new(Gate::default());
        let mut strict = Strict::new(stream, BOUNDS, Arc::clone(&gate));
        writer.write_all(format!("{head}\n\0anything").as_bytes()).await.unwrap();
        let mut buffer = [0; 1024];
        assert_eq!(strict.read(&mut buffer).await.unwrap(), head.len());
        assert!(at_once(std::pin::pin!(strict.read(&mut buffer))).await.is_none(), "{head}");
        // Answers of other requests open nothing.
        let method: Method = head.split(' ').next().unwrap().parse().unwrap();
        let answer =
            |status: u16| Response::builder().status(StatusCode::from_u16(status).unwrap()).body(()).unwrap();
        gate.answered(&Method::GET, &answer(200));
        gate.answered(&method, &answer(403));
        assert!(at_once(std::pin::pin!(strict.read(&mut buffer))).await.is_none(), "{head}");
        gate.answered(&method, &answer(status));
        let count = strict.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..count], b"\n\0anything");
        writer.write_all(b"\r\0more").await.unwrap();
        let count = strict.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..count], b"\r\0more");
    }
}

#[tokio::test]
async fn what_waits_for_an_answer_is_bounded() {
    let (mut writer, stream) = duplex(1 << 20);
    let mut strict = Strict::new(stream, BOUNDS, Arc::default());
    let head = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n";
    writer.write_all(&[head.as_bytes(), &[b'x'; 100_000]].concat()).await.unwrap();
    let mut buffer = vec![0; 256];
    let mut given = 0;
    while let Some(count) = at_once(std::pin::pin!(strict.read(&mut buffer))).await {
        given += count.unwrap();
    }
    assert_eq!(given, head.len());
    assert!(strict.held.len() <= BOUNDS.head_max_bytes + buffer.len(), "{}", strict.held.len());
}
