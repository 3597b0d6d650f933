//! Proves that a first head is read in one way or refused, and that a page's request never is a proxy's.

use super::{HeadFault, Own, Wanted, read};
use http::{HeaderName, Method};
use proptest::prelude::*;

fn wanted(text: &str) -> Result<Option<Wanted>, HeadFault> {
    read(text.as_bytes()).map(|head| head.map(|head| head.wanted))
}

fn tunnel(authority: &str) -> Result<Option<Wanted>, HeadFault> {
    Ok(Some(Wanted::Tunnel(authority.to_owned())))
}

#[test]
fn a_tunnel_is_asked_for_as_programs_do() {
    let curl = "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\nUser-Agent: curl/8\r\nProxy-Connection: Keep-Alive\r\n\r\n";
    assert_eq!(wanted(curl), tunnel("api.example:443"));
    // Python before 3.12.
    assert_eq!(wanted("CONNECT a.example:443 HTTP/1.0\r\n\r\n"), tunnel("a.example:443"));
    assert_eq!(wanted("CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n"), tunnel("[2001:db8::1]:443"));
}

#[test]
fn plain_http_is_left_to_the_gateway() {
    let get = "GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\nOrigin: http://b.example\r\n\r\n";
    assert_eq!(wanted(get), Ok(Some(Wanted::PlainHttp)));
    assert_eq!(
        wanted("POST HTTP://a.example/ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"),
        Ok(Some(Wanted::PlainHttp))
    );
}

#[test]
fn a_request_to_the_companion_is_told_by_its_host_and_by_nothing_like_it() {
    let head = "PUT http://NightLatch.invalid:80/v1/x HTTP/1.1\r\nhost: nightlatch.invalid\r\nPrefer: wait=1\r\nContent-Length: 7\r\n\r\n";
    let handed_on = vec![(HeaderName::from_static("prefer"), b"wait=1".to_vec())];
    let own = Own { method: Method::PUT, path: "/v1/x".into(), length: 7, handed_on };
    assert_eq!(wanted(head), Ok(Some(Wanted::Own(own))));
    for target in [
        "http://nightlatch.invalid.example/v1/x",
        "http://x.nightlatch.invalid/v1/x",
        "http://nightlatch.invalid:81/v1/x",
        "http://nightlatch.invalid@evil.example/v1/x",
        "http://evil.example@nightlatch.invalid/v1/x",
        "http://evil.example/nightlatch.invalid",
        "http://nightlatch.invalid./v1/x",
    ] {
        let head = format!("GET {target} HTTP/1.1\r\n\r\n");
        assert_eq!(wanted(&head), Ok(Some(Wanted::PlainHttp)), "{target}");
    }
}

#[test]
fn what_is_meant_for_a_server_is_refused() {
    for target in ["/", "/v1/wake", "*", "/http://a.example/"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        assert_eq!(wanted(&head), Err(HeadFault::OriginForm), "{target}");
    }
}

#[test]
fn a_tunnel_for_a_web_page_is_refused() {
    for field in ["Origin: https://evil.example", "sec-fetch-site: cross-site"] {
        let head = format!("CONNECT a.example:443 HTTP/1.1\r\n{field}\r\n\r\n");
        assert_eq!(wanted(&head), Err(HeadFault::CrossSite), "{field}");
    }
}

#[test]
fn an_authority_is_a_host_and_a_port() {
    for target in [
        "a.example",
        "a.example:",
        ":443",
        "a.example:0",
        "a.example:65536",
        "a.example:+443",
        "a.example:443/",
        "u@a.example:443",
        "a.example:443#x",
        "http://a.example:443",
        "a%2eexample:443",
        "[a.example]:443",
        "::1:443",
        "a.example:4 43",
        "a.example:443:443x",
        "https://a.example/",
    ] {
        let head = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
        assert!(wanted(&head).is_err(), "{target}");
    }
    let long = format!("CONNECT {}:443 HTTP/1.1\r\n\r\n", "a".repeat(254));
    assert!(wanted(&long).is_err());
}

#[test]
fn an_ambiguous_head_is_refused_and_never_repaired() {
    for head in [
        "CONNECT a:443 HTTP/1.1\nHost: a\n\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost : a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\n Host: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\0\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: \u{1}\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\n: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nProxy-Authorization: Basic eA==\r\nproxy-authorization: Basic eA==\r\n\r\n",
        "CONNECT  a:443 HTTP/1.1\r\n\r\n",
        "CONNECT a:443  HTTP/1.1\r\n\r\n",
        "CONNECT a:443 HTTP/1.1 \r\n\r\n",
        "CONNECT a:443 HTTP/2.0\r\n\r\n",
        "CONNECT a:443\r\n\r\n",
        "connect a:443 HTTP/1.1\r\n\r\n",
        "GET https://a.example/ HTTP/1.1\r\n\r\n",
        "GET ftp://a.example/ HTTP/1.1\r\n\r\n",
        "G\tET http://a.example/ HTTP/1.1\r\n\r\n",
        " GET http://a.example/ HTTP/1.1\r\n\r\n",
        "\r\n\r\n",
        "\x16\x03\x01\0",
        "SSH-2.0-x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        assert!(wanted(head).is_err(), "{head:?}");
    }
}

#[test]
fn a_head_without_its_end_waits() {
    let whole = "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n";
    for end in 0..whole.len() {
        assert_eq!(wanted(&whole[..end]), Ok(None), "{end}");
    }
}

#[test]
fn a_head_ends_at_its_empty_line_and_shows_its_password() {
    let head = "CONNECT a:443 HTTP/1.1\r\nProxy-Authorization:  Basic eDp5 \r\n\r\n";
    let read = read(format!("{head}\x16\x03\x01").as_bytes()).unwrap().unwrap();
    assert_eq!(read.length, head.len());
    assert_eq!(read.authorization.as_deref().map(Vec::as_slice), Some(b"Basic eDp5".as_slice()));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_fault(bytes: Vec<u8>) {
        let _ = read(&bytes);
    }

    #[test]
    fn nothing_but_a_plain_authority_comes_through(target in "[ -~]{0,40}") {
        if let Ok(Some(Wanted::Tunnel(authority))) = wanted(&format!("CONNECT {target} HTTP/1.1\r\n\r\n")) {
            prop_assert_eq!(&authority, &target);
            prop_assert!(authority.parse::<http::uri::Authority>().is_ok());
        }
    }

    #[test]
    fn what_follows_a_head_changes_nothing_of_it(rest: Vec<u8>) {
        let head = b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n";
        let read = read(&[head.as_slice(), &rest].concat()).unwrap().unwrap();
        prop_assert_eq!(read.length, head.len());
        prop_assert_eq!(read.wanted, Wanted::Tunnel("a:443".to_owned()));
    }
}
