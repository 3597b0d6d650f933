//! Spans: a call as OpenTelemetry says it. One span for the call, below it one for each room that it entered.
//!
//! A trace's id is the call's own, bit for bit: whoever sees the one in an answer (`nightlatch-call`) or in the ledger
//! finds the other, and the agent has chosen neither. What it says that it is a part of (`traceparent`) is a link.

use nightlatch_domain::id::CallId;
use nightlatch_gateway::sight::{Followed, Parent};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Link, SpanKind},
        status::StatusCode,
    },
};

/// W3C Trace Context level 2, §3.2.2.5: it was sampled, and its id is random in the bits that count.
const SAMPLED_AND_RANDOM: u32 = 0b11;
/// `SpanFlags` of OTLP: whether the context is another process's is known, and whether it is.
const REMOTE_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// The room in which we are the client of somebody.
const OUTWARD: &str = "forward";

/// How many spans a call makes.
pub(super) const fn count(followed: &Followed) -> u64 {
    1 + followed.rooms.len() as u64
}

/// The trace of a call.
pub(super) const fn trace_id(call: CallId) -> [u8; 16] {
    call.value().to_be_bytes()
}

/// What a collector is sent. `first` begins the ids of these spans, which count up from it.
pub(super) fn request(calls: &[Followed], first: u64) -> ExportTraceServiceRequest {
    let version = || env!("CARGO_PKG_VERSION").to_owned();
    let attributes = vec![text("service.name", "nightlatch"), text("service.version", &version())];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let name = "nightlatch.corridor".to_owned();
    let scope = Some(InstrumentationScope { name, version: version(), ..InstrumentationScope::default() });
    let mut next = first;
    let mut spans = Vec::new();
    for call in calls {
        spans.extend(of_call(call, next));
        next = next.wrapping_add(count(call));
    }
    let scope_spans = vec![ScopeSpans { scope, spans, schema_url: String::new() }];
    let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
    ExportTraceServiceRequest { resource_spans }
}

fn of_call(followed: &Followed, first: u64) -> impl Iterator<Item = Span> + '_ {
    let began = u64::try_from(followed.at.millis()).unwrap_or(0).saturating_mul(1_000_000);
    let after = move |span: std::time::Duration| {
        began.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
    };
    let span = move |name: &str, id: u64, (start, end): (u64, u64)| Span {
        trace_id: trace_id(followed.call).to_vec(),
        span_id: span_id(id),
        flags: SAMPLED_AND_RANDOM | REMOTE_KNOWN,
        name: name.to_owned(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..Span::default()
    };
    let whole = Span {
        kind: SpanKind::Server.into(),
        attributes: attributes(followed),
        links: followed.parent.iter().map(link).collect(),
        status: followed.is_failure.then(failed),
        ..span(&name(followed), first, (began, after(followed.took)))
    };
    let ends = followed.rooms.iter().skip(1).map(|(_, entered)| *entered).chain([followed.took]);
    let rooms = followed.rooms.iter().zip(ends).zip(1..).map(move |(((room, entered), left), place)| {
        let mut own = span(room, first.wrapping_add(place), (after(*entered), after(left)));
        own.parent_span_id = span_id(first);
        if *room == OUTWARD {
            own.kind = SpanKind::Client.into();
        }
        own
    });
    std::iter::once(whole).chain(rooms)
}

/// No id is zero (W3C Trace Context §3.2.2.4): the first bit is always set.
fn span_id(id: u64) -> Vec<u8> {
    (id | 1 << 63).to_be_bytes().to_vec()
}

/// Few names, as OpenTelemetry wants them: of tools and operations, by their manifests.
fn name(followed: &Followed) -> String {
    let named = followed.what.as_ref().map(|what| format!("{} {}", what.tool, what.operation));
    named.unwrap_or_else(|| "call".to_owned())
}

fn attributes(followed: &Followed) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("nightlatch.call", &followed.call.to_string()),
        text("nightlatch.door", followed.door.as_str()),
        text("nightlatch.outcome", followed.outcome),
    ];
    if let Some(what) = &followed.what {
        attributes.push(text("nightlatch.tool", what.tool.as_str()));
        attributes.push(text("nightlatch.operation", &what.operation.to_string()));
        attributes.push(text("nightlatch.effect", what.effect.as_str()));
    }
    if let Some(status) = followed.status {
        attributes.push(attribute("http.response.status_code", Value::IntValue(i64::from(status))));
    }
    attributes
}

fn link(parent: &Parent) -> Link {
    Link {
        trace_id: parent.trace.to_vec(),
        span_id: parent.span.to_vec(),
        flags: REMOTE_KNOWN | REMOTE,
        ..Link::default()
    }
}

fn failed() -> Status {
    Status { message: String::new(), code: StatusCode::Error.into() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
