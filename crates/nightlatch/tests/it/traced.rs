//! Calls are told to the operator's collector as spans: by the design's words, without a reference, a secret or a word
//! of an agent's in any byte; and no call waits for it.

use crate::world::{
    collector::{Collector, Manner},
    connect::Granted,
    eventually,
    install::Install,
    ports::free_port,
    recorder::Recorder,
};
use http::Method;
use opentelemetry_proto::tonic::{common::v1::any_value::Value, trace::v1::Span};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

const KEY: &str = "canary-traced-8e1f40b7a95c2d63";
const COLLECTORS_KEY: &str = "canary-collector-27d90c4e6b8a1f35";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const SOON: Duration = Duration::from_secs(20);

/// An installation with a tool, and an agent that may read one owner's things.
async fn granted(recorder: &Recorder, config: &str) -> (Install, Granted) {
    let install = Install::started(&format!("{}\n{config}", recorder.config())).await;
    install.write("tool.toml", &recorder.manifest("traced"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "traced", "--key", "--name", "dana"], KEY, &[]);
    let granted = install.granted("worker", "traced/dana:read@acme/*").await;
    (install, granted)
}

fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let of = |value: &opentelemetry_proto::tonic::common::v1::AnyValue| value.value.as_ref().map(text);
    let all = span.attributes.iter();
    all.map(|own| (own.key.as_str(), own.value.as_ref().and_then(of).unwrap_or_default())).collect()
}

/// The spans of a call, the call's own first.
fn trace(spans: &[Span], call: &str) -> Vec<Span> {
    let is_it = |span: &&Span| attributes(span).get("nightlatch.call").is_some_and(|own| own == call);
    let whole = spans.iter().find(is_it).unwrap_or_else(|| panic!("{call} has no span in {spans:?}"));
    let rooms = spans.iter().filter(|span| span.parent_span_id == whole.span_id);
    std::iter::once(whole).chain(rooms).cloned().collect()
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

fn count(install: &Install, fate: &str) -> u64 {
    let printed = String::from_utf8(install.run(&["metrics"]).stdout).expect("text");
    let begin = format!("nightlatch_trace_spans_total{{fate=\"{fate}\"}} ");
    let line = printed.lines().find_map(|line| line.strip_prefix(&begin));
    line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no {fate} in:\n{printed}"))
}

#[tokio::test]
async fn a_call_and_a_refused_one_are_traces_with_a_span_for_each_room_and_no_word_of_the_agents() {
    let (recorder, collector) = (Recorder::start("traced.canary.test"), Collector::start(Manner::Takes));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("headers");
    fs::write(&file, format!("x-api-key: {COLLECTORS_KEY}\n")).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
    let table = format!("{}headers = \"{}\"\n", collector.config("1"), file.display());
    let (install, granted) = granted(&recorder, &table).await;
    install.oracle.guard(COLLECTORS_KEY);
    let bearer = format!("Bearer {}", granted.reference);
    let headers = [
        ("authorization", bearer.as_str()),
        ("traceparent", PARENT),
        ("tracestate", "vendor=canary-state-77"),
    ];
    let mut calls = Vec::new();
    for (path, status) in
        [("/traced/repos/acme/site?q=canary-query-1234", 200), ("/traced/repos/evil/x", 403)]
    {
        let headers = if path.contains("evil") { &headers[..1] } else { &headers[..] };
        let answer = granted.agent.call(Method::GET, path, headers, "").await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text());
        calls.push(answer.header("nightlatch-call").expect("its id").to_owned());
    }
    let unknown = granted.agent.get("/traced/repos/acme/site", "nlr_unknown").await;
    calls.push(unknown.header("nightlatch-call").expect("its id").to_owned());
    let spans = eventually("three calls are told of", SOON, async || {
        let spans = collector.spans();
        (spans.iter().filter(|span| span.parent_span_id.is_empty()).count() == 3).then_some(spans)
    })
    .await;

    let carried = trace(&spans, &calls[0]);
    let rooms = ["admit", "resolve", "decide", "brake", "hold", "record", "attach", "forward", "scrub"];
    assert_eq!(names(&carried), [&["traced repos.get"][..], &rooms].concat());
    let call = |outcome: &str, status: &str| {
        let words = [
            ("nightlatch.call", calls[if outcome == "2xx" { 0 } else { 1 }].as_str()),
            ("nightlatch.door", "route"),
            ("nightlatch.tool", "traced"),
            ("nightlatch.operation", "repos.get"),
            ("nightlatch.effect", "read"),
            ("nightlatch.outcome", outcome),
            ("http.response.status_code", status),
        ];
        words.map(|(key, value)| (key, value.to_owned())).into_iter().collect::<BTreeMap<_, _>>()
    };
    assert_eq!(attributes(&carried[0]), call("2xx", "200"));
    let refused = trace(&spans, &calls[1]);
    assert_eq!(names(&refused), ["traced repos.get", "admit", "resolve", "decide", "record"]);
    assert_eq!(attributes(&refused[0]), call("policy-denied", "403"));
    let unresolved = trace(&spans, &calls[2]);
    assert_eq!(names(&unresolved), ["call", "admit", "resolve", "record"]);
    assert_eq!(spans.len(), 10 + 5 + 4, "{:?}", names(&spans));

    // What an agent says that its call is a part of: a link, and never the trace or the parent.
    let parent = &carried[0].links[0];
    assert_eq!(
        (parent.trace_id.as_slice(), parent.span_id.as_slice()),
        (&PARENTS_TRACE[..], &PARENTS_SPAN[..])
    );
    assert!(refused[0].links.is_empty());
    assert!(spans.iter().all(|span| span.trace_id != PARENTS_TRACE && span.parent_span_id != PARENTS_SPAN));
    // To the tool it goes as it came, and nothing of ours with it.
    assert_eq!(recorder.last_of("/repos/acme/site?q=canary-query-1234").values("traceparent"), [PARENT]);

    for sent in collector.sent() {
        assert_eq!(
            (sent.target.as_str(), sent.headers["x-api-key"].as_bytes()),
            ("POST /v1/traces", COLLECTORS_KEY.as_bytes())
        );
        assert_eq!(sent.headers["content-type"], "application/x-protobuf");
        install.oracle.note("what a collector was sent", &sent.body);
        let core = granted.reference.trim_start_matches("nlr_").to_owned();
        for word in
            [core.as_str(), "nlr_", "acme", "site", "evil", "canary", "worker", "vendor", recorder.host()]
        {
            let found = memchr::memmem::find(&sent.body, word.as_bytes());
            assert!(found.is_none(), "{word} is in a span");
        }
    }
    eventually("all are counted as taken", SOON, async || {
        (count(&install, "taken") == spans.len() as u64).then_some(())
    })
    .await;
}

