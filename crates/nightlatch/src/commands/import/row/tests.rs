//! Every kind of bad line is named, none is quoted, and good ones are read whole.

use super::{Defaults, Fault, Key, Row};
use nightlatch_custody::Secret;
use nightlatch_domain::clock::Timestamp;

fn read(line: &str) -> Result<Row, Fault> {
    Row::read(&Secret::from_string(line.to_owned()), &Defaults::default())
}

fn fault(line: &str) -> Fault {
    read(line).err().unwrap_or_else(|| panic!("it was taken: {line}"))
}

#[test]
fn a_whole_line_is_read() {
    let row = read(
        r#" {"tool":"slack","client_id":"12.34","refresh_token":"xo\u0078e-1","access_token":"xoxp-2",
            "expires_at":"2026-11-29T23:10:00Z","account":"Dana <d@example.com>","tenant":"default",
            "name":"dana","host":"https://a.example"} "#,
    );
    let row = row.ok().unwrap();
    assert_eq!((row.tool.as_str(), row.client_id.as_deref()), ("slack", Some("12.34")));
    assert_eq!((row.refresh.expose(), row.access.unwrap().expose()), (&b"xoxe-1"[..], &b"xoxp-2"[..]));
    assert_eq!(row.access_until, Some(Timestamp::from_millis(1_795_993_800_000)));
    assert_eq!(
        (row.account.as_deref(), row.tenant.as_deref()),
        (Some("Dana <d@example.com>"), Some("default"))
    );
    assert_eq!((row.name.unwrap().as_str(), row.host.as_deref()), ("dana", Some("https://a.example")));
}

#[test]
fn what_is_absent_or_null_is_what_the_command_says() {
    let defaults =
        Defaults { tool: Some("slack".parse().unwrap()), client_id: Some("12.34".to_owned()), host: None };
    let line = Secret::from_string(r#"{"refresh_token":"r","name":null,"expires_at":null}"#.to_owned());
    let row = Row::read(&line, &defaults).ok().unwrap();
    assert_eq!((row.tool.as_str(), row.client_id.as_deref()), ("slack", Some("12.34")));
    assert!(row.name.is_none() && row.access.is_none() && row.access_until.is_none());
    let line = Secret::from_string(r#"{"refresh_token":"r","tool":"github","client_id":"x"}"#.to_owned());
    let row = Row::read(&line, &defaults).ok().unwrap();
    assert_eq!((row.tool.as_str(), row.client_id.as_deref()), ("github", Some("x")));
}

#[test]
fn seconds_and_milliseconds_are_told_apart() {
    let until = |at: &str| {
        let line = format!(r#"{{"tool":"t","refresh_token":"r","expires_at":{at}}}"#);
        read(&line).map(|row| row.access_until.unwrap().millis())
    };
    assert_eq!(until("1795993800"), Ok(1_795_993_800_000));
    assert_eq!(until("1795993800000"), Ok(1_795_993_800_000));
    assert_eq!(until("-1"), Err(Fault::BadTime));
    assert_eq!(until("\"tomorrow\""), Err(Fault::BadTime));
    assert_eq!(until("1.5"), Err(Fault::NotText(Key::ExpiresAt)));
}

#[test]
fn each_kind_of_bad_line_is_named() {
    let long = format!(r#"{{"tool":"t","refresh_token":"{}"}}"#, "r".repeat(16 * 1024 + 1));
    let cases: [(&str, Fault); 20] = [
        ("", Fault::NotJson { column: 0 }),
        ("{", Fault::NotJson { column: 1 }),
        (r#"{"tool":"t","refresh_token":"r"} x"#, Fault::NotJson { column: 34 }),
        (r#"{"tool":"t","refresh_token":"r"}{"#, Fault::NotJson { column: 33 }),
        (r#"{"tool":"t",'refresh_token':"r"}"#, Fault::NotJson { column: 13 }),
        ("[]", Fault::NotAnObject),
        ("\"rt-canary\"", Fault::NotAnObject),
        ("17", Fault::NotAnObject),
        ("null", Fault::NotAnObject),
        (r#"{"tool":"t","refresh_token":"r","refresh_token":"s"}"#, Fault::Twice(Key::RefreshToken)),
        (r#"{"tool":"t","refresh_token":"r","rt-canary":1}"#, Fault::UnknownKey),
        (r#"{"tool":"t"}"#, Fault::Missing(Key::RefreshToken)),
        (r#"{"refresh_token":"r"}"#, Fault::Missing(Key::Tool)),
        (r#"{"tool":"t","refresh_token":17}"#, Fault::NotText(Key::RefreshToken)),
        (r#"{"tool":"t","refresh_token":{"a":["r"]}}"#, Fault::NotText(Key::RefreshToken)),
        (r#"{"tool":"t","refresh_token":""}"#, Fault::NoToken(Key::RefreshToken)),
        (r#"{"tool":"t","refresh_token":"r r"}"#, Fault::NoToken(Key::RefreshToken)),
        (&long, Fault::NoToken(Key::RefreshToken)),
        (r#"{"tool":"Rt-Canary","refresh_token":"r"}"#, Fault::BadName(Key::Tool)),
        (r#"{"tool":"t","refresh_token":"r","account":"a\nb"}"#, Fault::BadText(Key::Account)),
    ];
    for (line, expected) in cases {
        assert_eq!(fault(line), expected, "{line}");
        assert!(!expected.to_string().to_lowercase().contains("rt-canary"), "it quotes the line");
    }
    let not_utf8 = Row::read(&Secret::new(b"{\"tool\":\"\xff\"}".to_vec()), &Defaults::default());
    assert_eq!(not_utf8.err(), Some(Fault::NotUtf8));
    let deep = format!(r#"{{"tool":{}"#, "[".repeat(20_000));
    assert!(matches!(fault(&deep), Fault::NotJson { .. }));
}

#[test]
fn no_line_breaks_the_reader_or_is_quoted() {
    const TOKEN: &str = "RtCanary0123456789";
    let whole = format!(r#"{{"tool":"t","refresh_token":"{TOKEN}","expires_at":"{TOKEN}","name":"n"}}"#);
    let mut lines: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole.as_bytes()[..end].to_vec()).collect();
    for at in 0..whole.len() {
        for byte in [0, b'"', b'{', b']', b'\\', 0xff] {
            let mut line = whole.clone().into_bytes();
            line[at] = byte;
            lines.push(line);
        }
    }
    lines.push(format!(r#"{{"{TOKEN}":1}}"#).into_bytes());
    lines.push(TOKEN.as_bytes().to_vec());
    lines.push(format!(r#"{{"tool":"{TOKEN}","refresh_token":"r"}}"#).into_bytes());
    for line in lines {
        if let Err(fault) = Row::read(&Secret::new(line), &Defaults::default()) {
            assert!(!format!("{fault} {fault:?}").contains("Canary"), "{fault}");
        }
    }
}
