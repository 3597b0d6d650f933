//! Which calls are traced, as which spans, and what becomes of those that find no place.

use super::{BATCH_MAX_CALLS, Fate, Fates, QUEUE_MAX_CALLS, Sample, is_sampled, spans, threshold};
use nightlatch_domain::{
    clock::Timestamp,
    id::CallId,
    ports::sight::Door,
    tool::{Effect, OperationId},
};
use nightlatch_gateway::sight::{Follow as _, Followed, Parent, What};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::mpsc;

const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Numbers as a generator would give them (SplitMix64).
fn call(number: u64) -> CallId {
    let mut noise = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    noise = (noise ^ (noise >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    noise = (noise ^ (noise >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let mut random = [0; 10];
    random[2..].copy_from_slice(&(noise ^ (noise >> 31)).to_be_bytes());
    CallId::new(AT, random)
}

fn followed(number: u64) -> Followed {
    let micros = Duration::from_micros;
    let rooms = ["admit", "resolve", "forward", "scrub"].into_iter().zip([0, 10, 40, 900].map(micros));
    Followed {
        call: call(number),
        at: AT,
        took: micros(1_000),
        door: Door::Route,
        what: Some(What {
            tool: "github".parse().unwrap(),
            operation: OperationId("repos.get".into()),
            effect: Effect::Read,
        }),
        outcome: "5xx",
        status: Some(503),
        is_failure: true,
        rooms: rooms.collect(),
        parent: Some(Parent { trace: [7; 16], span: [9; 8] }),
    }
}

fn spans_of(calls: &[Followed], first: u64) -> Vec<Span> {
    let mut request = spans::request(calls, first);
    request.resource_spans.remove(0).scope_spans.remove(0).spans
}

#[test]
fn a_sample_is_that_part_of_all_calls_and_is_chosen_by_their_ids_alone() {
    let all = 20_000;
    let sampled =
        |sample: f64| (0..all).filter(|number| is_sampled(call(*number), threshold(sample))).count();
    assert_eq!((sampled(0.0), sampled(1.0)), (0, 20_000));
    assert!((4_700..5_300).contains(&sampled(0.25)), "{}", sampled(0.25));
    assert!((100..320).contains(&sampled(0.01)), "{}", sampled(0.01));
    let (low, high) = (threshold(0.9), threshold(0.1));
    assert!((0..all).all(|number| is_sampled(call(number), low) || !is_sampled(call(number), high)));
}

#[test]
fn a_call_is_a_span_and_each_room_is_one_below_it_end_to_end() {
    let call = followed(1);
    let all = spans_of(std::slice::from_ref(&call), 41);
    let names: Vec<&str> = all.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["github repos.get", "admit", "resolve", "forward", "scrub"]);
    let (whole, rooms) = all.split_first().unwrap();
    assert!(all.iter().all(|span| span.trace_id == spans::trace_id(call.call)));
    assert!(whole.parent_span_id.is_empty() && rooms.iter().all(|room| room.parent_span_id == whole.span_id));
    assert_eq!(whole.start_time_unix_nano, 1_700_000_000_000_000_000);
    assert_eq!(whole.end_time_unix_nano - whole.start_time_unix_nano, 1_000_000);
    assert_eq!(rooms[0].start_time_unix_nano, whole.start_time_unix_nano);
    assert!(rooms.windows(2).all(|pair| pair[0].end_time_unix_nano == pair[1].start_time_unix_nano));
    assert_eq!(rooms[3].end_time_unix_nano, whole.end_time_unix_nano);
    let kinds: Vec<SpanKind> = all.iter().map(Span::kind).collect();
    let internal = SpanKind::Internal;
    assert_eq!(kinds, [SpanKind::Server, internal, internal, SpanKind::Client, internal]);
    assert_eq!(whole.status.as_ref().map(|status| status.code()), Some(StatusCode::Error));
}

#[test]
fn a_span_has_the_designs_words_and_its_callers_own_span_as_a_link_only() {
    let all = spans_of(&[followed(1)], 0);
    let keys: Vec<&str> = all[0].attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    let own =
        ["call", "door", "outcome", "tool", "operation", "effect"].map(|word| format!("nightlatch.{word}"));
    assert_eq!(keys[..6], own);
    assert_eq!(keys[6..], ["http.response.status_code"]);
    assert_eq!(
        (all[0].links[0].trace_id.as_slice(), all[0].links[0].span_id.as_slice()),
        (&[7; 16][..], &[9; 8][..])
    );
    assert!(all.iter().all(|span| span.trace_id != [7; 16] && span.parent_span_id != [9; 8]));
    assert!(all[1..].iter().all(|room| room.links.is_empty() && room.attributes.is_empty()));
    let unknown = Followed { what: None, status: None, is_failure: false, parent: None, ..followed(1) };
    let all = spans_of(&[unknown], 0);
    assert_eq!((all[0].name.as_str(), all[0].attributes.len(), &all[0].status), ("call", 3, &None));
}

#[test]
fn no_two_spans_have_one_id_and_none_is_zero() {
    for first in [0, 1, (1 << 63) - 3, u64::MAX - 3] {
        let all = spans_of(&[followed(1), followed(2)], first);
        let ids: BTreeSet<_> = all.iter().map(|span| span.span_id.clone()).collect();
        assert_eq!(ids.len(), 10);
        assert!(!ids.contains([0; 8].as_slice()));
    }
}

#[tokio::test]
async fn what_finds_no_place_is_counted_and_waits_for_nothing() {
    let (queue, mut queued) = mpsc::channel(2);
    let fates = Arc::new(Fates::default());
    let sample = Sample { threshold: 0, queue, fates: Arc::clone(&fates) };
    (0..5).for_each(|number| sample.ended(Box::new(followed(number))));
    let full = |fates: &Fates| fates.read().find(|(fate, _)| *fate == "queue-full").unwrap().1;
    assert_eq!(full(&fates), 3 * 5);
    assert_eq!(queued.recv().await.unwrap().call, call(0), "what was there first is not pushed out");
    drop(queued);
    sample.ended(Box::new(followed(9)));
    assert_eq!(full(&fates), 4 * 5);
}

#[test]
fn every_fate_has_its_word() {
    let fates = Fates::default();
    for (fate, spans) in [(Fate::Taken, 1), (Fate::QueueFull, 2), (Fate::NotTaken, 3), (Fate::Rejected, 4)] {
        fates.count(fate, spans);
    }
    let expected = [("taken", 1), ("queue-full", 2), ("not-taken", 3), ("rejected", 4)];
    assert_eq!(fates.read().collect::<Vec<_>>(), expected);
    const { assert!(BATCH_MAX_CALLS <= QUEUE_MAX_CALLS) };
}