const PARENTS_TRACE: [u8; 16] =
    [0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36];
const PARENTS_SPAN: [u8; 8] = [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];

#[tokio::test]
async fn a_collector_that_hangs_or_is_away_delays_no_call_and_what_it_did_not_take_is_counted() {
    let recorder = Recorder::start("untaken.canary.test");
    let (hanging, refusing) = (Collector::start(Manner::Hangs), Collector::start(Manner::Refuses));
    let away = format!("[otel]\nendpoint = \"http://127.0.0.1:{}\"\n", free_port());
    for config in [hanging.config("1"), away, refusing.config("1")] {
        let (install, granted) = granted(&recorder, &config).await;
        let mut line = granted.agent.connect().await;
        let bearer = format!("Bearer {}", granted.reference);
        let headers = [("authorization", bearer.as_str())];
        for _ in 0..40 {
            let began = Instant::now();
            let path = "/traced/repos/acme/site";
            let answer = granted.agent.call_on(&mut line, Method::GET, path, &headers, "").await;
            let took = began.elapsed();
            // The exporter gives its collector ten seconds.
            assert!(
                answer.status.is_success() && took < Duration::from_secs(5),
                "{} {took:?}",
                answer.status
            );
        }
        eventually("what was not taken is counted", SOON, async || {
            (count(&install, "not-taken") > 0).then_some(())
        })
        .await;
        assert_eq!(count(&install, "taken"), 0, "{config}");
        let said = install.log().matches("traces are not taken").count();
        assert_eq!(said, 1, "{config}");
    }
    assert!(!hanging.sent().is_empty() && !refusing.sent().is_empty(), "nobody was asked");
}

#[tokio::test]
async fn spans_that_a_collector_rejects_are_counted_as_such() {
    let (recorder, collector) =
        (Recorder::start("rejected.canary.test"), Collector::start(Manner::RejectsOne));
    let (install, granted) = granted(&recorder, &collector.config("1")).await;
    assert!(granted.agent.get("/traced/repos/acme/site", &granted.reference).await.status.is_success());
    eventually("a rejected span is counted", SOON, async || (count(&install, "rejected") == 1).then_some(()))
        .await;
    assert_eq!(count(&install, "taken"), 9);
    assert!(!install.log().contains("too old"), "a collector's word is in the log");
}

#[tokio::test]
async fn what_is_no_collector_has_taken_nothing() {
    let (recorder, collector) = (Recorder::start("chat.canary.test"), Collector::start(Manner::Chats));
    let (install, granted) = granted(&recorder, &collector.config("1")).await;
    assert!(granted.agent.get("/traced/repos/acme/site", &granted.reference).await.status.is_success());
    eventually("its spans are counted as not taken", SOON, async || {
        (count(&install, "not-taken") == 10).then_some(())
    })
    .await;
    assert_eq!(count(&install, "taken"), 0);
}

/// The end of the program sends what is queued, so nothing can be missed by looking too early.
#[tokio::test]
async fn a_sample_of_all_is_sent_at_the_end_and_one_of_none_sends_nothing() {
    let recorder = Recorder::start("sampled.canary.test");
    for (sample, expected) in [("1", 3), ("0", 0)] {
        let collector = Collector::start(Manner::Takes);
        let (mut install, granted) = granted(&recorder, &collector.config(sample)).await;
        for _ in 0..3 {
            assert!(
                granted.agent.get("/traced/repos/acme/site", &granted.reference).await.status.is_success()
            );
        }
        install.run(&["stop"]);
        assert!(install.ends_within(Duration::from_secs(30)).await, "it stops");
        let calls = collector.spans().iter().filter(|span| span.parent_span_id.is_empty()).count();
        assert_eq!(calls, expected, "sample = {sample}");
        assert_eq!(collector.sent().is_empty(), expected == 0, "sample = {sample}");
    }
}
