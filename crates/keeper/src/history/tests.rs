//! Proves when a history is the one that was seen, and who may act in it.

use super::{Known, Verdict, judge};
use nightlatch_domain::{
    clock::Timestamp,
    id::KeeperId,
    ports::store::{FeedMark, Recalled, Registered, Standing},
};

fn keeper(number: u8) -> KeeperId {
    KeeperId::new(Timestamp::from_millis(1), [number; 10])
}

fn row(number: u8, compared: u64, vouched: bool) -> Registered {
    Registered { keeper: keeper(number), compared, vouched }
}

fn standing(keepers: &[Registered]) -> Standing {
    Standing {
        era: 3,
        took_over: false,
        mark: FeedMark { number: 9, random: [1; 16] },
        keepers: keepers.to_vec(),
    }
}

fn known(number: u8) -> Known {
    Known { keeper: keeper(number), era: 3, vouched: true }
}

#[test]
fn what_every_log_agrees_with_is_settled_and_one_that_was_not_compared_holds_all_up() {
    let all = [row(1, 3, true), row(2, 3, true)];
    assert_eq!(judge(known(1), &standing(&all), Recalled::Held), Verdict::Settled);
    let other = [row(1, 3, true), row(2, 2, true)];
    assert_eq!(judge(known(1), &standing(&other), Recalled::Held), Verdict::Waits);
    assert_eq!(judge(known(2), &standing(&other), Recalled::Held), Verdict::Compare);
}

#[test]
fn another_history_than_the_one_that_was_seen_raises_the_era() {
    let all = [row(1, 3, true), row(2, 3, true)];
    assert_eq!(judge(known(1), &standing(&all), Recalled::Other), Verdict::Raise);
    // The log acted in a later era than the database knows.
    assert_eq!(judge(Known { era: 4, ..known(1) }, &standing(&all), Recalled::Held), Verdict::Raise);
    // A standby took over, which may lack what nobody saw a move after.
    let other = Standing { took_over: true, ..standing(&all) };
    assert_eq!(judge(known(1), &other, Recalled::Held), Verdict::Raise);
    // It does not know this keeper any more.
    assert_eq!(judge(known(3), &standing(&all), Recalled::Held), Verdict::Raise);
}

#[test]
fn what_is_too_old_to_be_recalled_is_another_history_unless_one_log_knows_all() {
    assert_eq!(judge(known(1), &standing(&[row(1, 3, true)]), Recalled::TooOld), Verdict::Settled);
    let all = [row(1, 3, true), row(2, 3, true)];
    assert_eq!(judge(known(1), &standing(&all), Recalled::TooOld), Verdict::Raise);
}

#[test]
fn an_empty_log_beside_others_waits_until_one_vouches_for_it() {
    let fresh = Known { vouched: false, ..known(2) };
    let all = [row(1, 3, true), row(2, 3, false)];
    assert_eq!(judge(fresh, &standing(&all), Recalled::Held), Verdict::Unvouched);
    let vouched = [row(1, 3, true), row(2, 3, true)];
    assert_eq!(judge(fresh, &standing(&vouched), Recalled::Held), Verdict::Settled);
    // Alone its own rule holds: what its log does not know asks a human, chain by chain.
    assert_eq!(judge(fresh, &standing(&[row(2, 3, false)]), Recalled::Held), Verdict::Settled);
}
