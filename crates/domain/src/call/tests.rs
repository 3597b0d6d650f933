//! No path sends twice what may not be repeated, and every path ends.

use super::{Next, Progress, READS_MAX, Report, Terms, Turn};
use crate::clock::Timestamp;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn terms(repeatable: bool) -> Terms {
    Terms { repeatable, deadline: NOW.plus(Duration::from_secs(3600)) }
}

fn no(retryable: bool) -> Report {
    Report::NotSent { retryable, retry_after: None }
}

#[test]
fn what_may_have_been_sent_is_repeated_only_where_it_reads() {
    for report in [Report::PerhapsSent, Report::Crashed] {
        assert_eq!(terms(false).next(1, report, NOW), Next::OutcomeUnknown);
        assert!(matches!(terms(true).next(1, report, NOW), Next::Again { .. }));
        assert_eq!(terms(true).next(READS_MAX, report, NOW), Next::OutcomeUnknown);
    }
}

#[test]
fn what_was_not_sent_is_tried_again_until_the_deadline_and_then_refused() {
    for repeatable in [false, true] {
        assert!(matches!(terms(repeatable).next(40, no(true), NOW), Next::Again { .. }));
        assert_eq!(terms(repeatable).next(1, no(false), NOW), Next::Refused);
        let late = terms(repeatable).deadline.minus(Duration::from_millis(1));
        assert_eq!(terms(repeatable).next(1, no(true), late), Next::Refused);
    }
}

#[test]
fn pauses_grow_to_a_minute_and_heed_what_was_asked_for() {
    let pause = |attempts, secs: Option<u64>| {
        let report = Report::NotSent { retryable: true, retry_after: secs.map(Duration::from_secs) };
        match terms(false).next(attempts, report, NOW) {
            Next::Again { not_before } => not_before.since(NOW).as_secs(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([0, 1, 2, 3, 6, 7, 40].map(|attempts| pause(attempts, None)), [1, 1, 2, 4, 32, 60, 60]);
    assert_eq!((pause(1, Some(20)), pause(1, Some(100_000))), (20, 60));
}

#[test]
fn a_queued_call_waits_for_its_pause_and_is_over_at_its_deadline() {
    let terms = terms(false);
    let progress = |not_before| Progress { attempts: 1, not_before };
    let later = NOW.plus(Duration::from_secs(5));
    assert_eq!(terms.turn(progress(NOW), NOW), Turn::Now);
    assert_eq!(terms.turn(progress(later), NOW), Turn::Later(later));
    assert_eq!(terms.turn(progress(later), terms.deadline), Turn::Over);
}

fn reports() -> impl Strategy<Value = Report> {
    prop_oneof![
        Just(Report::Answered),
        any::<bool>().prop_map(no),
        Just(Report::PerhapsSent),
        Just(Report::Crashed)
    ]
}

proptest! {
    /// A world that counts: whatever is reported, in whatever order.
    #[test]
    fn whatever_happens_a_call_is_sent_once_at_most_or_only_reads_and_it_ends(
        repeatable in any::<bool>(),
        reports in proptest::collection::vec(reports(), 0..200),
    ) {
        let terms = terms(repeatable);
        let (mut now, mut sent) = (NOW, 0u32);
        let mut progress = Progress { attempts: 0, not_before: NOW };
        let mut reports = reports.into_iter();
        let ended = loop {
            match terms.turn(progress, now) {
                Turn::Over => break Next::Refused,
                Turn::Later(until) => { now = until; continue; }
                Turn::Now => {}
            }
            progress.attempts += 1;
            let report = reports.next().unwrap_or(no(true));
            sent += u32::from(!matches!(report, Report::NotSent { .. }));
            match terms.next(progress.attempts, report, now) {
                Next::Again { not_before } => {
                    assert!(not_before > now && not_before < terms.deadline);
                    progress.not_before = not_before;
                }
                ended => break ended,
            }
        };
        assert!(ended.state().is_final());
        assert!(repeatable || sent <= 1);
        assert!(sent <= READS_MAX);
        assert!(sent == 0 || repeatable || ended != Next::Refused, "what may have been sent is not called refused");
    }
}
