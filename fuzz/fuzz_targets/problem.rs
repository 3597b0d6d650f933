//! Refusals: whatever is named in one, it is JSON, and as plain HTTP/1.1 one answer whose head holds nothing of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_domain::problem::{Problem, ProblemKind};
use nightlatch_gateway::fuzzing::in_plain_http;

fuzz_target!(|named: (u8, Option<u64>, &str)| {
    let (kind, wait, field) = named;
    let kind = ProblemKind::ALL[usize::from(kind) % ProblemKind::ALL.len()];
    let problem = Problem::new(kind).at_field(field);
    let problem = wait.map_or(problem.clone(), |secs| problem.clone().retry_after(secs));
    let answer = in_plain_http(&problem);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("no end of the head");
    let (head, body) = answer.split_at(end + 4);
    let read: serde_json::Value = serde_json::from_slice(body).expect("no JSON");
    assert_eq!(read["field"], field);
    assert_eq!(read["status"], kind.status());
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Response::new(&mut fields);
    assert_eq!(parsed.parse(head), Ok(httparse::Status::Complete(head.len())));
    assert_eq!(parsed.code, Some(kind.status()));
    let length = parsed.headers.iter().find(|field| field.name == "content-length").expect("no length");
    assert_eq!(length.value, body.len().to_string().as_bytes());
    // The head is the same whatever is named, but for the length.
    let other = in_plain_http(&Problem { field: None, ..problem });
    let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').take_while(|line| *line != b"\r").count();
    assert_eq!(lines(head), lines(&other));
});
